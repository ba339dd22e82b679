#ifndef PENSTOCK_EDGE_CONFIG_SNAPSHOT_H
#define PENSTOCK_EDGE_CONFIG_SNAPSHOT_H

#include <stdatomic.h>

#include "config.h"
#include "http_server.h"
#include "key_table.h"

/* The config that is in force, for all loops, without a lock: an immutable snapshot behind an
 * atomic pointer. A handler loads the pointer and uses the snapshot within one turn of its loop
 * only; what it needs later it copies. After a swap the old one is freed when every loop has passed a
 * quiet point (loops_passed.h). The first config is kept for ever, since models' names live in it. */

struct config_snapshot {
    struct config *config;  /* owned */
    struct key_table *keys; /* owned; those of the config */
};

struct config_store {
    _Atomic(struct config_snapshot *) current; /* release by the swap, acquire by readers */
    struct config_snapshot *first;             /* owned */
};

/* Takes over `config`. STATUS_OK, STATUS_NO_MEMORY (then the config is still the caller's). */
NODISCARD status config_store_init(struct config_store *store, struct config *config);
void config_store_deinit(struct config_store *store);

/* Valid until the end of this turn of the loop. */
static inline const struct config_snapshot *config_store_get(const struct config_store *store)
{
    return atomic_load_explicit(&store->current, memory_order_acquire);
}

/* Takes over `config` and makes it current; the old one is freed when all loops of `server` have
 * passed a quiet point. Thread: main. STATUS_OK, STATUS_NO_MEMORY (then nothing changes and the
 * config is still the caller's). */
NODISCARD status config_store_swap(struct config_store *store, http_server *server,
                                   struct config *config);

#endif
