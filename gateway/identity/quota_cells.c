/* An open-addressed table of pointers. A slot goes from empty to a cell once and stays, so a reader that sees an empty slot
 * knows that nothing of that hash lies behind it (linear probing without removal). Two loops that add the same cell at once
 * both try the same slot; the one that comes late finds the other's. */
#include "quota_cells.h"

#include <openssl/sha.h>
#include <string.h>

#include "memory.h"

#define SLOT_COUNT (2 * QUOTA_CELL_COUNT_MAX)

struct quota_cells {
    struct hash_key key; /* names come from tokens of issuers: nobody shall choose where they go */
    _Atomic uint32_t count;
    _Atomic(struct quota_cell *) slots[SLOT_COUNT]; /* release by who adds, acquire by who looks */
};

status quota_cells_create(struct quota_cells **out)
{
    struct quota_cells *cells = memory_allocate_array(1, sizeof(*cells));

    if (cells == NULL)
        return STATUS_NO_MEMORY;
    random_bytes(&cells->key, sizeof(cells->key));
    *out = cells;
    return STATUS_OK;
}

void quota_cells_destroy(struct quota_cells *cells)
{
    for (uint32_t i = 0; cells != NULL && i < SLOT_COUNT; i++)
        memory_release(atomic_load_explicit(&cells->slots[i], memory_order_relaxed));
    memory_release(cells);
}

static status cell_make(struct quota_cells *cells, struct hash128 id, const void *name,
                        size_t bytes, struct quota_cell **out)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct quota_cell *cell;

    /* Above the limit it stays: the table is full for good, which is said to whoever comes next. */
    if (atomic_fetch_add_explicit(&cells->count, 1, memory_order_relaxed) >= QUOTA_CELL_COUNT_MAX) {
        (void)atomic_fetch_sub_explicit(&cells->count, 1, memory_order_relaxed);
        return STATUS_FULL;
    }
    cell = memory_allocate_array(1, sizeof(*cell));
    if (cell == NULL) {
        (void)atomic_fetch_sub_explicit(&cells->count, 1, memory_order_relaxed);
        return STATUS_NO_MEMORY;
    }
    cell->id = id;
    /* Not the keyed hash: other gateways have other keys. */
    (void)SHA256(name, bytes, digest);
    memcpy(cell->shared.name, digest, sizeof(cell->shared.name));
    *out = cell;
    return STATUS_OK;
}

status quota_cells_get(struct quota_cells *cells, const void *name, size_t bytes,
                       struct quota_cell **out)
{
    struct hash128 id = hash128(&cells->key, name, bytes);
    struct quota_cell *made = NULL;

    for (uint32_t at = (uint32_t)id.low;; at++) {
        _Atomic(struct quota_cell *) *slot = &cells->slots[at % SLOT_COUNT];
        struct quota_cell *seen = atomic_load_explicit(slot, memory_order_acquire);

        if (seen == NULL && made == NULL) {
            status result = cell_make(cells, id, name, bytes, &made);

            if (result != STATUS_OK)
                return result;
        }
        if (seen == NULL && atomic_compare_exchange_strong_explicit(
                                slot, &seen, made, memory_order_acq_rel, memory_order_acquire)) {
            *out = made;
            return STATUS_OK;
        }
        if (hash128_equals(seen->id, id)) {
            if (made != NULL) {
                (void)atomic_fetch_sub_explicit(&cells->count, 1, memory_order_relaxed);
                memory_release(made);
            }
            *out = seen;
            return STATUS_OK;
        }
    }
}

void quota_cells_each(struct quota_cells *cells,
                      void (*take)(void *context, struct quota_cell *cell), void *context)
{
    if (atomic_load_explicit(&cells->count, memory_order_relaxed) == 0)
        return;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        struct quota_cell *cell = atomic_load_explicit(&cells->slots[i], memory_order_acquire);

        if (cell != NULL)
            take(context, cell);
    }
}
