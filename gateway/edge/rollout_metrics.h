#ifndef PENSTOCK_EDGE_ROLLOUT_METRICS_H
#define PENSTOCK_EDGE_ROLLOUT_METRICS_H

#include "metrics.h"
#include "rollout.h"

struct edge_model;

/* Rollouts of models' versions, for Prometheus. */

struct rollout_model_metrics {
    metrics_series *results[ROLLOUT_RESULT_COUNT]; /* that of ROLLOUT_NOT_YET is NULL */
    metrics_series *phases[ROLLOUT_PHASE_COUNT];
    metrics_series *stable, *fresh, *share;
    metrics_series *outcomes[2][4]; /* old, new; requests, failed, streams, slow */
};

struct rollout_metrics {
    struct rollout_model_metrics *models; /* [model_count], owned */
};

NODISCARD status rollout_metrics_init(struct rollout_metrics *metrics, metrics_registry *registry,
                                      const char *const *model_names, uint32_t model_count);
void rollout_metrics_deinit(struct rollout_metrics *metrics);

/* Before each scrape. */
void rollout_metrics_collect(struct rollout_metrics *metrics, struct edge_model *models,
                             uint32_t model_count);

#endif
