#include "block_allocator.h"

#include "check.h"
#include "memory.h"

/* Every block is in exactly one of three states:
 *
 *                 acquire                    last release, findable
 *      +------+ -----------> +------------+ ------------------------> +------+
 *      | free |              | referenced |                           | kept |
 *      +------+ <----------- +------------+ <------------------------ +------+
 *                last release      ^            retain (prefix hit)       |
 *                                  +--------------------------------------+
 *                                    acquire, when nothing is free: evict the oldest
 *
 * Invariants (block_allocator_is_consistent checks them):
 *  - references > 0  <=>  the block is in no list;
 *  - free blocks are a stack through `next`, are not findable and hold no tokens;
 *  - kept blocks are a doubly linked list, oldest first, are findable and wholly filled;
 *  - free + kept + referenced == total.
 *
 * The free list is a stack so that the block that was written last, whose lines may still be in a
 * cache, is written next. The kept list is ordered by the moment of the last release. A sequence
 * releases its blocks from its end to its start, so a child always becomes older than its parent
 * and is given up first: the cache loses leaves and never the middle of a chain.
 *
 * Why links by number in one array, and not pointers or one list node a block: sixteen bytes a
 * block, no allocation after the start, and a copy of the array is a snapshot. */

struct block {
    uint32_t next;       /* free: the next free one. kept: the next younger one */
    uint32_t previous;   /* kept: the next older one */
    uint32_t references; /* 0: free or kept */
    uint16_t filled;     /* positions that hold computed KV */
    bool is_findable;    /* the prefix cache points here */
};

struct block_allocator {
    struct block *blocks; /* owned; [count] */
    uint32_t count;       /* fixed */
    uint32_t free_head;   /* BLOCK_NONE: none */
    uint32_t kept_oldest; /* BLOCK_NONE: none */
    uint32_t kept_newest;
    uint32_t free_count, kept_count;
    uint64_t tokens_used;  /* sum of `filled` over referenced blocks */
    block_evict_fn *evict; /* NULL: nothing is ever findable */
    void *evict_context;   /* borrowed */
};

status block_allocator_create(uint32_t block_count, block_allocator **out)
{
    CHECK(block_count > 0 && block_count < BLOCK_NONE);
    block_allocator *a = memory_allocate_array(1, sizeof *a);
    struct block *blocks = memory_allocate_array(block_count, sizeof *blocks);
    if (a == NULL || blocks == NULL) {
        memory_release(blocks);
        memory_release(a);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < block_count; i++)
        blocks[i].next = i + 1 < block_count ? i + 1 : BLOCK_NONE;
    a->blocks = blocks;
    a->count = block_count;
    a->free_head = 0;
    a->free_count = block_count;
    a->kept_oldest = a->kept_newest = BLOCK_NONE;
    *out = a;
    return STATUS_OK;
}

void block_allocator_destroy(block_allocator *a)
{
    if (a == NULL)
        return;
    memory_release(a->blocks);
    memory_release(a);
}

void block_allocator_set_evict(block_allocator *a, block_evict_fn *evict, void *context)
{
    a->evict = evict;
    a->evict_context = context;
}

static struct block *block_at(const block_allocator *a, uint32_t block)
{
    CHECK(block < a->count);
    return &a->blocks[block];
}

static void free_push(block_allocator *a, uint32_t block)
{
    struct block *b = &a->blocks[block];
    b->filled = 0;
    b->next = a->free_head;
    a->free_head = block;
    a->free_count++;
}

static void kept_append(block_allocator *a, uint32_t block)
{
    struct block *b = &a->blocks[block];
    b->previous = a->kept_newest;
    b->next = BLOCK_NONE;
    if (a->kept_newest != BLOCK_NONE)
        a->blocks[a->kept_newest].next = block;
    else
        a->kept_oldest = block;
    a->kept_newest = block;
    a->kept_count++;
}

static void kept_remove(block_allocator *a, uint32_t block)
{
    struct block *b = &a->blocks[block];
    if (b->previous != BLOCK_NONE)
        a->blocks[b->previous].next = b->next;
    else
        a->kept_oldest = b->next;
    if (b->next != BLOCK_NONE)
        a->blocks[b->next].previous = b->previous;
    else
        a->kept_newest = b->previous;
    a->kept_count--;
}

