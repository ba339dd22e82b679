/* Loading a config: read the text, let the settings table fill the structs, apply what the command
 * line says, then check what no single row can (config_check.c). Nothing is kept on a failure, so a
 * reload is all or nothing by construction. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config_check.h"
#include "decimal.h"
#include "listen_address.h"

#define CONFIG_ARENA_BYTES_MAX (16u << 20) /* 10,000 keys and 64 models take 3 MiB */
#define CONFIG_FILE_BYTES_MAX  (1u << 20)

/* Whole file into `memory`. STATUS_IO with errno, STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
static status file_read(const char *path, arena *memory, struct text_slice *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t bytes = 0;
    struct stat info;
    status result = STATUS_IO;
    char *text;
    int saved;

    if (fd < 0)
        return STATUS_IO;
    if (fstat(fd, &info) != 0)
        goto done;
    if (S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        goto done;
    }
    text = arena_allocate(memory, CONFIG_FILE_BYTES_MAX + 1);
    if (text == NULL) {
        result = STATUS_NO_MEMORY;
        goto done;
    }
    for (;;) {
        ssize_t got = read(fd, text + bytes, CONFIG_FILE_BYTES_MAX + 1 - bytes);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            goto done;
        bytes += (size_t)got;
        if (got == 0 || bytes > CONFIG_FILE_BYTES_MAX)
            break;
    }
    *out = (struct text_slice){text, bytes};
    result = bytes > CONFIG_FILE_BYTES_MAX ? STATUS_TOO_LARGE : STATUS_OK;
done:
    saved = errno;
    close(fd);
    errno = saved;
    return result;
}

static const char *address_with_port(arena *memory, const char *address, int32_t port)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%.*s:%d", (int)listen_address_host_bytes(address), address,
                   port);
    return arena_copy_text(memory, text, strlen(text));
}

/* After the addresses are known to be well-formed; a Unix socket has no port to replace. */
static status ports_apply(struct config *config, const struct config_overrides *overrides)
{
    struct {
        const char **address;
        int32_t port;
    } rows[] = {{&config->server.listen, overrides->port},
                {&config->server.admin_listen, overrides->admin_port}};

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].port < 0 || listen_address_host_bytes(*rows[i].address) == 0)
            continue;
        *rows[i].address = address_with_port(config->memory, *rows[i].address, rows[i].port);
        if (*rows[i].address == NULL)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static status model_path_apply(struct config *config, const struct config_overrides *overrides,
                               struct settings_report *report)
{
    struct config_model *models = config->models.items;
    int32_t index = 0;

