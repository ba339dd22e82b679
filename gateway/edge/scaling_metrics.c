#include "scaling_metrics.h"

#include "check.h"
#include "memory.h"

status scaling_metrics_init(struct scaling_metrics *metrics, metrics_registry *registry,
                            const char *const *model_names, uint32_t model_count)
{
    static const char *const model_label[] = {"model", NULL};
    static const char *const reason_labels[] = {"model", "reason", NULL};
    metrics_family *desired, *need, *load, *capacity, *panicking, *cold_start, *decisions;
    const struct metrics_family_row rows[] = {
        {&desired,
         {METRICS_GAUGE, "penstock_autoscaler_desired_replicas",
          "Replicas that there should be, by model.", model_label, NULL, 0, 0}},
        {&need,
         {METRICS_GAUGE, "penstock_autoscaler_needed_replicas",
          "Replicas that the load of the last minute needs, before rounding and bounds.",
          model_label, NULL, 0, 0}},
        {&load,
         {METRICS_GAUGE, "penstock_autoscaler_load_ratio",
          "Share of the ready replicas' measured capacity that is used.", model_label, NULL, 0, 0}},
        {&capacity,
         {METRICS_GAUGE, "penstock_autoscaler_replica_capacity_requests_per_second",
          "Requests a second that one replica carries within the model's service level, as "
          "measured.",
          model_label, NULL, 0, 0}},
        {&panicking,
         {METRICS_GAUGE, "penstock_autoscaler_panicking",
          "1 while a burst is answered and nothing is taken away.", model_label, NULL, 0, 0}},
        {&cold_start,
         {METRICS_GAUGE, "penstock_autoscaler_cold_start_seconds",
          "How long the next replica's start is expected to take.", model_label, NULL, 0, 0}},
        {&decisions,
         {METRICS_COUNTER, "penstock_autoscaler_decisions_total",
          "Decisions on the number of replicas, by what decided.", reason_labels, NULL, 0, 0}},
    };
    status result;

    result = metrics_families_create(registry, rows, sizeof(rows) / sizeof(rows[0]));
    if (result != STATUS_OK)
        return result;
    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model_count; i++) {
        struct scaling_model_metrics *model = &metrics->models[i];

        model->desired = metrics_series_get(desired, &model_names[i]);
        model->need = metrics_series_get(need, &model_names[i]);
        model->load = metrics_series_get(load, &model_names[i]);
        model->capacity = metrics_series_get(capacity, &model_names[i]);
        model->panicking = metrics_series_get(panicking, &model_names[i]);
        model->cold_start = metrics_series_get(cold_start, &model_names[i]);
        for (unsigned reason = 0; reason < AUTOSCALER_REASON_COUNT; reason++) {
            const char *const values[] = {model_names[i],
                                          autoscaler_reason_name((enum autoscaler_reason)reason)};

            model->decisions[reason] = metrics_series_get(decisions, values);
        }
    }
    return STATUS_OK;
}

void scaling_metrics_deinit(struct scaling_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}

void scaling_metrics_desired(struct scaling_metrics *metrics, uint32_t model, uint32_t count)
{
    metrics_set(metrics->models[model].desired, count);
}

void scaling_metrics_decided(struct scaling_metrics *metrics, uint32_t model,
                             const struct autoscaler_observation *seen,
                             const struct autoscaler_decision *decision)
{
    const struct scaling_model_metrics *series = &metrics->models[model];

    metrics_set(series->need, decision->need_stable);
    metrics_set(series->load, decision->load);
    metrics_set(series->capacity, seen->up.requests_per_s);
    metrics_set(series->panicking, decision->is_panicking);
    metrics_set(series->cold_start, seen->cold_start_s);
    metrics_add(series->decisions[decision->reason], 1);
}
