#include "stream_metrics.h"

#include "memory.h"

static const char *const resumption_names[RESUMPTION_OUTCOME_COUNT] = {
    [RESUMPTION_DONE] = "resumed",
    [RESUMPTION_FAILED] = "failed",
    [RESUMPTION_REFUSED] = "refused",
    [RESUMPTION_IMPOSSIBLE] = "impossible",
};

status stream_metrics_init(struct stream_metrics *metrics, metrics_registry *registry,
                           const char *const *model_names, uint32_t model_count)
{
    static const char *const labels[] = {"model", "outcome", NULL};
    static const struct metrics_family_options options = {
        METRICS_COUNTER,
        "penstock_stream_continuations_total",
        "Streams that broke off, by what became of them.",
        labels,
        NULL,
        0,
        0};
    metrics_family *family;
    status result = metrics_family_create(registry, &options, &family);

    if (result != STATUS_OK)
        return result;
    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model_count; i++) {
        for (size_t j = 0; j < RESUMPTION_OUTCOME_COUNT; j++) {
            const char *const values[] = {model_names[i], resumption_names[j]};

            metrics->models[i].resumptions[j] = metrics_series_get(family, values);
        }
    }
    return STATUS_OK;
}

void stream_metrics_deinit(struct stream_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}
