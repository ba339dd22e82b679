#ifndef PENSTOCK_EDGE_FLOW_METRICS_H
#define PENSTOCK_EDGE_FLOW_METRICS_H

#include "breaker.h"
#include "metrics.h"
#include "replica_choice_reason.h"
#include "request_usage.h"

/* What happens between a request's arrival and its replica, for Prometheus: which replica was chosen and why, what became
 * of each attempt, what the gateway's own work took, and tokens, those that nobody got among them. */

enum token_kind {
    TOKENS_PROMPT, /* read anew */
    TOKENS_CACHED, /* found in a cache */
    TOKENS_COMPLETION,
    TOKEN_KIND_COUNT
};
/* For label values, in the order of the enum; NULL behind the last. */
extern const char *const token_kind_names[TOKEN_KIND_COUNT + 1];

/* Tokens that were computed and reached nobody. */
enum waste_reason {
    WASTE_RETRIED,     /* another replica reads the prompt again */
    WASTE_HEDGED,      /* the copy, or what it was a copy of, was cancelled */
    WASTE_CLIENT_GONE, /* the client went before the answer was whole */
    WASTE_REASON_COUNT
};

/* Why a replica gets no requests although it is ready. */
enum ejection_reason {
    EJECTION_BREAKER, /* its circuit breaker has opened */
    EJECTION_STALLED, /* its steps stand still */
    EJECTION_LOST,    /* it is on another machine, and its connection has broken */
    EJECTION_REASON_COUNT
};

struct flow_model_metrics {
    metrics_series *tokens[TOKEN_KIND_COUNT];
    metrics_series *wasted[WASTE_REASON_COUNT];
    metrics_series *decisions[ROUTING_REASON_COUNT];
    metrics_series *attempts[BREAKER_OUTCOME_COUNT];
    metrics_series *breaker_opened, *breaker_closed;
    metrics_series *ejections[EJECTION_REASON_COUNT];
    metrics_series *routed_tokens, *matched_tokens, *added, *wanted;
};

struct flow_metrics {
    struct flow_model_metrics *models; /* [model_count], owned */
};

/* `model_names`: borrowed during the call. STATUS_OK, STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status flow_metrics_init(struct flow_metrics *metrics, metrics_registry *registry,
                                   const char *const *model_names, uint32_t model_count);
void flow_metrics_deinit(struct flow_metrics *metrics);

/* Those that replicas have worked for: of the prompt what was not in a cache, and the answer. */
static inline uint64_t flow_tokens_computed(const struct request_usage *usage)
{
    uint32_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;

    return (uint64_t)usage->prompt_tokens - cached + usage->completion_tokens;
}

/* What a request has used, by kind. Any thread. */
void flow_metrics_count_tokens(metrics_series *const tokens[TOKEN_KIND_COUNT],
                               const struct request_usage *usage);

#endif
