#include "flow_metrics.h"

#include "check.h"
#include "memory.h"

const char *const token_kind_names[TOKEN_KIND_COUNT + 1] = {
    [TOKENS_PROMPT] = "prompt",
    [TOKENS_CACHED] = "cached",
    [TOKENS_COMPLETION] = "completion",
};

static const char *const waste_names[WASTE_REASON_COUNT + 1] = {
    [WASTE_RETRIED] = "retried",
    [WASTE_HEDGED] = "hedged",
    [WASTE_CLIENT_GONE] = "client_gone",
};

static const char *const routing_names[ROUTING_REASON_COUNT + 1] = {
    [ROUTING_KEEPER] = "keeper", [ROUTING_ONLY_ONE] = "only_one", [ROUTING_CACHE] = "cache",
    [ROUTING_LOAD] = "load",     [ROUTING_TURN] = "turn",         [ROUTING_HASH] = "hash",
};

static const char *const outcome_names[BREAKER_OUTCOME_COUNT + 1] = {
    [BREAKER_GOOD] = "good",
    [BREAKER_FAILED] = "failed",
    [BREAKER_UNKNOWN] = "unknown",
};

static const char *const breaker_names[] = {"open", "closed", NULL};

static const char *const ejection_names[EJECTION_REASON_COUNT + 1] = {
    [EJECTION_BREAKER] = "breaker",
    [EJECTION_STALLED] = "stalled",
    [EJECTION_LOST] = "lost",
};

/* From far below what anybody notices to what is a fault. */
static const double added_bounds[] = {0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005,
                                      0.01,    0.02,   0.05,   0.1,    0.25,  1};

#define PLACE(field) offsetof(struct flow_model_metrics, field)

/* A family: by model, and by one label more where it has values; its series lie one behind the other at `place`. */
static const struct family_row {
    enum metrics_kind kind;
    const char *name, *help, *label;
    const char *const *values; /* NULL-terminated */
    size_t place;
} family_rows[] = {
    {METRICS_COUNTER, "penstock_tokens_total",
     "Tokens of requests that have ended: of prompts, read anew or found in a cache, and of "
     "answers.",
     "kind", token_kind_names, PLACE(tokens)},
    {METRICS_COUNTER, "penstock_wasted_tokens_total",
     "Tokens that were computed and reached nobody, as far as they are known.", "reason",
     waste_names, PLACE(wasted)},
    {METRICS_COUNTER, "penstock_routing_decisions_total",
     "Requests that were given to a replica, by why to this one.", "reason", routing_names,
     PLACE(decisions)},
    {METRICS_COUNTER, "penstock_routing_prompt_tokens_total",
     "Tokens of the prompts that were given to a replica, as estimated.", NULL, NULL,
     PLACE(routed_tokens)},
    {METRICS_COUNTER, "penstock_routing_matched_tokens_total",
     "Those of them that the replica's cache had.", NULL, NULL, PLACE(matched_tokens)},
    {METRICS_COUNTER, "penstock_upstream_attempts_total",
     "Exchanges with replicas that have ended, by what they say of the replica.", "result",
     outcome_names, PLACE(attempts)},
    {METRICS_COUNTER, "penstock_breaker_changes_total",
     "Changes of replicas' circuit breakers, by what they have changed to.", "state", breaker_names,
     PLACE(breaker_opened)},
    {METRICS_COUNTER, "penstock_replica_ejections_total",
     "Ready replicas that get no requests from now on, by why.", "reason", ejection_names,
     PLACE(ejections)},
    {METRICS_GAUGE, "penstock_replicas_wanted", "Replicas that there should be.", NULL, NULL,
     PLACE(wanted)},
    {METRICS_HISTOGRAM, "penstock_added_latency_seconds",
     "The gateway's own share of a request's time: until it is sent, without the wait for a slot "
     "or a replica, and with the answer in hand.",
     NULL, NULL, PLACE(added)},
};

static metrics_series **series_at(struct flow_model_metrics *model, size_t place)
{
    return (metrics_series **)(void *)((char *)model + place);
}

static status family_init(struct flow_metrics *metrics, metrics_registry *registry,
                          const struct family_row *row, const char *const *model_names,
                          uint32_t model_count)
{
    const char *const labels[] = {"model", row->label, NULL};
    bool is_histogram = row->kind == METRICS_HISTOGRAM;
    const struct metrics_family_options options = {
        .kind = row->kind,
        .name = row->name,
        .help = row->help,
        .labels = labels,
        .bounds = is_histogram ? added_bounds : NULL,
        .bound_count = is_histogram ? ARRAY_COUNT(added_bounds) : 0,
    };
    metrics_family *family;
    status result = metrics_family_create(registry, &options, &family);

    for (uint32_t i = 0; result == STATUS_OK && i < model_count; i++) {
        metrics_series **series = series_at(&metrics->models[i], row->place);

        if (row->values == NULL)
            series[0] = metrics_series_get(family, &model_names[i]);
        for (size_t j = 0; row->values != NULL && row->values[j] != NULL; j++)
            series[j] =
                metrics_series_get(family, (const char *const[]){model_names[i], row->values[j]});
    }
    return result;
}

status flow_metrics_init(struct flow_metrics *metrics, metrics_registry *registry,
                         const char *const *model_names, uint32_t model_count)
{
    status result = STATUS_OK;

    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; result == STATUS_OK && i < ARRAY_COUNT(family_rows); i++)
        result = family_init(metrics, registry, &family_rows[i], model_names, model_count);
    return result;
}

void flow_metrics_deinit(struct flow_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}

void flow_metrics_count_tokens(metrics_series *const tokens[TOKEN_KIND_COUNT],
                               const struct request_usage *usage)
{
    uint32_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;

    metrics_add(tokens[TOKENS_PROMPT], usage->prompt_tokens - cached);
    metrics_add(tokens[TOKENS_CACHED], cached);
    metrics_add(tokens[TOKENS_COMPLETION], usage->completion_tokens);
}
