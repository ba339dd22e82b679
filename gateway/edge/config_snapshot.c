#include "config_snapshot.h"

#include "loops_passed.h"
#include "memory.h"
#include "static_keys.h"

/* All but the config. */
static void snapshot_forget(struct config_snapshot *snapshot)
{
    key_table_destroy(snapshot->keys);
    memory_release(snapshot);
}

static struct config_snapshot *snapshot_create(struct config *config)
{
    struct config_snapshot *snapshot = memory_allocate_array(1, sizeof(*snapshot));

    if (snapshot == NULL)
        return NULL;
    snapshot->config = config;
    if (static_keys_create(config, &snapshot->keys) != STATUS_OK) {
        snapshot_forget(snapshot);
        return NULL;
    }
    return snapshot;
}

static void snapshot_destroy(struct config_snapshot *snapshot)
{
    config_destroy(snapshot->config);
    snapshot_forget(snapshot);
}

status config_store_init(struct config_store *store, struct config *config)
{
    store->first = snapshot_create(config);
    if (store->first == NULL)
        return STATUS_NO_MEMORY;
    atomic_init(&store->current, store->first);
    return STATUS_OK;
}

void config_store_deinit(struct config_store *store)
{
    struct config_snapshot *current = atomic_load(&store->current);

    if (current != store->first)
        snapshot_destroy(current);
    snapshot_destroy(store->first);
}

static void snapshot_retire(void *old)
{
    snapshot_destroy(old);
}

status config_store_swap(struct config_store *store, http_server *server, struct config *config)
{
    struct config_snapshot *snapshot = snapshot_create(config);
    struct config_snapshot *old = atomic_load_explicit(&store->current, memory_order_relaxed);
    loops_passed *passed = NULL;

    if (snapshot == NULL)
        return STATUS_NO_MEMORY;
    if (old != store->first && loops_passed_create(server, &passed) != STATUS_OK) {
        snapshot_forget(snapshot);
        return STATUS_NO_MEMORY;
    }
    atomic_store_explicit(&store->current, snapshot, memory_order_release);
    if (passed != NULL)
        loops_passed_then(passed, snapshot_retire, old);
    return STATUS_OK;
}
