#ifndef PENSTOCK_EDGE_METRICS_H
#define PENSTOCK_EDGE_METRICS_H

#include <stdatomic.h>

#include "metrics.h"
#include "waiting_room.h"

/* The gateway's own metrics. Series for what happens to every request are made once and kept in a
 * table, so that a request costs an atomic add and no look-up. */

enum edge_route {
    ROUTE_CHAT_COMPLETIONS,
    ROUTE_COMPLETIONS,
    ROUTE_MESSAGES,
    ROUTE_RESPONSES,
    ROUTE_RESPONSE,
    ROUTE_COUNT_TOKENS,
    ROUTE_EMBEDDINGS,
    ROUTE_RERANK,
    ROUTE_SCORE,
    ROUTE_TOKENIZE,
    ROUTE_DETOKENIZE,
    ROUTE_TOKENIZER_INFO,
    ROUTE_ADAPTERS,
    ROUTE_MODELS,
    ROUTE_MODEL,
    ROUTE_HEALTH,
    ROUTE_VERSION,
    ROUTE_OPENAPI,
    ROUTE_ADMIN,
    ROUTE_OTHER, /* unknown path or method */
    ROUTE_COUNT
};

/* Status codes with a series of their own; every other counts under its hundred ("4xx"). */
#define EDGE_CODE_COUNT 22u

struct edge_model_metrics {
    metrics_series *in_flight, *restarts, *retries, *fallbacks, *retries_refused, *quarantined,
        *distrusted;
    metrics_series *shadow_same, *shadow_different, *shadow_failed, *shadow_tokens,
        *shadow_equal_tokens;
    metrics_series *time_to_first_token, *inter_token;
    metrics_series *replicas[10];                                     /* by enum replica_state */
    _Atomic(metrics_series *) requests[ROUTE_COUNT][EDGE_CODE_COUNT]; /* made when first needed */
    _Atomic(metrics_series *) duration[ROUTE_COUNT];
};

struct edge_metrics {
    metrics_family *requests, *classes, *duration, *loop_silence;
    /* by band and route; made when first needed */
    _Atomic(metrics_series *) class_requests[WAITING_ROOM_BAND_COUNT][ROUTE_COUNT][EDGE_CODE_COUNT];
    metrics_series *auth_failures, *reloads_good, *reloads_bad, *upgrades_good, *upgrades_bad,
        *leader, *database_away, *redis_away, *control_silence;
    struct edge_model_metrics
        *models;        /* [model_count + 1], owned; the last is for requests without a model */
    const char **names; /* [model_count + 1], owned; the texts are borrowed */
    uint32_t model_count;
};

NODISCARD status edge_metrics_init(struct edge_metrics *metrics, metrics_registry *registry,
                                   const char *const *model_names, uint32_t model_count,
                                   const char *version);
void edge_metrics_deinit(struct edge_metrics *metrics);

/* "/v1/chat/completions"; for labels and logs. */
const char *edge_route_name(enum edge_route route);

/* `model`: index, or model_count for none. `trace_id`: as metrics_observe_traced takes it. Any thread. */
void edge_metrics_request(struct edge_metrics *metrics, uint32_t model, enum edge_route route,
                          int status_code, double seconds, const char *trace_id);

/* The same of a request to a model, by its priority band. Any thread. */
void edge_metrics_class(struct edge_metrics *metrics, int32_t band, enum edge_route route,
                        int status_code);

#endif
