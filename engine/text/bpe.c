/* Two ways through a word, with the same result:
 *
 *  - A short word (nearly all words of nearly all texts) keeps the rank of each adjacent pair in an
 * array, finds the lowest by looking at all of them, merges and closes the gap. Quadratic, but over
 * at most SHORT_WORD_IDS values in two cache lines it beats every clever structure.
 *  - A long word (a run of a megabyte of one letter is one word) is a linked list, and its pairs
 * are in a binary heap by (rank, position). A merge makes at most two new pairs, so the heap sees
 * at most 3 n entries. Entries are never removed; one is stale when the pair that stands at its
 * position now has another rank.
 *
 * A position is an index of the word's first ids, so "leftmost" is the order of the keys in the
 * heap. */
#include "bpe.h"

#include <stdbool.h>
#include <string.h>

#include "hash.h"
#include "memory.h"

#define SHORT_WORD_IDS    32u
#define LONG_WORD_IDS_MAX (UINT32_C(1) << 31)

struct bpe_symbol {
    int32_t id;
    int32_t merged; /* of the pair that begins here */
    uint32_t rank;  /* of that pair; BPE_RANK_NONE: does not merge, or the symbol is gone */
    uint32_t previous, next; /* indices; the word's length: none */
};

status bpe_table_init(struct bpe_table *table, uint32_t pair_count)
{
    unsigned bits = 4;
    while ((UINT64_C(1) << bits) * 6 / 10 < (uint64_t)pair_count + 1)
        bits++;
    size_t slots = (size_t)1 << bits;
    struct bpe_pair *pairs = memory_allocate(slots * sizeof(*pairs));
    if (pairs == NULL)
        return STATUS_NO_MEMORY;
    memset(pairs, 0xFF, slots * sizeof(*pairs));
    random_bytes(&table->multiplier, sizeof(table->multiplier));
    table->multiplier |= 1;
    table->pairs = pairs;
    table->shift = 64 - bits;
    return STATUS_OK;
}

void bpe_table_deinit(struct bpe_table *table)
{
    memory_release(table->pairs);
    *table = (struct bpe_table){0};
}

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The pair's slot, or the free one where it belongs. */
static struct bpe_pair *slot_of(const struct bpe_table *table, uint64_t key)
{
    size_t mask = ((size_t)1 << (64 - table->shift)) - 1;
    size_t at = (size_t)((key * table->multiplier) >> table->shift);
    while (table->pairs[at].key != key && table->pairs[at].key != BPE_PAIR_EMPTY)
        at = (at + 1) & mask;
    return &table->pairs[at];
}

void bpe_table_put(struct bpe_table *table, int32_t left, int32_t right, uint32_t rank,
                   int32_t merged)
{
    uint64_t key = key_of(left, right);
    *slot_of(table, key) = (struct bpe_pair){key, rank, merged};
}

const struct bpe_pair *bpe_table_find(const struct bpe_table *table, int32_t left, int32_t right)
{
    const struct bpe_pair *pair = slot_of(table, key_of(left, right));
    return pair->key == BPE_PAIR_EMPTY ? NULL : pair;
}

void bpe_scratch_deinit(struct bpe_scratch *scratch)
{
    memory_release(scratch->symbols);
    memory_release(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}

/* A pair that does not merge has rank BPE_RANK_NONE: an empty slot's fields are all ones. */
static struct bpe_pair pair_of(const struct bpe_table *table, int32_t left, int32_t right)
{
    return *slot_of(table, key_of(left, right));
}

static void merge_short(const struct bpe_table *table, int32_t *ids, size_t *count)
{
    struct {
        uint32_t rank;
        int32_t merged;
    } pairs[SHORT_WORD_IDS];
    size_t n = *count;
    for (size_t i = 0; i + 1 < n; i++) {
        struct bpe_pair pair = pair_of(table, ids[i], ids[i + 1]);
        pairs[i].rank = pair.rank;
        pairs[i].merged = pair.merged;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (pairs[i].rank < pairs[best].rank)
                best = i;
        }
        if (pairs[best].rank == BPE_RANK_NONE)
            break;
        ids[best] = pairs[best].merged;
        n--;
        memmove(&ids[best + 1], &ids[best + 2], (n - best - 1) * sizeof(ids[0]));
        if (best + 1 < n) {
            memmove(&pairs[best + 1], &pairs[best + 2], (n - best - 2) * sizeof(pairs[0]));
            struct bpe_pair pair = pair_of(table, ids[best], ids[best + 1]);
            pairs[best].rank = pair.rank;
            pairs[best].merged = pair.merged;
        }
        if (best > 0) {
            struct bpe_pair pair = pair_of(table, ids[best - 1], ids[best]);
            pairs[best - 1].rank = pair.rank;
            pairs[best - 1].merged = pair.merged;
        }
    }
    *count = n;
}

