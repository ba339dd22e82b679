#include "queue_metrics.h"

#include <stdio.h>

#include "check.h"
#include "memory.h"

static const char *const refusal_names[QUEUE_REFUSAL_COUNT] = {
    [QUEUE_FULL] = "full",         [QUEUE_PUSHED_OUT] = "pushed_out", [QUEUE_LATE] = "late",
    [QUEUE_DEADLINE] = "deadline", [QUEUE_TIMEOUT] = "timeout",       [QUEUE_KV_SHARE] = "kv_share",
};

/* vLLM's buckets of its queue time. */
static const double wait_bounds[] = {0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5,
                                     5,     10,   15,   20,  30,  40,  50,  60, 120, 240, 480};

status queue_metrics_init(struct queue_metrics *metrics, metrics_registry *registry,
                          const char *const *model_names, uint32_t model_count)
{
    static const char *const model_label[] = {"model", NULL};
    static const char *const band_labels[] = {"model", "band", NULL};
    static const char *const reason_labels[] = {"model", "reason", NULL};
    metrics_family *slots, *running, *tokens, *refusals, *kv_waits;
    const struct metrics_family_row rows[] = {
        {&metrics->waiting,
         {METRICS_GAUGE, "penstock_queue_requests",
          "Requests that wait for a slot, by model and priority band.", band_labels, NULL, 0, 0}},
        {&metrics->waited,
         {METRICS_HISTOGRAM, "penstock_queue_wait_seconds", "Waits for a slot.", band_labels,
          wait_bounds, ARRAY_COUNT(wait_bounds), 0}},
        {&tokens,
         {METRICS_GAUGE, "penstock_queue_tokens",
          "Prompt tokens of the requests that wait, as estimated.", model_label, NULL, 0, 0}},
        {&slots,
         {METRICS_GAUGE, "penstock_queue_slots",
          "Requests that the model's ready replicas may have at once.", model_label, NULL, 0, 0}},
        {&running,
         {METRICS_GAUGE, "penstock_queue_slots_used", "Slots in use.", model_label, NULL, 0, 0}},
        {&kv_waits,
         {METRICS_COUNTER, "penstock_queue_kv_share_waits_total",
          "Requests that waited for their tenant's share of the KV cache while there was a slot.",
          model_label, NULL, 0, 0}},
        {&refusals,
         {METRICS_COUNTER, "penstock_queue_refusals_total",
          "Requests that were refused a slot, by reason.", reason_labels, NULL, 0, 0}},
    };
    status result;

    result = metrics_families_create(registry, rows, sizeof(rows) / sizeof(rows[0]));
    if (result != STATUS_OK)
        return result;
    metrics->names = model_names;
    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model_count; i++) {
        struct queue_model_metrics *model = &metrics->models[i];

        model->slots = metrics_series_get(slots, &model_names[i]);
        model->running = metrics_series_get(running, &model_names[i]);
        model->tokens = metrics_series_get(tokens, &model_names[i]);
        model->kv_waits = metrics_series_get(kv_waits, &model_names[i]);
        for (size_t j = 0; j < QUEUE_REFUSAL_COUNT; j++) {
            const char *const values[] = {model_names[i], refusal_names[j]};

            model->refusals[j] = metrics_series_get(refusals, values);
        }
    }
    return STATUS_OK;
}

void queue_metrics_deinit(struct queue_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}

/* Two threads that both find none get the same series. */
static metrics_series *band_series(const struct queue_metrics *metrics, metrics_family *family,
                                   _Atomic(metrics_series *) *kept, uint32_t model, int32_t band)
{
    metrics_series *series = atomic_load_explicit(kept, memory_order_acquire);
    char text[8];
    const char *const values[] = {metrics->names[model], text};

    if (series != NULL)
        return series;
    (void)snprintf(text, sizeof(text), "%d", band);
    series = metrics_series_get(family, values);
    atomic_store_explicit(kept, series, memory_order_release);
    return series;
}

void queue_metrics_waited(struct queue_metrics *metrics, uint32_t model, int32_t band,
                          double seconds)
{
    _Atomic(metrics_series *) *kept = &metrics->models[model].waited[band + WAITING_ROOM_BAND_HALF];

    metrics_observe(band_series(metrics, metrics->waited, kept, model, band), seconds);
}

void queue_metrics_refused(struct queue_metrics *metrics, uint32_t model, enum queue_refusal reason)
{
    metrics_add(metrics->models[model].refusals[reason], 1);
}

void queue_metrics_kv_wait(struct queue_metrics *metrics, uint32_t model)
{
    metrics_add(metrics->models[model].kv_waits, 1);
}

void queue_metrics_collect(struct queue_metrics *metrics, uint32_t model,
                           struct admission *admission)
{
    struct queue_model_metrics *row = &metrics->models[model];
    struct admission_figures figures;

    admission_figures(admission, &figures);
    metrics_set(row->slots, figures.slots);
    metrics_set(row->running, (double)figures.running);
    metrics_set(row->tokens, (double)figures.waiting_tokens);
    for (int32_t band = -WAITING_ROOM_BAND_HALF; band <= WAITING_ROOM_BAND_HALF; band++) {
        uint32_t i = (uint32_t)(band + WAITING_ROOM_BAND_HALF);

        if (figures.waiting[i] > 0 || band == 0 || atomic_load(&row->waiting[i]) != NULL)
            metrics_set(band_series(metrics, metrics->waiting, &row->waiting[i], model, band),
                        figures.waiting[i]);
    }
}