/* Makes the oldest kept block a free one. */
static void evict_oldest(block_allocator *a)
{
    uint32_t block = a->kept_oldest;
    kept_remove(a, block);
    a->blocks[block].is_findable = false;
    a->evict(a->evict_context, block);
    free_push(a, block);
}

status block_acquire(block_allocator *a, uint32_t *block)
{
    if (a->free_count == 0) {
        if (a->kept_count == 0)
            return STATUS_NO_MEMORY;
        evict_oldest(a);
    }
    uint32_t taken = a->free_head;
    struct block *b = &a->blocks[taken];
    CHECK(b->references == 0 && !b->is_findable);
    a->free_head = b->next;
    a->free_count--;
    b->references = 1;
    *block = taken;
    return STATUS_OK;
}

void block_retain(block_allocator *a, uint32_t block)
{
    struct block *b = block_at(a, block);
    if (b->references == 0) {
        CHECK(b->is_findable); /* a free block has no owner who could ask */
        kept_remove(a, block);
        a->tokens_used += b->filled;
    }
    CHECK(b->references < UINT32_MAX);
    b->references++;
}

void block_release(block_allocator *a, uint32_t block)
{
    struct block *b = block_at(a, block);
    CHECK(b->references > 0);
    if (--b->references > 0)
        return;
    a->tokens_used -= b->filled;
    if (b->is_findable)
        kept_append(a, block);
    else
        free_push(a, block);
}

uint32_t block_reference_count(const block_allocator *a, uint32_t block)
{
    return block_at(a, block)->references;
}

void block_set_findable(block_allocator *a, uint32_t block, bool is_findable)
{
    struct block *b = block_at(a, block);
    CHECK(b->references > 0);
    CHECK(!is_findable || (a->evict != NULL && b->filled == BLOCK_TOKENS));
    b->is_findable = is_findable;
}

bool block_is_findable(const block_allocator *a, uint32_t block)
{
    return block_at(a, block)->is_findable;
}

void block_set_filled(block_allocator *a, uint32_t block, uint32_t tokens)
{
    struct block *b = block_at(a, block);
    CHECK(b->references > 0 && tokens <= BLOCK_TOKENS && tokens >= b->filled);
    a->tokens_used += tokens - b->filled;
    b->filled = (uint16_t)tokens;
}

struct block_counts block_allocator_counts(const block_allocator *a)
{
    return (struct block_counts){
        .total = a->count,
        .free = a->free_count,
        .kept = a->kept_count,
        .referenced = a->count - a->free_count - a->kept_count,
        .tokens_used = a->tokens_used,
    };
}

uint32_t block_available_count(const block_allocator *a)
{
    return a->free_count + a->kept_count;
}

static bool free_list_is_consistent(const block_allocator *a)
{
    uint32_t count = 0;
    for (uint32_t i = a->free_head; i != BLOCK_NONE; i = a->blocks[i].next) {
        const struct block *b = &a->blocks[i];
        if (i >= a->count || b->references != 0 || b->is_findable || b->filled != 0)
            return false;
        if (++count > a->free_count)
            return false;
    }
    return count == a->free_count;
}

static bool kept_list_is_consistent(const block_allocator *a)
{
    uint32_t count = 0;
    uint32_t previous = BLOCK_NONE;
    for (uint32_t i = a->kept_oldest; i != BLOCK_NONE; i = a->blocks[i].next) {
        const struct block *b = &a->blocks[i];
        if (i >= a->count || b->references != 0 || !b->is_findable || b->filled != BLOCK_TOKENS)
            return false;
        if (b->previous != previous || ++count > a->kept_count)
            return false;
        previous = i;
    }
    return count == a->kept_count && previous == a->kept_newest;
}

bool block_allocator_is_consistent(const block_allocator *a)
{
    uint32_t referenced = 0;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->blocks[i].references > 0) {
            referenced++;
            tokens += a->blocks[i].filled;
        }
    }
    return free_list_is_consistent(a) && kept_list_is_consistent(a) && tokens == a->tokens_used &&
           referenced + a->free_count + a->kept_count == a->count;
}
