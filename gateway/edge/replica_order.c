#include "replica_order.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "flight_files.h"
#include "heartbeat.h"
#include "join.h"
#include "log.h"
#include "run_directory.h"

#define ARGUMENTS_MAX         20u
#define ENVIRONMENT_MAX       32u
#define ENVIRONMENT_BYTES_MAX (64u << 10)
#define TEXT_BYTES_MAX        (1u << 20)
#define NAME_BYTES            64u /* a DNS label */
#define NAME_MODEL_MAX        40u

/* "smollm2-135m-3": a DNS label, for people. */
static const char *name_make(const struct edge_replica *replica, arena *memory)
{
    char *name = arena_allocate(memory, NAME_BYTES);
    size_t bytes = 0;

    if (name == NULL)
        return NULL;
    for (const char *at = replica->model->name; *at != '\0' && bytes < NAME_MODEL_MAX; at++) {
        if (isalnum((unsigned char)*at))
            name[bytes++] = (char)tolower((unsigned char)*at);
        else if (bytes > 0 && name[bytes - 1] != '-')
            name[bytes++] = '-';
    }
    if (bytes == 0)
        name[bytes++] = 'm';
    (void)snprintf(name + bytes, NAME_BYTES - bytes, "%s%u", name[bytes - 1] == '-' ? "" : "-",
                   replica->index);
    return name;
}

struct arguments {
    const char **items; /* [ARGUMENTS_MAX + 1] */
    size_t count;
};

static void add(struct arguments *arguments, const char *text)
{
    arguments->items[arguments->count++] = text;
}

static void add_pair(struct arguments *arguments, const char *flag, const char *value)
{
    add(arguments, flag);
    add(arguments, value);
}

