#include <stdio.h>

#include "check.h"
#include "gateway.h"
#include "listen_address.h"
#include "log.h"
#include "verbs.h"

/* An API that anybody can reach and use is allowed, but not silently. */
static void warn_if_open(const struct config *config)
{
    if (config->auth.keys.count == 0 && !listen_address_is_local(config->server.listen))
        log_warn("gateway", "the API on %s is open to everybody who can reach it: set auth.keys",
                 config->server.listen);
    if (config->server.admin_listen[0] != '\0' &&
        !listen_address_is_local(config->server.admin_listen))
        log_warn("gateway",
                 "the admin listener on %s has no keys: keep it on loopback or a private network",
                 config->server.admin_listen);
}

int verb_serve(int argument_count, char **arguments)
{
    struct gateway_options options = {.overrides = CONFIG_OVERRIDES_NONE,
                                      .version = PENSTOCK_VERSION};
    const struct flag flags[] = {
        {.name = "--port", .number = &options.overrides.port, .number_max = 65535},
        {.name = "--admin-port", .number = &options.overrides.admin_port, .number_max = 65535},
        {.name = "--model-path", .text = &options.overrides.model_path},
    };
    struct error_note note = {""};
    struct log_options log_options = {.role = "gateway"};
    struct config *config;
    pid_t successor = 0;
    int code = 1;
    status result;

    if (!arguments_read("serve", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &options.config_file))
        return EXIT_USAGE;
    if (options.config_file == NULL) {
        (void)fprintf(stderr, "penstock serve: which config? For a first try: penstock serve "
                              "configs/quickstart.yaml\n");
        return EXIT_USAGE;
    }
    config = config_load_or_print(options.config_file, &options.overrides);
    if (config == NULL)
        return 1;
    log_options.level = (enum log_level)config->log.level;
    log_options.is_json = config->log.json;
    if (log_start(&log_options) != STATUS_OK) {
        (void)fprintf(stderr, "penstock serve: the log's thread cannot be started\n");
        config_destroy(config);
        return 1;
    }
    log_info("gateway", "penstock " PENSTOCK_VERSION " with %s", options.config_file);
    warn_if_open(config);
    result = gateway_run(config, &options, &successor, &note);
    if (result == STATUS_OK)
        code = gateway_keep(successor);
    else
        log_error("gateway", "%s", note.text);
    log_stop();
    return code;
}
