#ifndef PENSTOCK_EDGE_QUEUE_METRICS_H
#define PENSTOCK_EDGE_QUEUE_METRICS_H

#include <stdatomic.h>

#include "admission.h"
#include "metrics.h"

/* What the waiting rooms tell Prometheus. */

enum queue_refusal {
    QUEUE_FULL,       /* no place */
    QUEUE_PUSHED_OUT, /* its place went to somebody with less */
    QUEUE_LATE,       /* refused at once: it would have missed its time */
    QUEUE_DEADLINE,   /* its time passed while it waited */
    QUEUE_TIMEOUT,    /* it waited for longer than anybody may */
    QUEUE_KV_SHARE,   /* alone it is larger than its share of the KV cache */
    QUEUE_REFUSAL_COUNT
};

struct queue_model_metrics {
    metrics_series *slots, *running, *tokens, *kv_waits;
    metrics_series *refusals[QUEUE_REFUSAL_COUNT];
    /* made when a band is first used */
    _Atomic(metrics_series *) waiting[WAITING_ROOM_BAND_COUNT], waited[WAITING_ROOM_BAND_COUNT];
};

struct queue_metrics {
    metrics_family *waiting, *waited;
    struct queue_model_metrics *models; /* [model_count], owned */
    const char *const *names;           /* borrowed */
};

NODISCARD status queue_metrics_init(struct queue_metrics *metrics, metrics_registry *registry,
                                    const char *const *model_names, uint32_t model_count);
void queue_metrics_deinit(struct queue_metrics *metrics);

/* A request has got a slot. Any thread. */
void queue_metrics_waited(struct queue_metrics *metrics, uint32_t model, int32_t band,
                          double seconds);
void queue_metrics_refused(struct queue_metrics *metrics, uint32_t model,
                           enum queue_refusal reason);
/* A request waits for its tenant's share of the KV cache, although there is a slot. */
void queue_metrics_kv_wait(struct queue_metrics *metrics, uint32_t model);
/* Before a scrape. */
void queue_metrics_collect(struct queue_metrics *metrics, uint32_t model,
                           struct admission *admission);

#endif
