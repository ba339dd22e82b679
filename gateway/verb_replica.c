#include <stdio.h>
#include <sysexits.h>

#include "check.h"
#include "clock.h"
#include "listen_address.h"
#include "log.h"
#include "serving.h"
#include "thread.h"
#include "verbs.h"

#define BODY_NAME_BYTES 256u

/* The model that is meant; NULL after saying what is wrong. */
static struct config_model *model_choose(const struct config *config, const char *name)
{
    struct config_model *models = config->models.items;
    int32_t index = name != NULL ? config_model_find(config, text_slice_of(name)) : 0;

    if (name == NULL && config->models.count > 1) {
        (void)fprintf(
            stderr,
            "penstock replica: the config has several models; choose one with --model NAME\n");
        return NULL;
    }
    if (index < 0) {
        (void)fprintf(stderr, "penstock replica: the config has no model '%s'\n", name);
        return NULL;
    }
    if (!config_model_is_local(&models[index])) {
        (void)fprintf(stderr, "penstock replica: the model '%s' has no weights here\n",
                      models[index].name);
        return NULL;
    }
    return &models[index];
}

static int replica_run(struct config *config, const struct serving_options *options, int32_t index)
{
    struct config_model *model = model_choose(config, options->overrides->model_name);
    struct log_options log_options = {.level = (enum log_level)config->log.level,
                                      .is_json = config->log.json};
    struct error_note note = {""};
    static char role[160]; /* the log keeps the pointer */
    status result;

    if (model == NULL)
        return EXIT_USAGE;
    (void)snprintf(role, sizeof(role), "replica %s#%d", model->name, index);
    log_options.role = role;
    /* This config is this process's own, so what the replica role needs otherwise is settled in
     * place. The gateway puts the model's name into a body that lacks it: room for that. */
    if (model->threads == 0) /* it was given its cores */
        model->threads = thread_core_count();
    config->limits.body_bytes += BODY_NAME_BYTES;
    if (log_start(&log_options) != STATUS_OK) {
        (void)fprintf(stderr, "penstock replica: the log's thread cannot be started\n");
        return 1;
    }
    result = serving_run(config, model, options, &note);
    if (result != STATUS_OK && note.text[0] == '\0')
        error_note_set(&note, "%s", status_name(result));
    if (result != STATUS_OK)
        log_error("gateway", "%s", note.text);
    if (result != STATUS_OK && options->link != NULL)
        gateway_link_fail(options->link, note.text);
    log_stop();
    return result == STATUS_OK ? 0 : 1;
}

/* --- for a gateway on another machine --- */

/* Whoever runs it should try again where that may help, and only there. */
static int join_exit_code(status result)
{
    switch (result) {
    case STATUS_DENIED:
        return EX_NOPERM;
    case STATUS_TIMEOUT:
        return EX_TEMPFAIL;
    case STATUS_INVALID:
        return EXIT_USAGE;
    default:
        return 1;
    }
}

/* The gateway's config, read as it would be there; a mistake is told to the gateway, where the operator looks. */
static struct config *grant_load(gateway_link *link, const struct config_overrides *overrides)
{
    const char *file = gateway_link_grant(link)->file;
    struct settings_report report;
    struct config *config = NULL;
    struct error_note note;
    status result = config_load(file, overrides, &config, &report);

    if (result == STATUS_OK)
        return config;
    report_print(&report);
    error_note_set(&note, "the config cannot be used here: %s",
                   report.error_count > 0 ? report.errors[0].text : status_name(result));
    gateway_link_fail(link, note.text);
    return NULL;
}

static int join_run(struct serving_options *options)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    const struct gateway_grant *grant;
    struct error_note note = {""};
    struct config *config;
    status result = gateway_link_open(options->listen, &options->link, &note);
    int code = 1;

    if (result != STATUS_OK) {
        (void)fprintf(stderr, "penstock replica: %s\n",
                      note.text[0] != '\0' ? note.text : status_name(result));
        return join_exit_code(result);
    }
    grant = gateway_link_grant(options->link);
    overrides.text_file = grant->text_file;
    overrides.model_name = grant->model;
    overrides.model_path = grant->model_path;
    overrides.is_elsewhere = true;
    options->overrides = &overrides;
    options->adapters = grant->adapters;
    options->listen = NULL;
    config = grant_load(options->link, &overrides);
    if (config != NULL)
        code = replica_run(config, options, grant->index);
    config_destroy(config);
    gateway_link_close(options->link);
    return code;
}

int verb_replica(int argument_count, char **arguments)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    struct serving_options options = {
        .overrides = &overrides, .adapters = "", .begun_ns = clock_now_ns()};
    struct config_version_text version = {NULL, NULL};
    const char *config_file = NULL;
    struct error_note note = {""};
    bool joins = false;
    int32_t index = 0;
    /* --config-copy, --version-copy, --adapters, --index and --join are for the gateway, which starts its replicas with them. */
    const struct flag flags[] = {
        {.name = "--model", .text = &overrides.model_name},
        {.name = "--listen", .text = &options.listen},
        {.name = "--model-path", .text = &overrides.model_path},
        {.name = "--config-copy", .text = &overrides.text_file},
        {.name = "--version-copy", .text = &version.file},
        {.name = "--adapters", .text = &options.adapters},
        {.name = "--index", .number = &index, .number_max = 1 << 20},
        {.name = "--join", .is_given = &joins},
    };
    struct config *config;
    int code;

    if (!arguments_read("replica", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &config_file))
        return EXIT_USAGE;
    if (joins ? config_file != NULL : config_file == NULL || options.listen == NULL) {
        (void)fprintf(
            stderr,
            "penstock replica: usage: penstock replica CONFIG --model NAME --listen ADDRESS\n"
            "                         penstock replica --join [--listen ADDRESS]\n");
        return EXIT_USAGE;
    }
    if (options.listen != NULL && listen_address_check(options.listen, &note) != STATUS_OK) {
        (void)fprintf(stderr, "penstock replica: --listen: %s\n", note.text);
        return EXIT_USAGE;
    }
    if (joins)
        return join_run(&options);
    version.model = overrides.model_name;
    overrides.versions = &version;
    overrides.version_count = version.file != NULL && version.model != NULL;
    config = config_load_or_print(config_file, &overrides);
    if (config == NULL)
        return 1;
    code = replica_run(config, &options, index);
    config_destroy(config);
    return code;
}