/* Adapters that clients have loaded; NULL in `out`: none. */
static status adapters_text(struct edge *edge, const char *model, arena *memory, const char **out)
{
    struct buffer text;
    status result;

    *out = NULL;
    buffer_init(&text, RUNTIME_ADAPTERS_BYTES_MAX);
    runtime_adapters_write(&edge->adapters, model, &text);
    result = text.failed;
    if (result == STATUS_OK && text.bytes > 0) {
        *out = arena_copy_text(memory, text.data, text.bytes);
        result = *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    buffer_deinit(&text);
    return result;
}

/* What its settings are read from beside the config's copy; NULL in `out`: nothing, there was one version ever. */
static status version_text(const struct edge *edge, const struct edge_replica *replica,
                           arena *memory, const char **out)
{
    const struct edge_model *model = replica->model;
    char path[160];

    *out = NULL;
    if (!atomic_load_explicit(&model->versions.has_texts, memory_order_acquire))
        return STATUS_OK;
    run_directory_version_path(edge->run_directory, model->index,
                               atomic_load_explicit(&replica->version, memory_order_relaxed),
                               edge->epoch, path, sizeof(path));
    *out = arena_copy_text(memory, path, strlen(path));
    return *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* A child of this machine: it shares the config's copy, its socket's folder and its page with the gateway. */
static status local_write(struct edge *edge, const struct edge_replica *replica,
                          const struct replica_order_texts *texts, arena *memory,
                          struct arguments *arguments)
{
    const struct config_model *row =
        config_model_at(edge->configs.first->config, replica->model->index);
    const char *adapters, *version;
    char index[16];
    status result = adapters_text(edge, row->name, memory, &adapters);

    (void)snprintf(index, sizeof(index), "%u", replica->index);
    add(arguments, "penstock");
    add(arguments, "replica");
    add(arguments, texts->config_file);
    add_pair(arguments, "--config-copy", texts->config_copy);
    add_pair(arguments, "--model", row->name);
    add_pair(arguments, "--index", arena_copy_text(memory, index, strlen(index)));
    add_pair(arguments, "--listen", replica->address);
    if (result == STATUS_OK)
        result = version_text(edge, replica, memory, &version);
    if (result != STATUS_OK)
        return result;
    if (version != NULL)
        add_pair(arguments, "--version-copy", version);
    if (adapters != NULL)
        add_pair(arguments, "--adapters", adapters);
    if (texts->has_model_path)
        add_pair(arguments, "--model-path", row->path);
    return STATUS_OK;
}

/* Elsewhere it has nothing but what it is told: it registers, and is given the rest. */
static status remote_write(struct edge *edge, struct edge_replica *replica, uint64_t uid,
                           const struct config_member *member, struct replica_order_memory *memory,
                           struct arguments *arguments)
{
    add(arguments, member->program[0] != '\0' ? member->program : "penstock");
    add(arguments, "replica");
    add(arguments, "--join");
    return join_order(edge, replica, uid, &memory->environment);
}

/* The variables of memory->environment, each with its NUL. */
static status environment_list(struct replica_order_memory *memory, struct member_order *out)
{
    const char **list = arena_allocate_array(memory->texts, ENVIRONMENT_MAX + 1, sizeof(list[0]));
    size_t count = 0;

    if (list == NULL)
        return STATUS_NO_MEMORY;
    for (size_t at = 0; at < memory->environment.bytes && count < ENVIRONMENT_MAX;
         at += strlen(memory->environment.data + at) + 1)
        list[count++] = memory->environment.data + at;
    out->environment = list;
    return memory->environment.failed;
}

/* Without its recording a replica runs all the same. */
static bool flight_prepare(const struct edge *edge, const struct edge_replica *replica,
                           const struct config_member *member)
{
    if (member->kind != MEMBER_LOCAL ||
        edge->configs.first->config->observability.requests.flight_steps == 0)
        return false;
    if (flight_make(replica->address))
        return true;
    log_warn("gateway/edge", "replica %s#%u cannot record its steps: %s", replica->model->name,
             replica->index, strerror(errno));
    return false;
}

status replica_order_write(struct edge *edge, struct edge_replica *replica, uint64_t uid,
                           const struct config_member *member, enum slice_vendor vendor,
                           const struct replica_order_texts *texts,
                           struct replica_order_memory *memory, struct member_order *out)
{
    struct replica_paths_source paths = {
        .run_directory = edge->run_directory,
        .config_file = texts->config_file,
        .address = replica->address,
        .model = config_model_at(edge_version_config(edge, replica), replica->model->index)};
    struct arguments arguments = {NULL, 0};
    status result;

    paths.has_flight = flight_prepare(edge, replica, member);
    arena_reset(memory->texts);
    arguments.items =
        arena_allocate_array(memory->texts, ARGUMENTS_MAX + 1, sizeof(arguments.items[0]));
    out->name = name_make(replica, memory->texts);
    if (arguments.items == NULL || out->name == NULL)
        return STATUS_NO_MEMORY;
    out->arguments = arguments.items;
    buffer_clear(&memory->environment);
    buffer_append_format(&memory->environment, SLICE_VENDOR_VARIABLE "=%s",
                         slice_vendor_name(vendor));
    buffer_append_byte(&memory->environment, '\0');
    if (member->kind != MEMBER_LOCAL) {
        result = remote_write(edge, replica, uid, member, memory, &arguments);
    } else {
        result = local_write(edge, replica, texts, memory->texts, &arguments);
        if (result == STATUS_OK)
            result = replica_paths_write(&paths, memory->texts, &out->paths, &out->path_count);
    }
    return result == STATUS_OK ? environment_list(memory, out) : result;
}

status replica_order_memory_init(struct replica_order_memory *memory)
{
    buffer_init(&memory->environment, ENVIRONMENT_BYTES_MAX);
    return arena_create(TEXT_BYTES_MAX, &memory->texts);
}

void replica_order_memory_deinit(struct replica_order_memory *memory)
{
    buffer_deinit(&memory->environment);
    arena_destroy(memory->texts);
}
