#include "version_settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "edge_audit.h"
#include "log.h"
#include "run_directory.h"

#define MODEL_COUNT_MAX 64u /* the settings table's limit */
#define PATH_BYTES      160u

static void version_path(const struct edge *edge, const struct edge_model *model, uint32_t number,
                         char out[PATH_BYTES])
{
    run_directory_version_path(edge->run_directory, model->index, number, edge->epoch, out,
                               PATH_BYTES);
}

/* --- what a reload changes --- */

struct comparison {
    uint32_t model, count;
    void (*changed)(void *context, const char *key, const struct setting *row);
    void *context;
};

static void difference_take(void *context, const char *key, const struct setting *row)
{
    struct comparison *comparison = context;
    char whole[192];

    if (row->reload != RELOAD_ROLLOUT)
        return;
    comparison->count++;
    if (comparison->changed == NULL)
        return;
    (void)snprintf(whole, sizeof(whole), "models[%u].%s", comparison->model, key);
    comparison->changed(comparison->context, whole, row);
}

static bool is_as(struct edge *edge, uint32_t model, uint32_t number, const struct config *config,
                  void (*changed)(void *context, const char *key, const struct setting *row),
                  void *context)
{
    const struct config *other = model_versions_config(&edge->models[model].versions, number);
    struct comparison comparison = {model, 0, changed, context};

    settings_compare(config_model_table, config_model_at(other, model),
                     config_model_at(config, model), difference_take, &comparison);
    return comparison.count == 0;
}

static struct version_change
change_of(struct edge *edge, uint32_t index, const struct config *config,
          void (*changed)(void *context, const char *key, const struct setting *row), void *context)
{
    struct model_versions *versions = &edge->models[index].versions;
    struct version_report report = model_versions_report(versions);
    bool is_heard = report.heard == versions->wanted;
    bool is_active = !is_heard || report.phase != ROLLOUT_STEADY;
    bool is_given_up = is_heard && report.phase == ROLLOUT_RETURNING;
    struct version_change change = {VERSION_STAYS, report.stable};

    if (is_active && is_as(edge, index, versions->wanted, config, NULL, NULL)) {
        change.number =
            versions->wanted; /* also when it was given up: only a later reload tries it anew */
    } else if (is_as(edge, index, report.stable, config, changed, context)) {
        if (is_active && !is_given_up && versions->wanted != report.stable)
            change.kind = VERSION_IS_TAKEN_BACK;
    } else {
        change.kind = VERSION_IS_NEW;
        change.number = versions->last + 1;
    }
    return change;
}

void version_settings_compare(
    struct edge *edge, const struct config *config, struct version_change *changes,
    void (*changed)(void *context, const char *key, const struct setting *row), void *context)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        changes[i] = (struct version_change){VERSION_STAYS, 1};
        if (config_model_is_local(config_model_at(config, i)))
            changes[i] = change_of(edge, i, config, changed, context);
    }
}

/* --- keeping versions --- */

/* What neither main nor the control thread will look at again. */
static void versions_free(struct edge *edge, struct edge_model *model)
{
    struct model_versions *versions = &model->versions;
    struct config *unused[MODEL_VERSIONS_KEPT] = {NULL};
    char path[PATH_BYTES];

    pthread_mutex_lock(&versions->lock);
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT; i++) {
        struct model_version *item = &versions->items[i];

        if (item->number == 0 || versions->report.heard != versions->wanted ||
            item->number == versions->wanted || item->number == versions->report.stable ||
            item->number == versions->report.fresh)
            continue;
        unused[i] = item->number > 1 ? item->config : NULL;
        version_path(edge, model, item->number, path);
        (void)unlink(path);
        *item = (struct model_version){0, NULL};
    }
    pthread_mutex_unlock(&versions->lock);
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT; i++)
        config_destroy(unused[i]);
}

static status version_add(struct model_versions *versions, uint32_t number, struct config *config)
{
    status result = STATUS_FULL;

    pthread_mutex_lock(&versions->lock);
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT && result == STATUS_FULL; i++) {
        if (versions->items[i].number != 0)
            continue;
        versions->items[i] = (struct model_version){number, config};
        result = STATUS_OK;
    }
    pthread_mutex_unlock(&versions->lock);
    return result;
}

static void version_remove(struct edge *edge, struct edge_model *model, uint32_t number)
{
    struct model_versions *versions = &model->versions;
    struct config *config = NULL;
    char path[PATH_BYTES];

    pthread_mutex_lock(&versions->lock);
    for (uint32_t i = 0; i < MODEL_VERSIONS_KEPT; i++) {
        if (versions->items[i].number != number)
            continue;
        config = versions->items[i].config;
        versions->items[i] = (struct model_version){0, NULL};
    }
    pthread_mutex_unlock(&versions->lock);
    config_destroy(config);
    version_path(edge, model, number, path);
    (void)unlink(path);
}

static status version_keep(struct edge *edge, const struct gateway_options *options,
                           struct edge_model *model, struct text_slice text, uint32_t number)
{
    struct config_overrides overrides = options->overrides;
    struct settings_report report;
    struct config *config = NULL;
    char path[PATH_BYTES];
    status result;

