#include <stdio.h>

#include "check.h"
#include "listen_address.h"
#include "log.h"
#include "serving.h"
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
    model->threads = threads_of_replica(config, model);
    config->limits.body_bytes += BODY_NAME_BYTES;
    if (log_start(&log_options) != STATUS_OK) {
        (void)fprintf(stderr, "penstock replica: the log's thread cannot be started\n");
        return 1;
    }
    result = serving_run(config, model, options, &note);
    if (result != STATUS_OK)
        log_error("gateway", "%s", note.text[0] != '\0' ? note.text : status_name(result));
    log_stop();
    return result == STATUS_OK ? 0 : 1;
}

int verb_replica(int argument_count, char **arguments)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    struct serving_options options = {.overrides = &overrides, .adapters = ""};
    const char *config_file = NULL;
    struct error_note note = {""};
    int32_t index = 0;
    /* --config-copy, --adapters and --index are for the gateway, which starts its replicas with them. */
    const struct flag flags[] = {
        {"--model", &overrides.model_name, NULL, 0},
        {"--listen", &options.listen, NULL, 0},
        {"--model-path", &overrides.model_path, NULL, 0},
        {"--config-copy", &overrides.text_file, NULL, 0},
        {"--adapters", &options.adapters, NULL, 0},
        {"--index", NULL, &index, 1 << 20},
    };
    struct config *config;
    int code;

    if (!arguments_read("replica", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &config_file))
        return EXIT_USAGE;
    if (config_file == NULL || options.listen == NULL) {
        (void)fprintf(
            stderr,
            "penstock replica: usage: penstock replica CONFIG --model NAME --listen ADDRESS\n");
        return EXIT_USAGE;
    }
    if (listen_address_check(options.listen, &note) != STATUS_OK) {
        (void)fprintf(stderr, "penstock replica: --listen: %s\n", note.text);
        return EXIT_USAGE;
    }
    config = config_load_or_print(config_file, &overrides);
    if (config == NULL)
        return 1;
    code = replica_run(config, &options, index);
    config_destroy(config);
    return code;
}
