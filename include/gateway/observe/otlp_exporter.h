#ifndef PENSTOCK_OBSERVE_OTLP_EXPORTER_H
#define PENSTOCK_OBSERVE_OTLP_EXPORTER_H

#include "genai_metrics.h"
#include "metrics.h"
#include "span.h"
#include "status.h"
#include "tracing_settings.h"

/* Sends spans and metrics to a receiver of the OpenTelemetry Protocol over HTTP. Loops put what requests leave into bounded
 * queues and never wait; one thread makes spans of it, encodes them, sends them in batches, and sends them again where the
 * receiver could not take them. When it is down or slow, the queues fill and what comes then is dropped and counted. */
typedef struct otlp_exporter otlp_exporter;

struct otlp_exporter_options {
    const struct config_tracing
        *settings;             /* borrowed as long as the exporter lives; endpoint not "" */
    metrics_registry *metrics; /* borrowed */
    uint32_t loop_count;
    size_t item_bytes; /* of what a loop puts for a trace */
    /* Makes the spans of one item, by otlp_exporter_span. It may wait for others, for what they know of the request, a little.
     * The exporter's thread. */
    void (*spans)(void *context, otlp_exporter *exporter, const void *item);
    void *context; /* borrowed */
};

/* Reads the secrets that the settings name. STATUS_OK; STATUS_IO, STATUS_INVALID (a secret, or a name that is known
 * already in `metrics`) with a note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status otlp_exporter_create(const struct otlp_exporter_options *options,
                                      otlp_exporter **out, struct error_note *note);
/* STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status otlp_exporter_start(otlp_exporter *exporter);
/* Sends what is left, for up to settings.flush_time, and ends the thread; what loops put after that is lost.
 * Accepts NULL. Thread: main. */
void otlp_exporter_stop(otlp_exporter *exporter);
void otlp_exporter_destroy(otlp_exporter *exporter); /* accepts NULL */

/* A request whose trace is wanted: item_bytes are copied, or counted as dropped. Loop `loop`'s thread. */
void otlp_exporter_put(otlp_exporter *exporter, uint32_t loop, const void *item);
/* What a request adds to the metrics. Loop `loop`'s thread. */
void otlp_exporter_measure(otlp_exporter *exporter, uint32_t loop,
                           const struct genai_sample *sample);

/* Adds a span to the batch. In options.spans only. */
void otlp_exporter_span(otlp_exporter *exporter, const struct span *span);

#endif
