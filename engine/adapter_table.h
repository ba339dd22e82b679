#ifndef PENSTOCK_ENGINE_ADAPTER_TABLE_H
#define PENSTOCK_ENGINE_ADAPTER_TABLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine.h"
#include "hash.h"
#include "model.h"
#include "model_adapter.h"

/* The adapters of an engine by name: engine_load_adapter and its like, for the engine's own files. */

struct engine_adapter {
    const struct adapter_table *table; /* borrowed */
    char *name, *folder;               /* owned */
    model_adapter *weights;            /* owned; NULL: being loaded */
    uint64_t number;                   /* of all that were ever loaded, from 1 */
    _Atomic uint32_t references;       /* the table's, and one for each finder and live request */
    _Atomic uint32_t requests;         /* live ones */
    _Atomic uint32_t running;          /* those of them that have started */
};

struct adapter_table {
    const model *model;     /* borrowed; set before the first load */
    uint32_t count_max;     /* 0: the model takes none */
    pthread_mutex_t lock;   /* of items, count and number; held for moments, never by a step */
    engine_adapter **items; /* owned; [count_max], in the order of loading */
    uint32_t count;
    uint64_t number;
    _Atomic uint32_t held_count; /* in the table, or gone from it and still in use */
    _Atomic uint64_t held_bytes;
};

/* STATUS_NO_MEMORY. A zeroed struct with count_max 0 may be closed. */
NODISCARD status adapter_table_open(struct adapter_table *table, uint32_t count_max);
/* Lets go of what is loaded; no request lives, nobody looks for one. Before the model is closed. */
void adapter_table_clear(struct adapter_table *table);
void adapter_table_close(struct adapter_table *table);

/* A request takes the caller's adapter (NULL: none) for its life. Thread: the submitting one. */
void adapter_begin_request(engine_adapter *adapter);
/* One more reference to an adapter of a live request; engine_release_adapter gives it back. Thread: step. */
void adapter_hold(engine_adapter *adapter);
/* It runs for the first time. Thread: step. */
void adapter_start_request(engine_adapter *adapter);
/* It has ended, or never began to live. Thread: step; the submitting one when it could not be made. */
void adapter_end_request(engine_adapter *adapter, bool was_started);

/* The parent of the first block under this adapter: what it changes is found by its own requests only. */
struct hash128 adapter_hash_root(const engine_adapter *adapter, const struct hash_key *key,
                                 struct hash128 root);

/* Memory of `count` adapters of this rank on everything that an adapter may change, and of the rows of a step. */
uint64_t adapter_bytes_max(const struct model_info *info, uint32_t count, uint32_t rank,
                           uint32_t batch_tokens_max);

#endif