static void heap_sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= moved)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void heap_push(uint64_t *heap, size_t *count, uint64_t key)
{
    size_t at = (*count)++;
    while (at > 0 && heap[(at - 1) / 2] > key) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count)
{
    uint64_t top = heap[0];
    heap[0] = heap[--*count];
    if (*count > 0)
        heap_sift_down(heap, *count, 0);
    return top;
}

static status scratch_reserve(struct bpe_scratch *scratch, size_t count)
{
    if (count <= scratch->capacity)
        return STATUS_OK;
    size_t capacity = scratch->capacity + scratch->capacity / 2 > count
                          ? scratch->capacity + scratch->capacity / 2
                          : count;
    bpe_scratch_deinit(scratch);
    scratch->symbols = memory_allocate(capacity * sizeof(*scratch->symbols));
    /* n - 1 pairs at the start, and each of at most n - 1 merges takes one out before it puts two
     * in. */
    scratch->heap = memory_allocate(2 * capacity * sizeof(*scratch->heap));
    if (scratch->symbols == NULL || scratch->heap == NULL) {
        bpe_scratch_deinit(scratch);
        return STATUS_NO_MEMORY;
    }
    scratch->capacity = capacity;
    return STATUS_OK;
}

/* Looks up the pair that begins at `at`; true when it merges. */
static bool symbol_refresh(const struct bpe_table *table, struct bpe_symbol *symbols, uint32_t at,
                           uint32_t none)
{
    struct bpe_symbol *symbol = &symbols[at];
    symbol->rank = BPE_RANK_NONE;
    if (symbol->next == none)
        return false;
    struct bpe_pair pair = pair_of(table, symbol->id, symbols[symbol->next].id);
    symbol->rank = pair.rank;
    symbol->merged = pair.merged;
    return pair.rank != BPE_RANK_NONE;
}

static uint64_t heap_key(const struct bpe_symbol *symbols, uint32_t at)
{
    return (uint64_t)symbols[at].rank << 32 | at;
}

static size_t heap_build(const struct bpe_table *table, const struct bpe_scratch *scratch,
                         const int32_t *ids, uint32_t count)
{
    struct bpe_symbol *symbols = scratch->symbols;
    size_t heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        symbols[i].id = ids[i];
        symbols[i].previous = i == 0 ? count : i - 1;
        symbols[i].next = i + 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (symbol_refresh(table, symbols, i, count))
            scratch->heap[heap_count++] = heap_key(symbols, i);
    }
    for (size_t i = heap_count / 2; i-- > 0;)
        heap_sift_down(scratch->heap, heap_count, i);
    return heap_count;
}

static void merge_long(const struct bpe_table *table, int32_t *ids, size_t *count,
                       struct bpe_scratch *scratch)
{
    struct bpe_symbol *symbols = scratch->symbols;
    uint32_t none = (uint32_t)*count;
    size_t heap_count = heap_build(table, scratch, ids, none);
    while (heap_count > 0) {
        uint64_t key = heap_pop(scratch->heap, &heap_count);
        uint32_t at = (uint32_t)key;
        struct bpe_symbol *symbol = &symbols[at];
        if (symbol->rank != key >> 32)
            continue;
        struct bpe_symbol *gone = &symbols[symbol->next];
        symbol->id = symbol->merged;
        symbol->next = gone->next;
        gone->rank = BPE_RANK_NONE;
        if (symbol->next != none)
            symbols[symbol->next].previous = at;
        if (symbol_refresh(table, symbols, at, none))
            heap_push(scratch->heap, &heap_count, heap_key(symbols, at));
        if (symbol->previous != none && symbol_refresh(table, symbols, symbol->previous, none))
            heap_push(scratch->heap, &heap_count, heap_key(symbols, symbol->previous));
    }
    size_t left = 0;
    for (uint32_t i = 0; i != none; i = symbols[i].next)
        ids[left++] = symbols[i].id;
    *count = left;
}

status bpe_merge(const struct bpe_table *table, int32_t *ids, size_t *count,
                 struct bpe_scratch *scratch)
{
    if (*count <= SHORT_WORD_IDS) {
        merge_short(table, ids, count);
        return STATUS_OK;
    }
    if (*count >= LONG_WORD_IDS_MAX)
        return STATUS_TOO_LARGE;
    status result = scratch_reserve(scratch, *count);
    if (result == STATUS_OK)
        merge_long(table, ids, count, scratch);
    return result;
}