    versions_free(edge, model);
    result =
        run_directory_write_version(edge->run_directory, model->index, number, edge->epoch, text);
    version_path(edge, model, number, path);
    overrides.text_file = path;
    if (result == STATUS_OK)
        result = config_load(options->config_file, &overrides, &config, &report);
    if (result == STATUS_OK)
        result = version_add(&model->versions, number, config);
    if (result != STATUS_OK) {
        config_destroy(config);
        (void)unlink(path);
    }
    return result;
}

/* The first one runs without a file of its own, until there is another. */
static status first_keep(const struct edge *edge, struct edge_model *model)
{
    status result;

    if (atomic_load_explicit(&model->versions.has_texts, memory_order_relaxed))
        return STATUS_OK;
    result = run_directory_write_version(edge->run_directory, model->index, 1, edge->epoch,
                                         edge->configs.first->config->text);
    if (result == STATUS_OK)
        atomic_store_explicit(&model->versions.has_texts, true, memory_order_release);
    return result;
}

status version_settings_keep(struct edge *edge, const struct gateway_options *options,
                             struct text_slice text, const struct version_change *changes)
{
    status result = STATUS_OK;
    uint32_t i;

    for (i = 0; i < edge->model_count && result == STATUS_OK; i++) {
        if (changes[i].kind != VERSION_IS_NEW)
            continue;
        result = first_keep(edge, &edge->models[i]);
        if (result == STATUS_OK)
            result = version_keep(edge, options, &edge->models[i], text, changes[i].number);
    }
    if (result == STATUS_OK)
        return STATUS_OK;
    log_error("gateway/edge", "reload: the settings of model %s for new replicas: %s",
              edge->models[i - 1].name, status_name(result));
    for (uint32_t j = 0; j + 1 < i; j++) {
        if (changes[j].kind == VERSION_IS_NEW)
            version_remove(edge, &edge->models[j], changes[j].number);
    }
    return result;
}

void version_settings_drop(struct edge *edge, const struct version_change *changes)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        if (changes[i].kind == VERSION_IS_NEW)
            version_remove(edge, &edge->models[i], changes[i].number);
    }
}

void version_settings_want(struct edge *edge, const struct config *config,
                           const struct version_change *changes)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        struct model_versions *versions = &edge->models[i].versions;

        versions->newest = changes[i].number;
        if (changes[i].kind == VERSION_IS_NEW)
            versions->last = changes[i].number;
        pthread_mutex_lock(&versions->lock);
        versions->policy = model_versions_policy(&config_model_at(config, i)->rollout);
        if (changes[i].kind != VERSION_STAYS)
            versions->wanted = changes[i].number;
        pthread_mutex_unlock(&versions->lock);
    }
}

uint32_t version_settings_newest(const struct edge_model *model)
{
    return model->versions.newest;
}

/* --- what is in force --- */

status version_settings_load(struct edge *edge, const struct gateway_options *options,
                             struct config **out, struct settings_report *report)
{
    struct config_overrides overrides = options->overrides;
    struct config_version_text texts[MODEL_COUNT_MAX];
    char copy[PATH_BYTES], paths[MODEL_COUNT_MAX][PATH_BYTES];
    uint32_t count = 0;

    CHECK(edge->model_count <= MODEL_COUNT_MAX);
    run_directory_config_path(edge->run_directory, copy, sizeof(copy));
    overrides.text_file = copy;
    overrides.adapters = edge->adapters.rows;
    overrides.adapter_count = edge->adapters.count;
    for (uint32_t i = 0; i < edge->model_count; i++) {
        struct edge_model *model = &edge->models[i];
        uint32_t stable = model_versions_report(&model->versions).stable;

        if (!atomic_load_explicit(&model->versions.has_texts, memory_order_relaxed))
            continue;
        version_path(edge, model, stable, paths[count]);
        texts[count] = (struct config_version_text){model->name, paths[count]};
        count++;
    }
    overrides.versions = texts;
    overrides.version_count = count;
    return config_load(options->config_file, &overrides, out, report);
}

/* --- the end of a rollout --- */

static bool put_in_force(struct edge *edge, const struct gateway_options *options)
{
    struct settings_report report;
    struct config *config = NULL;
    status result = version_settings_load(edge, options, &config, &report);

    if (result == STATUS_OK)
        result = config_store_swap(&edge->configs, edge->server, config);
    if (result == STATUS_OK)
        return true;
    config_destroy(config);
    log_error("gateway/edge", "the settings of a version that is proven cannot be put in force: %s",
              report.error_count > 0 ? report.errors[0].text : status_name(result));
    return false;
}

static void end_audit(struct edge *edge, const struct edge_model *model,
                      const struct version_report *report)
{
    const struct audit_event event = {
        "gateway", report->result == ROLLOUT_DONE ? "rollout.done" : "rollout.given_up",
        model->name, report->text};
    struct error_note note = {""};

    if (records_audit(edge->records, &event, &note) != STATUS_OK)
        log_error("gateway/edge", "the audit log does not take it: %s", note.text);
}

void version_settings_settle(struct edge *edge, const struct gateway_options *options)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        struct edge_model *model = &edge->models[i];
        struct version_report report = model_versions_report(&model->versions);

        if (report.ended_count == model->versions.settled_count)
            continue;
        if (report.result == ROLLOUT_DONE && !put_in_force(edge, options))
            continue;
        model->versions.settled_count = report.ended_count;
        end_audit(edge, model, &report);
        versions_free(edge, model);
    }
}
