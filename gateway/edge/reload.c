#include "reload.h"

#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "control.h"
#include "edge_admission.h"
#include "edge_audit.h"
#include "join.h"
#include "log.h"
#include "run_directory.h"
#include "version_settings.h"

#define MODEL_COUNT_MAX 64u /* the settings table's limit */

/* Keys are named in full up to so many bytes; the audit log has their number as well. */
#define KEYS_BYTES_MAX 700u

struct differences {
    uint32_t count, refused_count;
    bool has_adapters;
    struct buffer keys; /* with blanks between */
};

/* Values are not logged: some are secrets, and the file shows the rest. */
static void difference_take(void *context, const char *key, const struct setting *row)
{
    struct differences *differences = context;

    differences->count++;
    buffer_append_format(&differences->keys, " %s", key);
    differences->has_adapters |= strstr(key, ".adapters") != NULL;
    if (row->reload == RELOAD_RESTART) {
        differences->refused_count++;
        log_error("gateway/edge", "reload: %s has changed, which needs a restart", key);
    } else {
        log_info("gateway/edge", "reload: %s changes%s", key,
                 row->reload == RELOAD_ROLLOUT ? ", in new replicas" : "");
    }
}

/* What replicas are started with is compared version by version (version_settings.h). */
static void difference_take_rest(void *context, const char *key, const struct setting *row)
{
    if (row->reload != RELOAD_ROLLOUT)
        difference_take(context, key, row);
}

static void report_log(const struct settings_report *report)
{
    for (uint32_t i = 0; i < report->error_count; i++) {
        const struct settings_error *error = &report->errors[i];

        log_error("gateway/edge", "reload: %s:%u:%u: %s", report->file, error->line, error->column,
                  error->text);
    }
}

/* What the replicas had set aside at the start bounds what they can hold; of those to come the new text itself. */
static bool adapters_fit(struct edge *edge, const struct config *config)
{
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = config_model_at(config, i);
        struct model_versions *versions = &edge->models[i].versions;
        const struct config *started =
            model_versions_config(versions, model_versions_report(versions).stable);
        uint32_t most = config_adapters_max(config_model_at(started, i));

        if (model->adapters.count <= most)
            continue;
        log_error("gateway/edge",
                  "reload: model %s has %u adapters, and room for %u; more need replicas with a "
                  "higher max_loras first",
                  model->name, model->adapters.count, most);
        return false;
    }
    return true;
}

/* No values: some are secrets. */
static bool differences_audit(struct edge *edge, const struct differences *differences,
                              const char *file)
{
    char detail[KEYS_BYTES_MAX + 32];
    const struct audit_event event = {"SIGHUP", "config.reload", file, detail};

    (void)snprintf(detail, sizeof(detail), "%u changes:%.*s%s", differences->count,
                   (int)differences->keys.bytes,
                   differences->keys.bytes > 0 ? differences->keys.data : "",
                   differences->keys.failed != STATUS_OK ? " ..." : "");
    return edge_audit(edge, &event);
}

/* An attempt is told as well; that it was refused needs no leave of the audit log. */
static void refusal_audit(struct edge *edge, const char *file)
{
    const struct audit_event event = {"SIGHUP", "config.reload.refused", file, ""};
    struct error_note note = {""};

    if (records_audit(edge->records, &event, &note) != STATUS_OK)
        log_error("gateway/edge", "the audit log does not take it: %s", note.text);
}

/* Whether the reload may be; then it stands in the audit log. */
static bool config_is_good(struct edge *edge, const struct config *config,
                           struct version_change *changes, struct differences *found)
{
    settings_compare(config_table, config_store_get(&edge->configs)->config, config,
                     difference_take_rest, found);
    if (found->refused_count > 0 || !adapters_fit(edge, config))
        return false;
    version_settings_compare(edge, config, changes, difference_take, found);
    return differences_audit(edge, found, config->file);
}

/* The copies for replicas, and what is in force by them; `out`. */
static status config_prepare(struct edge *edge, const struct gateway_options *options,
                             const struct config *config, const struct version_change *changes,
                             struct config **out)
{
    struct settings_report report = {0};
    status result = run_directory_write_config(edge->run_directory, config->text);

    if (result != STATUS_OK) {
        log_error("gateway/edge", "reload: the copy for replicas cannot be written to %s",
                  edge->run_directory);
        return result;
    }
    result = version_settings_keep(edge, options, config->text, changes);
    if (result != STATUS_OK)
        return result;
    result = version_settings_load(edge, options, out, &report);
    if (result != STATUS_OK) {
        report_log(&report);
        version_settings_drop(edge, changes);
    }
    return result;
}

/* What can fail comes first, so that little has to be taken back. */
static bool config_apply(struct edge *edge, const struct gateway_options *options,
                         const struct config *config, struct differences *found)
{
    struct version_change changes[MODEL_COUNT_MAX];
    struct http_limits limits = config_http_limits(config);
    struct error_note note = {""};
    struct config *in_force = NULL;

    CHECK(edge->model_count <= MODEL_COUNT_MAX);
    if (!config_is_good(edge, config, changes, found))
        return false;
    if (config->server.tls_certificate[0] != '\0' &&
        http_server_reload_certificates(edge->server, &note) != STATUS_OK) {
        log_error("gateway/edge", "reload: %s", note.text);
        return false;
    }
    if (config_prepare(edge, options, config, changes, &in_force) != STATUS_OK)
        return false;
    log_set_level((enum log_level)config->log.level);
    http_server_set_limits(edge->server, &limits);
    control_set_drain_timeout(edge->control, config->server.drain_timeout_ns);
    if (config_store_swap(&edge->configs, edge->server, in_force) != STATUS_OK) {
        log_error("gateway/edge", "reload: out of memory");
        version_settings_drop(edge, changes);
        config_destroy(in_force);
        return false;
    }
    if (edge->join != NULL &&
        join_set_config(edge->join, config->text, found->has_adapters) != STATUS_OK)
        log_error("gateway/edge",
                  "reload: replicas on other machines go on as they are: out of memory");
    edge_admission_apply(edge, in_force);
    version_settings_want(edge, config, changes);
    control_look(edge->control);
    if (found->has_adapters)
        control_reload_replicas(edge->control);
    log_info("gateway/edge", "reload: done, %u changes", found->count);
    return true;
}

/* The copy is of what stays in force. */
static void copy_restore(const struct edge *edge)
{
    if (run_directory_write_config(edge->run_directory,
                                   config_store_get(&edge->configs)->config->text) != STATUS_OK)
        log_error("gateway/edge", "the copy of the config for replicas cannot be written");
}

void reload_config(struct edge *edge, const struct gateway_options *options)
{
    struct settings_report report;
    struct config_overrides overrides = options->overrides;
    struct differences found = {0};
    struct config *config = NULL;
    overrides.adapters = edge->adapters.rows;
    overrides.adapter_count = edge->adapters.count;
    status result = config_load(options->config_file, &overrides, &config, &report);
    bool is_good = false;

    buffer_init(&found.keys, KEYS_BYTES_MAX);
    if (result == STATUS_OK) {
        is_good = config_apply(edge, options, config, &found);
        if (!is_good)
            copy_restore(edge);
        config_destroy(config);
    } else {
        report_log(&report);
    }
    buffer_deinit(&found.keys);
    if (!is_good) {
        log_error("gateway/edge", "reload refused: the config from before stays in force");
        refusal_audit(edge, options->config_file);
    }
    metrics_add(is_good ? edge->metrics.reloads_good : edge->metrics.reloads_bad, 1);
}
