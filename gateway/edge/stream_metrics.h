#ifndef PENSTOCK_EDGE_STREAM_METRICS_H
#define PENSTOCK_EDGE_STREAM_METRICS_H

#include "metrics.h"

/* What becomes of streams that break off, and of copies that are sent where no answer comes, for Prometheus: once for each break,
 * and for each copy. */

enum resumption_outcome {
    RESUMPTION_DONE,       /* another replica went on with it */
    RESUMPTION_FAILED,     /* that one was lost too, or refused it */
    RESUMPTION_REFUSED,    /* no retries were left, or it is in quarantine */
    RESUMPTION_IMPOSSIBLE, /* it would not be exact */
    RESUMPTION_OUTCOME_COUNT
};

enum hedge_outcome {
    HEDGE_WON,     /* its answer was the first, or the only one */
    HEDGE_LOST,    /* it was cancelled */
    HEDGE_FAILED,  /* its replica was lost, or refused it */
    HEDGE_REFUSED, /* the budget of retries was spent; none was sent */
    HEDGE_OUTCOME_COUNT
};

struct stream_model_metrics {
    metrics_series *resumptions[RESUMPTION_OUTCOME_COUNT];
    metrics_series *hedges[HEDGE_OUTCOME_COUNT];
};

struct stream_metrics {
    struct stream_model_metrics *models; /* [model_count], owned */
};

NODISCARD status stream_metrics_init(struct stream_metrics *metrics, metrics_registry *registry,
                                     const char *const *model_names, uint32_t model_count);
void stream_metrics_deinit(struct stream_metrics *metrics);

#endif
