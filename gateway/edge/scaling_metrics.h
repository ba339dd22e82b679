#ifndef PENSTOCK_EDGE_SCALING_METRICS_H
#define PENSTOCK_EDGE_SCALING_METRICS_H

#include "autoscaler.h"
#include "metrics.h"

/* What the scaling of models tells Prometheus. */

struct scaling_model_metrics {
    metrics_series *desired, *need, *load, *capacity, *panicking, *cold_start;
    metrics_series *decisions[AUTOSCALER_REASON_COUNT];
};

struct scaling_metrics {
    struct scaling_model_metrics *models; /* owned; [model_count] */
};

/* STATUS_OK, STATUS_INVALID (the registry has them), STATUS_NO_MEMORY. */
NODISCARD status scaling_metrics_init(struct scaling_metrics *metrics, metrics_registry *registry,
                                      const char *const *model_names, uint32_t model_count);
void scaling_metrics_deinit(struct scaling_metrics *metrics);

/* A decision was made. Control thread. */
void scaling_metrics_decided(struct scaling_metrics *metrics, uint32_t model,
                             const struct autoscaler_observation *seen,
                             const struct autoscaler_decision *decision);
/* There should be so many. Control thread. */
void scaling_metrics_desired(struct scaling_metrics *metrics, uint32_t model, uint32_t count);

#endif
