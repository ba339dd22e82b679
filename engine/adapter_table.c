#include "adapter_table.h"

#include <inttypes.h>
#include <string.h>

#include "adapter_upload.h"
#include "check.h"
#include "engine_private.h"
#include "memory.h"

/* Adapters come and go while the engine runs, and no step waits for it. What is loaded is a table of names; an adapter
 * itself is immutable and counted:
 *
 *   table ----1----> adapter <----1---- each live request (engine_submit .. its last sequence's end on the step thread)
 *                       ^---------1---- whoever has found it by name and has not submitted yet
 *
 * Loading reads files and fills memory on the caller's thread, under a name that is taken already but not found; then it
 * is there for the next request. Unloading takes it out of the table: from then on it is not found, and the last request
 * that uses it frees it. The step thread only follows pointers that its requests hold, so nothing has to be handed over
 * between steps, and a step that mixes adapters takes no lock.
 *
 * A number that is never used twice goes into the hashes of the prefix cache: KV of an adapter is never found by another
 * one, nor by one that is loaded later under the same name. */

status adapter_table_open(struct adapter_table *table, uint32_t count_max)
{
    int rc = pthread_mutex_init(&table->lock, NULL);
    CHECK(rc == 0);
    table->items = memory_allocate_array(count_max > 0 ? count_max : 1, sizeof *table->items);
    table->count_max = count_max;
    return table->items != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void adapter_table_clear(struct adapter_table *table)
{
    while (table->count > 0)
        engine_release_adapter(table->items[--table->count]);
    CHECK(atomic_load(&table->held_count) == 0);
}

void adapter_table_close(struct adapter_table *table)
{
    CHECK(table->count == 0);
    if (table->items != NULL)
        pthread_mutex_destroy(&table->lock);
    memory_release(table->items);
}

static void lock(struct adapter_table *table)
{
    int rc = pthread_mutex_lock(&table->lock);
    CHECK(rc == 0);
}

static void unlock(struct adapter_table *table)
{
    int rc = pthread_mutex_unlock(&table->lock);
    CHECK(rc == 0);
}

/* --- one adapter --- */

static char *copy_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

static void adapter_destroy(engine_adapter *adapter)
{
    struct adapter_table *table = (struct adapter_table *)(uintptr_t)adapter->table;
    if (adapter->weights != NULL) {
        atomic_fetch_sub_explicit(&table->held_bytes, model_adapter_bytes(adapter->weights),
                                  memory_order_relaxed);
        model_adapter_close(table->model, adapter->weights);
    }
    memory_release(adapter->folder);
    memory_release(adapter->name);
    memory_release(adapter);
    atomic_fetch_sub_explicit(&table->held_count, 1, memory_order_relaxed);
}

static engine_adapter *adapter_create(struct adapter_table *table, const char *name,
                                      const char *folder)
{
    engine_adapter *adapter = memory_allocate_array(1, sizeof *adapter);
    if (adapter == NULL)
        return NULL;
    adapter->table = table;
    adapter->name = copy_text(name);
    adapter->folder = copy_text(folder);
    atomic_init(&adapter->references, 1);
    atomic_fetch_add_explicit(&table->held_count, 1, memory_order_relaxed);
    if (adapter->name == NULL || adapter->folder == NULL) {
        adapter_destroy(adapter);
        return NULL;
    }
    return adapter;
}

void engine_release_adapter(engine_adapter *adapter)
{
    if (adapter == NULL)
        return;
    /* Release: what this thread read of it comes before the free; acquire: on the thread that frees. */
    if (atomic_fetch_sub_explicit(&adapter->references, 1, memory_order_acq_rel) == 1)
        adapter_destroy(adapter);
}

uint64_t engine_adapter_number(const engine_adapter *adapter)
{
    return adapter != NULL ? adapter->number : 0;
}

void adapter_begin_request(engine_adapter *adapter)
{
    if (adapter == NULL)
        return;
    /* Relaxed: the caller holds a reference already. */
    atomic_fetch_add_explicit(&adapter->references, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&adapter->requests, 1, memory_order_relaxed);
}

void adapter_hold(engine_adapter *adapter)
{
    /* Relaxed: the request holds a reference already. */
    atomic_fetch_add_explicit(&adapter->references, 1, memory_order_relaxed);
}

void adapter_start_request(engine_adapter *adapter)
{
    if (adapter != NULL)
        atomic_fetch_add_explicit(&adapter->running, 1, memory_order_relaxed);
}

void adapter_end_request(engine_adapter *adapter, bool was_started)
{
    if (adapter == NULL)
        return;
    atomic_fetch_sub_explicit(&adapter->requests, 1, memory_order_relaxed);
    if (was_started)
        atomic_fetch_sub_explicit(&adapter->running, 1, memory_order_relaxed);
    engine_release_adapter(adapter);
}

struct hash128 adapter_hash_root(const engine_adapter *adapter, const struct hash_key *key,
                                 struct hash128 root)
{
    if (adapter == NULL)
        return root;
    const uint64_t record[3] = {root.low, root.high, adapter->number};
    return hash128(key, record, sizeof record);
}

uint64_t adapter_bytes_max(const struct model_info *info, uint32_t count, uint32_t rank,
                           uint32_t batch_tokens_max)
{
    uint64_t d = info->d, q = (uint64_t)info->n_heads * info->d_head;
    uint64_t kv = (uint64_t)info->n_kv_heads * info->d_head;
    uint64_t d_ffn = info->n_experts == 0 ? info->d_ffn : 0;
    if (count == 0)
        return 0;
    uint64_t widths = 2 * (d + q) + 2 * (d + kv) + (d_ffn > 0 ? 3 * (d + d_ffn) : 0);
    uint64_t one = info->n_layers * rank * widths;
    return (count * one + batch_tokens_max * (rank + 2 * d_ffn)) * sizeof(float);
}

/* --- the table --- */

/* Its place, or count. The lock is held. */
static uint32_t place_of(const struct adapter_table *table, const char *name)
{
    uint32_t i = 0;
    while (i < table->count && strcmp(table->items[i]->name, name) != 0)
        i++;
    return i;
}

/* Takes the name, so that nobody else loads under it meanwhile. */
static status take_name(struct adapter_table *table, const char *name, const char *folder,
                        engine_adapter **out, struct error_note *note)
{
    status s = STATUS_OK;
    lock(table);
    if (place_of(table, name) < table->count) {
        error_note_set(note, "there is an adapter '%s' already", name);
        s = STATUS_INVALID;
    } else if (atomic_load_explicit(&table->held_count, memory_order_relaxed) >= table->count_max) {
        error_note_set(note,
                       "%" PRIu32 " adapters are loaded, or unloaded and still in use; no more "
                       "are possible (max_loras)",
                       table->count_max);
        s = STATUS_FULL;
    } else {
        *out = adapter_create(table, name, folder);
        s = *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (s == STATUS_OK) {
        (*out)->number = ++table->number;
        table->items[table->count++] = *out;
    } else if (s == STATUS_NO_MEMORY) {
        error_note_set(note, "no memory for an adapter");
    }
    unlock(table);
    return s;
}

/* The lock is held; the table's reference goes to the caller. */
static engine_adapter *take_out(struct adapter_table *table, uint32_t place)
{
    engine_adapter *adapter = table->items[place];
    table->count--;
    for (uint32_t i = place; i < table->count; i++)
        table->items[i] = table->items[i + 1];
    return adapter;
}

/* Closes it if it does not get there. */
static status bring_to_device(engine *e, model_adapter *weights, struct error_note *note)
{
    status s = e->has_device_memory ? adapter_upload(e, weights) : STATUS_OK;
    if (s != STATUS_OK) {
        error_note_set(note, "the device has failed");
        model_adapter_close(e->adapters.model, weights);
    }
    return s;
}

status engine_load_adapter(engine *e, const char *name, const char *folder, struct error_note *note)
{
    struct adapter_table *table = &e->adapters;
    engine_adapter *adapter = NULL;
    model_adapter *weights = NULL;
    if (table->count_max == 0) {
        error_note_set(note, "the model takes no adapters (max_loras is 0)");
        return STATUS_UNSUPPORTED;
    }
    status s = take_name(table, name, folder, &adapter, note);
    if (s != STATUS_OK)
        return s;
    s = model_adapter_open(table->model, folder, &weights, note);
    if (s == STATUS_OK)
        s = bring_to_device(e, weights, note);
    lock(table);
    if (s == STATUS_OK) {
        adapter->weights = weights;
        atomic_fetch_add_explicit(&table->held_bytes, model_adapter_bytes(weights),
                                  memory_order_relaxed);
    } else {
        (void)take_out(table, place_of(table, name));
    }
    unlock(table);
    if (s != STATUS_OK)
        engine_release_adapter(adapter);
    return s;
}

status engine_unload_adapter(engine *e, const char *name)
{
    struct adapter_table *table = &e->adapters;
    engine_adapter *adapter = NULL;
    lock(table);
    uint32_t place = place_of(table, name);
    if (place < table->count && table->items[place]->weights != NULL)
        adapter = take_out(table, place);
    unlock(table);
    engine_release_adapter(adapter);
    return adapter != NULL ? STATUS_OK : STATUS_NOT_FOUND;
}

engine_adapter *engine_find_adapter(engine *e, const char *name)
{
    struct adapter_table *table = &e->adapters;
    engine_adapter *adapter = NULL;
    lock(table);
    uint32_t place = place_of(table, name);
    if (place < table->count && table->items[place]->weights != NULL) {
        adapter = table->items[place];
        atomic_fetch_add_explicit(&adapter->references, 1, memory_order_relaxed);
    }
    unlock(table);
    return adapter;
}

void engine_list_adapters(engine *e, engine_adapter_visit_fn *visit, void *context)
{
    struct adapter_table *table = &e->adapters;
    lock(table);
    for (uint32_t i = 0; i < table->count; i++) {
        const engine_adapter *adapter = table->items[i];
        if (adapter->weights == NULL)
            continue;
        struct engine_adapter_info info = {
            .name = adapter->name,
            .folder = adapter->folder,
            .bytes = model_adapter_bytes(adapter->weights),
            .requests = atomic_load_explicit(&adapter->requests, memory_order_relaxed),
            .running = atomic_load_explicit(&adapter->running, memory_order_relaxed),
        };
        visit(context, &info);
    }
    unlock(table);
}
