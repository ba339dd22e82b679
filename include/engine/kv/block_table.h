#ifndef PENSTOCK_ENGINE_KV_BLOCK_TABLE_H
#define PENSTOCK_ENGINE_KV_BLOCK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "block_allocator.h"
#include "status.h"

/* Where one sequence's positions lie: entry i is the physical block of positions [16 i, 16 i + 16). The table holds one
 * reference to each block in it. Several tables may hold the same block (a shared prefix, sequences of one request);
 * such a block is read by all and written by none: block_table_make_writable gives the writer a copy of its own.
 * Thread: step. */
struct block_table {
    uint32_t *blocks;  /* [capacity]; storage borrowed from the request's memory */
    uint32_t count;    /* blocks in use */
    uint32_t capacity; /* fixed */
};

void block_table_init(struct block_table *table, uint32_t *storage, uint32_t capacity);

/* Blocks that `tokens` positions need. */
static inline uint32_t blocks_for_tokens(uint64_t tokens)
{
    return (uint32_t)((tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS);
}

/* Appends `block` and takes over the caller's reference. STATUS_FULL at `capacity` (the caller keeps the reference). */
NODISCARD status block_table_append(struct block_table *table, uint32_t block);

/* Acquires blocks until the table has `count`. All or nothing: STATUS_NO_MEMORY, STATUS_FULL (over capacity) change
 * nothing. A table that is long enough stays as it is. */
NODISCARD status block_table_extend(struct block_table *table, block_allocator *a, uint32_t count);

/* Makes the empty table `to` hold the blocks of `from`, shared. `to` must have the capacity. */
void block_table_share(struct block_table *to, const struct block_table *from, block_allocator *a);

/* Copy on write of entry `index`. When the block is this table's alone, *source = BLOCK_NONE and nothing happens. Else
 * the entry becomes a new block and *source is the old one: the caller copies source to the new entry before the next
 * step writes. STATUS_NO_MEMORY: nothing changed. */
NODISCARD status block_table_make_writable(struct block_table *table, block_allocator *a,
                                           uint32_t index, uint32_t *source);

/* Gives all blocks back, last first (so that the prefix cache loses children before parents). */
void block_table_release(struct block_table *table, block_allocator *a);

/* True when each block's reference count is exactly the number of table entries that name it, so that nothing leaks
 * and nothing is freed too early. For tests, fuzzing and debug builds; allocates. */
bool block_tables_are_consistent(const block_allocator *a, const struct block_table *const *tables,
                                 uint32_t table_count);

#endif
