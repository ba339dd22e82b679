#include "stream_metrics.h"

#include "check.h"
#include "memory.h"

static const char *const resumption_names[RESUMPTION_OUTCOME_COUNT] = {
    [RESUMPTION_DONE] = "resumed",
    [RESUMPTION_FAILED] = "failed",
    [RESUMPTION_REFUSED] = "refused",
    [RESUMPTION_IMPOSSIBLE] = "impossible",
};

static const char *const hedge_names[HEDGE_OUTCOME_COUNT] = {
    [HEDGE_WON] = "won",
    [HEDGE_LOST] = "lost",
    [HEDGE_FAILED] = "failed",
    [HEDGE_REFUSED] = "refused",
};

static void series_make(metrics_family *family, const char *model, const char *const *names,
                        size_t count, metrics_series **out)
{
    for (size_t i = 0; i < count; i++) {
        const char *const values[] = {model, names[i]};

        out[i] = metrics_series_get(family, values);
    }
}

status stream_metrics_init(struct stream_metrics *metrics, metrics_registry *registry,
                           const char *const *model_names, uint32_t model_count)
{
    static const char *const labels[] = {"model", "outcome", NULL};
    static const struct metrics_family_options options[] = {
        {METRICS_COUNTER, "penstock_stream_continuations_total",
         "Streams that broke off, by what became of them.", labels, NULL, 0, 0},
        {METRICS_COUNTER, "penstock_hedged_requests_total",
         "Copies of streaming requests whose replica had not answered in time, by what became of "
         "them.",
         labels, NULL, 0, 0}};
    metrics_family *families[ARRAY_COUNT(options)];

    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        status result = metrics_family_create(registry, &options[i], &families[i]);

        if (result != STATUS_OK)
            return result;
    }
    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model_count; i++) {
        struct stream_model_metrics *model = &metrics->models[i];

        series_make(families[0], model_names[i], resumption_names, RESUMPTION_OUTCOME_COUNT,
                    model->resumptions);
        series_make(families[1], model_names[i], hedge_names, HEDGE_OUTCOME_COUNT, model->hedges);
    }
    return STATUS_OK;
}

void stream_metrics_deinit(struct stream_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}
