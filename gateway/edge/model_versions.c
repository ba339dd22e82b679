#include "model_versions.h"

#include "check.h"

void model_versions_init(struct model_versions *versions, struct config *first,
                         const struct config_model *row)
{
    CHECK(pthread_mutex_init(&versions->lock, NULL) == 0);
    versions->items[0] = (struct model_version){1, first};
    versions->wanted = versions->newest = versions->last = 1;
    atomic_init(&versions->has_texts, false);
    versions->policy = model_versions_policy(&row->rollout);
    versions->report = (struct version_report){
        .stable = 1, .fresh = 1, .heard = 1, .fresh_share = ROLLOUT_BY_LOAD};
    atomic_init(&versions->stable, 1);
    atomic_init(&versions->fresh, 1);
    atomic_init(&versions->fresh_share, ROLLOUT_BY_LOAD);
    versions->first_token_ns = row->autoscale.first_token_ns;
    versions->inter_token_ns = row->autoscale.inter_token_ns;
}

void model_versions_deinit(struct model_versions *versions)
{
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT; i++) {
        if (versions->items[i].number > 1)
            config_destroy(versions->items[i].config);
    }
    (void)pthread_mutex_destroy(&versions->lock);
}

struct rollout_policy model_versions_policy(const struct config_rollout *row)
{
    return (struct rollout_policy){
        .kind = (enum rollout_kind)row->kind,
        .surge = (uint32_t)row->surge,
        .unavailable_max = (uint32_t)row->unavailable_max,
        .canary_share = row->canary_share,
        .canary_ns = row->canary_ns,
        .canary_ns_max = row->canary_ns_max,
        .watch_ns = row->watch_ns,
        .progress_ns = row->progress_ns,
        .failures_max = (uint32_t)row->failures_max,
        .requests_min = (uint32_t)row->requests_min,
        .error_rate_max = row->error_rate_max,
        .slow_rate_max = row->slow_rate_max,
    };
}

const struct config *model_versions_config(struct model_versions *versions, uint32_t number)
{
    const struct config *config = NULL;

    pthread_mutex_lock(&versions->lock);
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT; i++) {
        if (versions->items[i].number == number)
            config = versions->items[i].config;
    }
    pthread_mutex_unlock(&versions->lock);
    return config;
}

struct version_report model_versions_report(struct model_versions *versions)
{
    struct version_report report;

    pthread_mutex_lock(&versions->lock);
    report = versions->report;
    pthread_mutex_unlock(&versions->lock);
    return report;
}

/* --- loops --- */

/* NULL: of a version in between, which is judged no more. */
static struct version_counts *counts_of(struct model_versions *versions, uint32_t number)
{
    if (number == atomic_load_explicit(&versions->stable, memory_order_relaxed))
        return &versions->stable_counts;
    if (number == atomic_load_explicit(&versions->fresh, memory_order_relaxed))
        return &versions->fresh_counts;
    return NULL;
}

static void add(_Atomic uint64_t *count)
{
    (void)atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

void model_versions_count(struct model_versions *versions, uint32_t number,
                          enum breaker_outcome outcome)
{
    struct version_counts *counts = counts_of(versions, number);

    if (counts == NULL || outcome == BREAKER_UNKNOWN)
        return;
    add(&counts->requests);
    if (outcome == BREAKER_FAILED)
        add(&counts->failed);
}

void model_versions_count_stream(struct model_versions *versions, uint32_t number,
                                 uint64_t first_ns, uint64_t between_ns)
{
    struct version_counts *counts = counts_of(versions, number);
    bool is_late = versions->first_token_ns > 0 && first_ns > versions->first_token_ns;
    bool is_slow = versions->inter_token_ns > 0 && between_ns > versions->inter_token_ns;

    if (counts == NULL)
        return;
    add(&counts->streams);
    if (is_late || is_slow)
        add(&counts->slow);
}
