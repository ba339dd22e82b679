#ifndef PENSTOCK_OBSERVE_OTLP_FORMAT_H
#define PENSTOCK_OBSERVE_OTLP_FORMAT_H

#include "buffer.h"
#include "genai_metrics.h"
#include "span.h"

/* The two encodings of the OpenTelemetry Protocol over HTTP (opentelemetry-proto 1.x), each a table of functions. A request with spans
 * is an opening (who speaks), spans one after the other, and a closing, so that spans are encoded as they come and a batch is
 * bytes. Pure but for the buffer. */

/* Who speaks. All borrowed; "" is left out. */
struct otlp_resource {
    const char *service_name, *service_version, *service_instance, *host_name;
    const struct attribute *attributes; /* those of the settings */
    uint32_t attribute_count;
};

struct otlp_format {
    const char *content_type;
    void (*span)(struct buffer *out, const struct span *span);
    /* The whole request around spans that were written one behind the other. */
    void (*traces)(struct buffer *out, const struct otlp_resource *resource,
                   struct text_slice spans);
    void (*metrics)(struct buffer *out, const struct otlp_resource *resource,
                    const struct genai_metrics *metrics, uint64_t now_ns);
    /* What of a request the answer says was not taken: spans or points, 0: all is well; and why ("": not told). */
    uint64_t (*rejected)(struct text_slice answer, char *why, size_t why_bytes);
};

extern const struct otlp_format otlp_protobuf, otlp_json;

#define OTLP_SCOPE_NAME "penstock"

#endif
