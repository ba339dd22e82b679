#ifndef PENSTOCK_ENCODER_METRICS_H
#define PENSTOCK_ENCODER_METRICS_H

#include "metrics.h"

/* What an encoder tells Prometheus, under the names that vLLM has for it. Series are NULL without a
 * registry. */
struct encoder_metrics {
    metrics_series *running, *waiting, *prompt_tokens, *succeeded;
    metrics_series *latency, *queue_time, *pass_tokens, *request_tokens;
};

NODISCARD status encoder_metrics_init(struct encoder_metrics *m, metrics_registry *registry,
                                      const char *model_name);

#endif
