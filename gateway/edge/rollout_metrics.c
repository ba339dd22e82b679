#include "rollout_metrics.h"

#include "check.h"
#include "edge.h"
#include "memory.h"

static const char *const side_names[] = {"old", "new"};
static const char *const outcome_names[] = {"ended", "failed", "streamed", "slow"};

enum { RESULTS, PHASES, VERSIONS, SHARE, OUTCOMES, FAMILY_COUNT };

static status families_create(metrics_registry *registry, metrics_family *families[FAMILY_COUNT])
{
    static const char *const model_labels[] = {"model", NULL};
    static const char *const result_labels[] = {"model", "result", NULL};
    static const char *const phase_labels[] = {"model", "phase", NULL};
    static const char *const side_labels[] = {"model", "version", NULL};
    static const char *const outcome_labels[] = {"model", "version", "outcome", NULL};
    static const struct metrics_family_options options[FAMILY_COUNT] = {
        [RESULTS] = {METRICS_COUNTER, "penstock_rollouts_total",
                     "Rollouts of new versions of a model that have ended, by how.", result_labels,
                     NULL, 0, 0},
        [PHASES] = {METRICS_GAUGE, "penstock_rollout_phase",
                    "1 for the phase that the model's rollout is in; steady: there is none.",
                    phase_labels, NULL, 0, 0},
        [VERSIONS] = {METRICS_GAUGE, "penstock_rollout_version",
                      "Numbers of the version in force (old) and of the one that is to take its "
                      "place, or was to last (new).",
                      side_labels, NULL, 0, 0},
        [SHARE] = {METRICS_GAUGE, "penstock_rollout_new_share",
                   "Share of the requests that the new version gets; -1: as the load says.",
                   model_labels, NULL, 0, 0},
        [OUTCOMES] = {METRICS_GAUGE, "penstock_rollout_requests",
                      "What versions are judged by: requests that ended and failed, streams and "
                      "those that missed their latency target; of the old one the last thousand "
                      "or so.",
                      outcome_labels, NULL, 0, 0},
    };
    status result = STATUS_OK;

    for (size_t i = 0; i < FAMILY_COUNT && result == STATUS_OK; i++)
        result = metrics_family_create(registry, &options[i], &families[i]);
    return result;
}

static metrics_series *pair(metrics_family *family, const char *model, const char *name)
{
    return metrics_series_get(family, (const char *const[]){model, name});
}

static void series_make(struct rollout_model_metrics *model, const char *name,
                        metrics_family *families[FAMILY_COUNT])
{
    for (unsigned i = ROLLOUT_NOT_YET + 1; i < ROLLOUT_RESULT_COUNT; i++)
        model->results[i] =
            pair(families[RESULTS], name, rollout_result_name((enum rollout_result)i));
    for (unsigned i = 0; i < ROLLOUT_PHASE_COUNT; i++)
        model->phases[i] = pair(families[PHASES], name, rollout_phase_name((enum rollout_phase)i));
    model->stable = pair(families[VERSIONS], name, side_names[0]);
    model->fresh = pair(families[VERSIONS], name, side_names[1]);
    model->share = metrics_series_get(families[SHARE], &name);
    for (unsigned side = 0; side < ARRAY_COUNT(side_names); side++) {
        for (unsigned i = 0; i < ARRAY_COUNT(outcome_names); i++)
            model->outcomes[side][i] =
                metrics_series_get(families[OUTCOMES],
                                   (const char *const[]){name, side_names[side], outcome_names[i]});
    }
}

status rollout_metrics_init(struct rollout_metrics *metrics, metrics_registry *registry,
                            const char *const *model_names, uint32_t model_count)
{
    metrics_family *families[FAMILY_COUNT];
    status result = families_create(registry, families);

    if (result != STATUS_OK)
        return result;
    metrics->models = memory_allocate_array(model_count, sizeof(metrics->models[0]));
    if (metrics->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model_count; i++)
        series_make(&metrics->models[i], model_names[i], families);
    return STATUS_OK;
}

void rollout_metrics_deinit(struct rollout_metrics *metrics)
{
    memory_release(metrics->models);
    metrics->models = NULL;
}

static void counts_set(metrics_series *const *series, const struct version_counts *counts)
{
    const _Atomic uint64_t *of[] = {&counts->requests, &counts->failed, &counts->streams,
                                    &counts->slow};

    for (size_t i = 0; i < ARRAY_COUNT(of); i++)
        metrics_set(series[i], (double)atomic_load_explicit(of[i], memory_order_relaxed));
}

void rollout_metrics_collect(struct rollout_metrics *metrics, struct edge_model *models,
                             uint32_t model_count)
{
    for (uint32_t i = 0; i < model_count; i++) {
        struct version_report report = model_versions_report(&models[i].versions);
        struct rollout_model_metrics *model = &metrics->models[i];

        for (unsigned phase = 0; phase < ROLLOUT_PHASE_COUNT; phase++)
            metrics_set(model->phases[phase], report.phase == phase);
        metrics_set(model->stable, report.stable);
        metrics_set(model->fresh, report.fresh);
        metrics_set(model->share, report.fresh_share);
        counts_set(model->outcomes[0], &models[i].versions.stable_counts);
        counts_set(model->outcomes[1], &models[i].versions.fresh_counts);
    }
}
