#include "reload.h"

#include <string.h>

#include "control.h"
#include "edge_admission.h"
#include "log.h"
#include "run_directory.h"

struct differences {
    uint32_t count, refused_count;
    bool has_adapters;
};

/* Values are not logged: some are secrets, and the file shows the rest. */
static void difference_take(void *context, const char *key, const struct setting *row)
{
    struct differences *differences = context;

    differences->count++;
    differences->has_adapters |= strstr(key, ".adapters") != NULL;
    if (row->reload == RELOAD_RESTART) {
        differences->refused_count++;
        log_error("gateway/edge", "reload: %s has changed, which needs a restart", key);
    } else {
        log_info("gateway/edge", "reload: %s changes", key);
    }
}

static void report_log(const struct settings_report *report)
{
    for (uint32_t i = 0; i < report->error_count; i++) {
        const struct settings_error *error = &report->errors[i];

        log_error("gateway/edge", "reload: %s:%u:%u: %s", report->file, error->line, error->column,
                  error->text);
    }
}

/* What the replicas had set aside at the start bounds what they can hold. */
static bool adapters_fit(const struct config *first, const struct config *config)
{
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = config_model_at(config, i);
        uint32_t most = config_adapters_max(config_model_at(first, i));

        if (model->adapters.count <= most)
            continue;
        log_error("gateway/edge",
                  "reload: model %s has %u adapters, and room for %u; more need a higher max_loras "
                  "and a restart",
                  model->name, model->adapters.count, most);
        return false;
    }
    return true;
}

/* What can fail comes first, so that nothing has to be taken back. */
static bool config_apply(struct edge *edge, struct config *config)
{
    const struct config *old = config_store_get(&edge->configs)->config;
    struct differences differences = {0};
    struct http_limits limits = config_http_limits(config);
    struct error_note note = {""};

    settings_compare(config_table, old, config, difference_take, &differences);
    if (differences.refused_count > 0 || !adapters_fit(edge->configs.first->config, config))
        return false;
    if (config->server.tls_certificate[0] != '\0' &&
        http_server_reload_certificates(edge->server, &note) != STATUS_OK) {
        log_error("gateway/edge", "reload: %s", note.text);
        return false;
    }
    if (run_directory_write_config(edge->run_directory, config->text) != STATUS_OK) {
        log_error("gateway/edge", "reload: the copy for replicas cannot be written to %s",
                  edge->run_directory);
        return false;
    }
    log_set_level((enum log_level)config->log.level);
    http_server_set_limits(edge->server, &limits);
    control_set_drain_timeout(edge->control, config->server.drain_timeout_ns);
    if (config_store_swap(&edge->configs, edge->server, config) != STATUS_OK) {
        log_error("gateway/edge", "reload: out of memory");
        return false;
    }
    edge_admission_apply(edge, config);
    if (differences.has_adapters)
        control_reload_replicas(edge->control);
    log_info("gateway/edge", "reload: done, %u changes", differences.count);
    return true;
}

void reload_config(struct edge *edge, const struct gateway_options *options)
{
    struct settings_report report;
    struct config_overrides overrides = options->overrides;
    struct config *config = NULL;
    overrides.adapters = edge->adapters.rows;
    overrides.adapter_count = edge->adapters.count;
    status result = config_load(options->config_file, &overrides, &config, &report);
    bool is_good = false;

    if (result == STATUS_OK) {
        is_good = config_apply(edge, config);
        if (!is_good)
            config_destroy(config);
    } else {
        report_log(&report);
    }
    if (!is_good)
        log_error("gateway/edge", "reload refused: the config from before stays in force");
    metrics_add(is_good ? edge->metrics.reloads_good : edge->metrics.reloads_bad, 1);
}
