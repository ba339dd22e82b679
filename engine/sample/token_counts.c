#include "token_counts.h"

#include "check.h"

status token_counts_init(struct token_counts *counts, uint32_t distinct_max, arena *memory)
{
    CHECK(distinct_max > 0 && distinct_max <= UINT32_MAX / 4);
    uint32_t cells = 2;
    while (cells < 2 * distinct_max)
        cells *= 2;
    counts->entries = arena_allocate_array(memory, distinct_max, sizeof *counts->entries);
    counts->index = arena_allocate_array(memory, cells, sizeof *counts->index);
    if (counts->entries == NULL || counts->index == NULL)
        return STATUS_NO_MEMORY;
    counts->count = 0;
    counts->distinct_max = distinct_max;
    counts->mask = cells - 1;
    return STATUS_OK;
}

void token_counts_add(struct token_counts *counts, int32_t token, uint32_t outputs)
{
    /* Fibonacci hashing; token ids are dense and nobody gains by making a table of his own slow. */
    uint32_t cell = ((uint32_t)token * 2654435769u) & counts->mask;
    while (counts->index[cell] != 0) {
        struct token_count *entry = &counts->entries[counts->index[cell] - 1];
        if (entry->token == token) {
            entry->outputs += outputs;
            return;
        }
        cell = (cell + 1) & counts->mask;
    }
    CHECK(counts->count < counts->distinct_max);
    counts->entries[counts->count++] = (struct token_count){token, outputs};
    counts->index[cell] = counts->count;
}
