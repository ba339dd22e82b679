#include "replica_metrics.h"

#include <stdio.h>

#include "check.h"
#include "edge.h"
#include "memory.h"

/* By replica: 64 models of up to 64 replicas would be too many lines. What is beyond is counted as "other", where gauges say
 * nothing of anybody. */
#define SERIES_MAX 1024u

enum row {
    OUTSTANDING,
    RUNNING, /* from here on by its page */
    WAITING,
    KV_USAGE,
    STEP,
    STEP_AGE,
    BUSY,
    PREFILL_TOKENS,
    ROW_COUNT
};

static const struct {
    enum metrics_kind kind;
    const char *name, *help;
} rows[ROW_COUNT] = {
    [OUTSTANDING] = {METRICS_GAUGE, "penstock_replica_outstanding",
                     "Requests that this gateway has sent to a replica and that have not ended."},
    [RUNNING] = {METRICS_GAUGE, "penstock_replica_requests_running",
                 "Requests in a replica's running batch."},
    [WAITING] = {METRICS_GAUGE, "penstock_replica_requests_waiting",
                 "Requests that wait in a replica for its batch."},
    [KV_USAGE] = {METRICS_GAUGE, "penstock_replica_kv_usage_ratio",
                  "Share of a replica's KV blocks that running sequences hold, 0 to 1."},
    [STEP] = {METRICS_GAUGE, "penstock_replica_step_seconds",
              "What a replica's steps have taken lately."},
    [STEP_AGE] = {METRICS_GAUGE, "penstock_replica_step_age_seconds",
                  "Since a replica's last step has ended, while it has requests; else 0."},
    [BUSY] = {METRICS_COUNTER, "penstock_replica_busy_seconds_total",
              "Time that a replica has spent in steps since it began."},
    [PREFILL_TOKENS] = {METRICS_COUNTER, "penstock_replica_prefill_tokens_total",
                        "Tokens of prompts that a replica has read in steps since it began."},
};

struct replica_metrics {
    metrics_family *families[ROW_COUNT];
    struct shown {
        bool is_shown, has_page;
        metrics_series *series[ROW_COUNT];
    } * replicas; /* [replica_count], owned; by id */
};

static void labels_make(const struct edge_replica *replica, char number[16], const char *values[2])
{
    (void)snprintf(number, 16, "%u", replica->index);
    values[0] = replica->model->name;
    values[1] = number;
}

static void show(struct replica_metrics *metrics, const struct edge_replica *replica, unsigned from,
                 unsigned to)
{
    const char *values[2];
    char number[16];

    labels_make(replica, number, values);
    for (unsigned row = from; row < to; row++)
        metrics->replicas[replica->id].series[row] =
            metrics_series_get(metrics->families[row], values);
}

static void hide(struct replica_metrics *metrics, const struct edge_replica *replica)
{
    struct shown *shown = &metrics->replicas[replica->id];
    const char *values[2];
    char number[16];

    if (!shown->is_shown)
        return;
    labels_make(replica, number, values);
    for (unsigned row = 0; row < ROW_COUNT; row++)
        metrics_series_remove(metrics->families[row], values);
    *shown = (struct shown){.is_shown = false};
}

static void page_collect(struct shown *shown, const struct shared_page_state *page, uint64_t now_ns)
{
    uint32_t held = page->blocks_free + page->blocks_cached < page->blocks_total
                        ? page->blocks_total - page->blocks_free - page->blocks_cached
                        : 0;
    uint64_t age_ns =
        page->running > 0 && now_ns > page->last_step_ns ? now_ns - page->last_step_ns : 0;
    metrics_series *const *series = shown->series;

    metrics_set(series[RUNNING], page->running);
    metrics_set(series[WAITING], page->waiting);
    metrics_set(series[KV_USAGE], page->blocks_total > 0 ? (double)held / page->blocks_total : 0);
    metrics_set(series[STEP], (double)page->step_ms / 1e3);
    metrics_set(series[STEP_AGE], (double)age_ns / 1e9);
    metrics_set(series[BUSY], (double)page->busy_ns / 1e9);
    metrics_set(series[PREFILL_TOKENS], (double)page->prefill_tokens);
}

static void replica_collect(struct replica_metrics *metrics, const struct edge_replica *replica,
                            uint64_t now_ns)
{
    struct shown *shown = &metrics->replicas[replica->id];
    struct shared_page_state page;

    if (edge_replica_state(replica) == REPLICA_STOPPED) {
        hide(metrics, replica);
        return;
    }
    if (!shown->is_shown)
        show(metrics, replica, OUTSTANDING, RUNNING);
    shown->is_shown = true;
    metrics_set(shown->series[OUTSTANDING],
                atomic_load_explicit(&replica->outstanding, memory_order_relaxed));
    if (replica->page == NULL || !shared_page_read(replica->page, &page))
        return;
    if (!shown->has_page)
        show(metrics, replica, RUNNING, ROW_COUNT);
    shown->has_page = true;
    page_collect(shown, &page, now_ns);
}

void replica_metrics_collect(struct replica_metrics *metrics, const struct edge *edge,
                             uint64_t now_ns)
{
    for (uint32_t i = 0; i < edge->model_count; i++)
        for (uint32_t j = 0; j < edge->models[i].replica_count; j++)
            replica_collect(metrics, &edge->models[i].replicas[j], now_ns);
}

status replica_metrics_create(const struct edge *edge, struct replica_metrics **out)
{
    static const char *const labels[] = {"model", "replica", NULL};
    struct replica_metrics *metrics = memory_allocate_array(1, sizeof(*metrics));
    status result = STATUS_OK;

    if (metrics == NULL)
        return STATUS_NO_MEMORY;
    metrics->replicas =
        memory_allocate_array(edge->replica_count + 1, sizeof(metrics->replicas[0]));
    if (metrics->replicas == NULL)
        result = STATUS_NO_MEMORY;
    for (unsigned row = 0; result == STATUS_OK && row < ROW_COUNT; row++) {
        const struct metrics_family_options options = {.kind = rows[row].kind,
                                                       .name = rows[row].name,
                                                       .help = rows[row].help,
                                                       .labels = labels,
                                                       .series_max = SERIES_MAX};

        result = metrics_family_create(edge->registry, &options, &metrics->families[row]);
    }
    if (result != STATUS_OK) {
        replica_metrics_destroy(metrics);
        return result;
    }
    *out = metrics;
    return STATUS_OK;
}

void replica_metrics_destroy(struct replica_metrics *metrics)
{
    if (metrics == NULL)
        return;
    memory_release(metrics->replicas);
    memory_release(metrics);
}
