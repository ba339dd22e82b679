#include "replica_paths.h"

#include <string.h>

#include "flight_recorder.h"
#include "model_files.h"

struct listing {
    arena *memory;
    struct member_path *paths; /* [REPLICA_PATHS_MAX] */
    uint32_t count;
    status failed;
};

static void add(struct listing *listing, const char *path, enum member_access access)
{
    const char *kept;

    if (listing->failed != STATUS_OK)
        return;
    if (listing->count == REPLICA_PATHS_MAX) {
        listing->failed = STATUS_TOO_LARGE;
        return;
    }
    kept = arena_copy_text(listing->memory, path, strlen(path));
    if (kept == NULL)
        listing->failed = STATUS_NO_MEMORY;
    else
        listing->paths[listing->count++] = (struct member_path){kept, access};
}

static void on_file(void *context, const char *path, bool is_written)
{
    add(context, path, is_written ? MEMBER_WRITES : MEMBER_READS);
}

/* A file beside its socket, made by the gateway. */
static void beside_add(struct listing *listing, const char *address, const char *suffix)
{
    size_t bytes = strlen(address) - strlen("unix:");
    char *path = arena_allocate(listing->memory, bytes + strlen(suffix) + 1);

    if (path == NULL) {
        listing->failed = STATUS_NO_MEMORY;
        return;
    }
    memcpy(path, address + strlen("unix:"), bytes);
    memcpy(path + bytes, suffix, strlen(suffix) + 1);
    add(listing, path, MEMBER_WRITES);
}

status replica_paths_write(const struct replica_paths_source *source, arena *memory,
                           const struct member_path **out, uint32_t *count)
{
    const struct config_model *model = source->model;
    const struct config_adapter *adapters = model->adapters.items;
    struct listing listing = {.memory = memory, .failed = STATUS_OK};

    listing.paths = arena_allocate_array(memory, REPLICA_PATHS_MAX, sizeof(listing.paths[0]));
    if (listing.paths == NULL)
        return STATUS_NO_MEMORY;
    add(&listing, source->run_directory, MEMBER_READS);
    add(&listing, source->run_directory, MEMBER_LISTENS);
    beside_add(&listing, source->address, ".page");
    if (source->has_flight)
        beside_add(&listing, source->address, FLIGHT_ENDING);
    if (source->config_file != NULL)
        add(&listing, source->config_file, MEMBER_READS);
    model_files_list(model->path, model->weight_cache, on_file, &listing);
    for (uint32_t i = 0; i < model->adapters.count; i++)
        model_files_list(adapters[i].path, "off", on_file, &listing);
    if (model->allow_runtime_lora_updating)
        add(&listing, "/", MEMBER_READS);
    if (listing.failed != STATUS_OK)
        return listing.failed;
    *out = listing.paths;
    *count = listing.count;
    return STATUS_OK;
}