    if (overrides->model_path == NULL || config->models.count == 0)
        return STATUS_OK;
    if (overrides->model_name != NULL)
        index = config_model_find(config, text_slice_of(overrides->model_name));
    else if (config->models.count > 1)
        index = -1;
    if (index < 0) {
        config_check_fail(
            report, "--model-path needs a config with one model, or --model with one of its names");
        return STATUS_INVALID;
    }
    models[index].path =
        arena_copy_text(config->memory, overrides->model_path, strlen(overrides->model_path));
    return models[index].path != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static status adapter_append(struct config *config, struct config_model *model,
                             const struct config_runtime_adapter *added)
{
    uint32_t count = model->adapters.count;
    struct config_adapter *rows = arena_allocate(config->memory, (count + 1) * sizeof(rows[0]));

    if (rows == NULL)
        return STATUS_NO_MEMORY;
    if (count > 0)
        memcpy(rows, model->adapters.items, count * sizeof(rows[0]));
    rows[count] = (struct config_adapter){
        .name = arena_copy_text(config->memory, added->name, strlen(added->name)),
        .path = arena_copy_text(config->memory, added->path, strlen(added->path))};
    model->adapters = (struct setting_list){rows, count + 1};
    return rows[count].name != NULL && rows[count].path != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* After the checks, whose errors speak of places in the file. A model that the file has no more takes its own along. */
static status adapters_apply(struct config *config, const struct config_overrides *overrides,
                             struct settings_report *report)
{
    struct config_model *models = config->models.items;
    status result = STATUS_OK;

    for (uint32_t i = 0; i < overrides->adapter_count && result == STATUS_OK; i++) {
        const struct config_runtime_adapter *added = &overrides->adapters[i];
        int32_t model = config_model_find(config, text_slice_of(added->model));

        if (model < 0)
            continue;
        if (config_model_find(config, text_slice_of(added->name)) >= 0) {
            config_check_fail(report,
                              "an adapter '%s' has been loaded at run time; unload it first",
                              added->name);
            return STATUS_INVALID;
        }
        result = adapter_append(config, &models[model], added);
    }
    return result;
}

static struct config_model *model_find(struct config *config, const char *name)
{
    struct config_model *models = config->models.items;
    int32_t index = config_model_find(config, text_slice_of(name));

    return index >= 0 ? &models[index] : NULL;
}

/* Both texts are in the config's memory. A model that one of them lacks stays as it is. */
static status version_apply(struct config *config, const struct config_version_text *version,
                            struct settings_report *report)
{
    struct config *other = arena_allocate(config->memory, sizeof(*other));
    settings_document *document = NULL;
    struct text_slice text;
    status result =
        other != NULL ? file_read(version->file, config->memory, &text) : STATUS_NO_MEMORY;
    struct config_model *to, *from;

    if (result == STATUS_IO)
        config_check_fail(report, "%s cannot be read: %s", version->file, strerror(errno));
    if (result != STATUS_OK)
        return result;
    result = settings_read_text(text, config->file, config_table, other, config->memory, report,
                                &document);
    if (result != STATUS_OK)
        return result;
    to = model_find(config, version->model);
    from = model_find(other, version->model);
    if (to != NULL && from != NULL)
        settings_take(config_model_table, RELOAD_ROLLOUT, from, to);
    return STATUS_OK;
}

static status versions_apply(struct config *config, const struct config_overrides *overrides,
                             struct settings_report *report)
{
    status result = STATUS_OK;

    for (uint32_t i = 0; i < overrides->version_count && result == STATUS_OK; i++)
        result = version_apply(config, &overrides->versions[i], report);
    return result;
}

static status config_fill(struct config *config, const struct config_overrides *overrides,
                          struct settings_report *report)
{
    const char *text_file = overrides->text_file != NULL ? overrides->text_file : config->file;
    settings_document *document = NULL;
    status result = file_read(text_file, config->memory, &config->text);

    if (result == STATUS_TOO_LARGE) {
        config_check_fail(report, "the file is larger than 1 MiB: is it a config?");
        return STATUS_INVALID;
    }
    if (result == STATUS_IO)
        config_check_fail(report, "cannot be read: %s", strerror(errno));
    if (result != STATUS_OK)
        return result;
    result = settings_read_text(config->text, config->file, config_table, config, config->memory,
                                report, &document);
    if (result != STATUS_OK)
        return result;
    result = versions_apply(config, overrides, report);
    if (result == STATUS_OK)
        result = model_path_apply(config, overrides, report);
    if (result != STATUS_OK)
        return result;
    config->document = document;
    config_check(config, document, overrides->is_elsewhere, report);
    if (report->error_count > 0)
        return STATUS_INVALID;
    result = adapters_apply(config, overrides, report);
    return result == STATUS_OK ? ports_apply(config, overrides) : result;
}

status config_load(const char *file, const struct config_overrides *overrides, struct config **out,
                   struct settings_report *report)
{
    struct config_overrides none = CONFIG_OVERRIDES_NONE;
    arena *memory = NULL;
    struct config *config = NULL;
    status result = arena_create(CONFIG_ARENA_BYTES_MAX, &memory);

    *report = (struct settings_report){.file = file};
    if (result != STATUS_OK)
        return result;
    config = arena_allocate(memory, sizeof(*config));
    result = STATUS_NO_MEMORY;
    if (config != NULL) {
        config->memory = memory;
        config->file = arena_copy_text(memory, file, strlen(file));
    }
    if (config != NULL && config->file != NULL)
        result = config_fill(config, overrides != NULL ? overrides : &none, report);
    if (result != STATUS_OK) {
        report->file = file; /* not the copy, which goes with the arena */
        arena_destroy(memory);
        return result;
    }
    *out = config;
    return STATUS_OK;
}

void config_destroy(struct config *config)
{
    if (config != NULL)
        arena_destroy(config->memory);
}

struct http_limits config_http_limits(const struct config *config)
{
    const struct config_limits *limits = &config->limits;

    return (struct http_limits){
        .body_bytes_max = limits->body_bytes,
        .buffered_bytes_max = limits->buffered_bytes,
        .upload_bytes_max = limits->upload_bytes_per_address > limits->body_bytes
                                ? limits->upload_bytes_per_address
                                : limits->body_bytes,
        .header_bytes_max = (uint32_t)limits->header_bytes,
        .header_count_max = (uint32_t)limits->headers,
        .connection_count_max = (uint32_t)limits->connections,
        .connection_per_address_max = (uint32_t)limits->connections_per_address,
        .accepts_per_second_max = (uint32_t)limits->accepts_per_second,
        .streams_per_second_max = (uint32_t)limits->streams_per_second,
        .stream_burst_max = (uint32_t)limits->stream_burst,
        .header_timeout_ns = limits->header_timeout_ns,
        .body_timeout_ns = limits->body_timeout_ns,
        .upload_bytes_per_second_min = limits->upload_bytes_per_second,
        .idle_timeout_ns = limits->idle_timeout_ns,
        .write_timeout_ns = limits->write_timeout_ns,
        .response_buffer_bytes_max = limits->response_buffer_bytes,
        .receive_buffer_bytes = (uint32_t)limits->receive_buffer_bytes,
        .keepalive_comment_ns = limits->keepalive_ns,
    };
}

bool config_asks_for_keys(const struct config *config)
{
    return config->auth.keys.count > 0 || config->auth.jwt.count > 0 ||
           config->server.tls_client_ca[0] != '\0' || config_keeps_state(&config->state);
}

int config_weekday(const char *text)
{
    static const char *const days[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday"};

    for (int i = 0; i < (int)ARRAY_COUNT(days); i++) {
        if (strcmp(text, days[i]) == 0)
            return i;
    }
    return -1;
}

bool config_minute(const char *text, uint32_t *out)
{
    struct text_slice rest = text_slice_of(text);
    uint64_t hour, minute;

    if (strlen(text) != 5 || !decimal_take(&rest, 24, &hour) || !text_slice_skip(&rest, ":") ||
        !decimal_read(rest, 59, &minute) || hour * 60 + minute > 1440)
        return false;
    *out = (uint32_t)(hour * 60 + minute);
    return true;
}

uint32_t config_replica_count(const struct config *config)
{
    int64_t count = 0;

    for (uint32_t i = 0; i < config->models.count; i++)
        count += config_model_replicas(config_model_at(config, i));
    return (uint32_t)count;
}

bool config_weights_are_here(const struct config *config)
{
    for (uint32_t i = 0; i < config->pool.members.count; i++) {
        if (config_member_at(&config->pool, i)->kind == MEMBER_LOCAL)
            return true;
    }
    return config->pool.members.count == 0; /* this machine alone */
}

uint32_t config_fallback_causes(const struct setting_list *words)
{
    static const char *const names[] = {"unavailable", "overloaded", "timeout", "error",
                                        "context_length"};
    const char *const *items = words->items;
    uint32_t causes = 0;

    if (words->count == 0)
        return FALLBACK_UNAVAILABLE | FALLBACK_OVERLOADED | FALLBACK_TIMEOUT | FALLBACK_ERROR;
    for (uint32_t i = 0; i < words->count; i++) {
        uint32_t cause = 0;

        for (uint32_t j = 0; j < ARRAY_COUNT(names); j++)
            cause |= strcmp(items[i], names[j]) == 0 ? 1u << j : 0;
        if (cause == 0)
            return 0;
        causes |= cause;
    }
    return causes;
}

int32_t config_model_find(const struct config *config, struct text_slice name)
{
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = config_model_at(config, i);
        const char *const *aliases = model->aliases.items;

        if (text_slice_is(name, model->name))
            return (int32_t)i;
        for (uint32_t j = 0; j < model->aliases.count; j++) {
            if (text_slice_is(name, aliases[j]))
                return (int32_t)i;
        }
        if (config_adapter_find(model, name) != NULL)
            return (int32_t)i;
    }
    return -1;
}

const struct config_adapter *config_adapter_find(const struct config_model *model,
                                                 struct text_slice name)
{
    const struct config_adapter *adapters = model->adapters.items;

    for (uint32_t i = 0; i < model->adapters.count; i++) {
        if (text_slice_is(name, adapters[i].name))
            return &adapters[i];
    }
    return NULL;
}

uint32_t config_adapters_max(const struct config_model *model)
{
    return model->max_loras > 0 ? (uint32_t)model->max_loras : model->adapters.count;
}
