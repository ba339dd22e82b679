#include "block_table.h"

#include "check.h"
#include "memory.h"

void block_table_init(struct block_table *table, uint32_t *storage, uint32_t capacity)
{
    *table = (struct block_table){.blocks = storage, .capacity = capacity};
}

status block_table_append(struct block_table *table, uint32_t block)
{
    if (table->count == table->capacity)
        return STATUS_FULL;
    table->blocks[table->count++] = block;
    return STATUS_OK;
}

status block_table_extend(struct block_table *table, block_allocator *a, uint32_t count)
{
    if (count <= table->count)
        return STATUS_OK;
    if (count > table->capacity)
        return STATUS_FULL;
    if (block_available_count(a) < count - table->count)
        return STATUS_NO_MEMORY;
    while (table->count < count) {
        status s = block_acquire(a, &table->blocks[table->count]);
        CHECK(s == STATUS_OK); /* just counted */
        table->count++;
    }
    return STATUS_OK;
}

void block_table_share(struct block_table *to, const struct block_table *from, block_allocator *a)
{
    CHECK(to->count == 0 && to->capacity >= from->count);
    for (uint32_t i = 0; i < from->count; i++) {
        block_retain(a, from->blocks[i]);
        to->blocks[i] = from->blocks[i];
    }
    to->count = from->count;
}

status block_table_make_writable(struct block_table *table, block_allocator *a, uint32_t index,
                                 uint32_t *source)
{
    CHECK(index < table->count);
    uint32_t shared = table->blocks[index];
    if (block_reference_count(a, shared) == 1) {
        *source = BLOCK_NONE;
        return STATUS_OK;
    }
    uint32_t own;
    status s = block_acquire(a, &own);
    if (s != STATUS_OK)
        return s;
    block_release(a, shared); /* the others still hold it, so its content stays until the copy */
    table->blocks[index] = own;
    *source = shared;
    return STATUS_OK;
}

void block_table_release(struct block_table *table, block_allocator *a)
{
    while (table->count > 0)
        block_release(a, table->blocks[--table->count]);
}

bool block_tables_are_consistent(const block_allocator *a, const struct block_table *const *tables,
                                 uint32_t table_count)
{
    uint32_t total = block_allocator_counts(a).total;
    uint32_t *seen = memory_allocate_array(total, sizeof *seen);
    CHECK(seen != NULL);
    bool is_consistent = true;
    for (uint32_t t = 0; t < table_count; t++) {
        for (uint32_t i = 0; i < tables[t]->count; i++) {
            uint32_t block = tables[t]->blocks[i];
            if (block < total)
                seen[block]++;
            else
                is_consistent = false;
        }
    }
    for (uint32_t block = 0; block < total; block++)
        is_consistent = is_consistent && seen[block] == block_reference_count(a, block);
    memory_release(seen);
    return is_consistent;
}
