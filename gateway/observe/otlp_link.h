#ifndef PENSTOCK_OBSERVE_OTLP_LINK_H
#define PENSTOCK_OBSERVE_OTLP_LINK_H

#include "buffer.h"
#include "http_header.h"
#include "otlp_format.h"
#include "otlp_retry.h"
#include "tracing_settings.h"

/* The receiver: its two URLs, the headers of the settings, and a connection that is kept. One thread. */

#define OTLP_HEADERS_MAX 16u

enum otlp_signal { OTLP_TRACES, OTLP_METRICS, OTLP_SIGNAL_COUNT };
extern const char *const otlp_signal_names[OTLP_SIGNAL_COUNT];

struct otlp_link {
    const struct config_tracing *settings; /* borrowed */
    const struct otlp_format *format;
    char *urls[OTLP_SIGNAL_COUNT];                /* owned */
    struct http_header headers[OTLP_HEADERS_MAX]; /* values owned */
    size_t header_count;
    struct http_fetch_session *session; /* owned */
    bool (*is_over)(const void *context);
    const void *context;
};

/* STATUS_OK; STATUS_IO, STATUS_INVALID (a secret) with a note; STATUS_NO_MEMORY. `link` may be closed in any case. */
NODISCARD status otlp_link_open(struct otlp_link *link, const struct config_tracing *settings,
                                struct error_note *note);
void otlp_link_close(struct otlp_link *link);

struct otlp_answer {
    enum otlp_verdict verdict;
    uint64_t retry_after_s; /* 0: not told */
    uint64_t rejected;      /* spans or points of it that were not taken */
    char why[256];          /* the verdict or the rejection; "": nothing to tell */
};
/* Sends one request and waits for its answer, for at most `timeout_ns`. */
void otlp_link_send(struct otlp_link *link, enum otlp_signal signal, struct text_slice body,
                    uint64_t timeout_ns, struct otlp_answer *out);

#endif
