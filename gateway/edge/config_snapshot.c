#include "config_snapshot.h"

#include "check.h"
#include "memory.h"

/* One message a loop; the last to run frees everything. */
struct retirement {
    struct config_snapshot *old;
    _Atomic uint32_t
        remaining; /* acq_rel: the last loop sees what the others did with the snapshot */
    struct retirement_message {
        struct http_message message;
        struct retirement *retirement;
    } messages[];
};

static struct config_snapshot *snapshot_create(struct config *config)
{
    struct config_snapshot *snapshot = memory_allocate(sizeof(*snapshot));

    if (snapshot == NULL)
        return NULL;
    snapshot->config = config;
    if (auth_keys_init(&snapshot->keys, config) != STATUS_OK) {
        memory_release(snapshot);
        return NULL;
    }
    return snapshot;
}

static void snapshot_destroy(struct config_snapshot *snapshot)
{
    config_destroy(snapshot->config);
    memory_release(snapshot);
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

static void retirement_run(struct http_message *message, http_loop *loop)
{
    struct retirement *retirement =
        CONTAINER_OF(message, struct retirement_message, message)->retirement;

    (void)loop;
    if (atomic_fetch_sub_explicit(&retirement->remaining, 1, memory_order_acq_rel) != 1)
        return;
    snapshot_destroy(retirement->old);
    memory_release(retirement);
}

status config_store_swap(struct config_store *store, http_server *server, struct config *config)
{
    uint32_t loop_count = http_server_loop_count(server);
    struct config_snapshot *snapshot = snapshot_create(config);
    struct config_snapshot *old = atomic_load_explicit(&store->current, memory_order_relaxed);
    struct retirement *retirement = NULL;

    if (snapshot == NULL)
        return STATUS_NO_MEMORY;
    if (old != store->first) {
        retirement =
            memory_allocate(sizeof(*retirement) + loop_count * sizeof(retirement->messages[0]));
        if (retirement == NULL) {
            memory_release(snapshot);
            return STATUS_NO_MEMORY;
        }
        retirement->old = old;
        atomic_init(&retirement->remaining, loop_count);
    }
    atomic_store_explicit(&store->current, snapshot, memory_order_release);
    for (uint32_t i = 0; retirement != NULL && i < loop_count; i++) {
        retirement->messages[i].message = (struct http_message){.run = retirement_run};
        retirement->messages[i].retirement = retirement;
    }
    /* Sent in a second walk: the last message to run frees them all. */
    for (uint32_t i = 0; retirement != NULL && i < loop_count; i++)
        http_loop_send(http_server_loop(server, i), &retirement->messages[i].message);
    return STATUS_OK;
}
