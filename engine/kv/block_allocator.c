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
 *  - kept blocks are in one of two doubly linked lists, oldest first, are findable and wholly filled; those in the second
 *    are pinned, those in the first are not;
 *  - free blocks are not pinned, and no more blocks are than may be;
 *  - free + kept + referenced == total.
 *
 * The free list is a stack so that the block that was written last, whose lines may still be in a
 * cache, is written next. The kept list is ordered by the moment of the last release. A sequence
 * releases its blocks from its end to its start, so a child always becomes older than its parent
 * and is given up first: the cache loses leaves and never the middle of a chain.
 *
 * Pins. The second list is drawn from when the first is empty, so a pin costs its neighbours memory but never fails
 * anybody. A block whose time has passed goes to the young end of the first list, as if it were released just then: who
 * pins a block pins those before it as long, so this too keeps children older than their parents. The second list is looked
 * through only when the earliest of its times has passed, and somebody needs a block or a pin.
 *
 * Why links by number in one array, and not pointers or one list node a block: sixteen bytes a
 * block, no allocation after the start, and a copy of the array is a snapshot. */

struct block {
    uint64_t pinned_until_ns; /* 0: not pinned */
    uint64_t born_ns;         /* watched: when it was handed out; 0: not watched */
    uint64_t used_ns;         /* watched: when it was last released or found */
    uint32_t next;            /* free: the next free one. kept: the next younger one */
    uint32_t previous;        /* kept: the next older one */
    uint32_t references;      /* 0: free or kept */
    uint16_t filled;          /* positions that hold computed KV */
    bool is_findable;         /* the prefix cache points here */
};

struct kept_list {
    uint32_t oldest, newest; /* BLOCK_NONE: none */
    uint32_t count;
};

struct block_allocator {
    struct block *blocks; /* owned; [count] */
    uint32_t count;       /* fixed */
    uint32_t free_head;   /* BLOCK_NONE: none */
    uint32_t free_count;
    struct kept_list unpinned, pinned;
    uint32_t pinned_count, pinned_max; /* referenced ones too */
    uint64_t pin_ends_ns;              /* no block in `pinned` is past its time before this */
    uint64_t now_ns;
    uint64_t tokens_used;  /* sum of `filled` over referenced blocks */
    block_evict_fn *evict; /* NULL: nothing is ever findable */
    void *evict_context;   /* borrowed */
    block_watch_fn *watch; /* NULL: nobody watches */
    void *watch_context;   /* borrowed */
    uint32_t watch_turn;   /* of blocks that are handed out */
};

/* All blocks are free. */
static void free_in_order(block_allocator *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        a->blocks[i].next = i + 1 < a->count ? i + 1 : BLOCK_NONE;
    a->free_head = 0;
    a->free_count = a->count;
}

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
    a->blocks = blocks;
    a->count = block_count;
    free_in_order(a);
    a->unpinned = a->pinned = (struct kept_list){BLOCK_NONE, BLOCK_NONE, 0};
    a->pin_ends_ns = UINT64_MAX;
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

void block_allocator_set_watch(block_allocator *a, block_watch_fn *watch, void *context)
{
    a->watch = watch;
    a->watch_context = context;
}

void block_allocator_set_pinned_max(block_allocator *a, uint32_t count_max)
{
    a->pinned_max = count_max;
}

void block_allocator_set_now(block_allocator *a, uint64_t now_ns)
{
    a->now_ns = now_ns > a->now_ns ? now_ns : a->now_ns;
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

static struct kept_list *list_of(block_allocator *a, const struct block *b)
{
    return b->pinned_until_ns != 0 ? &a->pinned : &a->unpinned;
}

static void kept_append(block_allocator *a, uint32_t block)
{
    struct block *b = &a->blocks[block];
    struct kept_list *list = list_of(a, b);
    b->previous = list->newest;
    b->next = BLOCK_NONE;
    if (list->newest != BLOCK_NONE)
        a->blocks[list->newest].next = block;
    else
        list->oldest = block;
    list->newest = block;
    list->count++;
    if (b->pinned_until_ns != 0 && b->pinned_until_ns < a->pin_ends_ns)
        a->pin_ends_ns = b->pinned_until_ns;
}

static void kept_remove(block_allocator *a, uint32_t block)
{
    struct block *b = &a->blocks[block];
    struct kept_list *list = list_of(a, b);
    if (b->previous != BLOCK_NONE)
        a->blocks[b->previous].next = b->next;
    else
        list->oldest = b->next;
    if (b->next != BLOCK_NONE)
        a->blocks[b->next].previous = b->previous;
    else
        list->newest = b->previous;
    list->count--;
}

/* Of a block that is in no list. */
static void unpin(block_allocator *a, struct block *b)
{
    a->pinned_count -= b->pinned_until_ns != 0 ? 1 : 0;
    b->pinned_until_ns = 0;
}

/* Unpins the kept blocks whose time has passed. */
static void end_pins(block_allocator *a)
{
    if (a->now_ns < a->pin_ends_ns)
        return;
    uint32_t next;
    a->pin_ends_ns = UINT64_MAX;
    for (uint32_t i = a->pinned.oldest; i != BLOCK_NONE; i = next) {
        struct block *b = &a->blocks[i];
        next = b->next;
        if (b->pinned_until_ns <= a->now_ns) {
            kept_remove(a, i);
            unpin(a, b);
            kept_append(a, i);
        } else if (b->pinned_until_ns < a->pin_ends_ns) {
            a->pin_ends_ns = b->pinned_until_ns;
        }
    }
}

/* --- watching --- */

static void watch_tell(const block_allocator *a, enum block_figure figure, uint64_t since_ns)
{
    a->watch(a->watch_context, figure, a->now_ns - since_ns);
}

static void watch_begin(block_allocator *a, struct block *b)
{
    b->born_ns = a->watch != NULL && a->watch_turn++ % BLOCK_WATCH_EVERY == 0 ? a->now_ns : 0;
    b->used_ns = b->born_ns;
}

static void watch_use(const block_allocator *a, struct block *b, bool is_found)
{
    if (b->born_ns == 0)
        return;
    if (is_found)
        watch_tell(a, BLOCK_REUSE_GAP, b->used_ns);
    b->used_ns = a->now_ns;
}

static void watch_end(const block_allocator *a, struct block *b)
{
    if (b->born_ns == 0)
        return;
    watch_tell(a, BLOCK_LIFETIME, b->born_ns);
    watch_tell(a, BLOCK_IDLE, b->used_ns);
    b->born_ns = 0;
}

/* Makes the oldest kept block a free one. */
static void evict_oldest(block_allocator *a)
{
    end_pins(a);
    uint32_t block = a->unpinned.count > 0 ? a->unpinned.oldest : a->pinned.oldest;
    kept_remove(a, block);
    unpin(a, &a->blocks[block]);
    a->blocks[block].is_findable = false;
    a->evict(a->evict_context, block);
    watch_end(a, &a->blocks[block]);
    free_push(a, block);
}

void block_allocator_forget(block_allocator *a)
{
    CHECK(block_available_count(a) == a->count);
    while (a->free_count < a->count)
        evict_oldest(a);
    free_in_order(a);
}

status block_acquire(block_allocator *a, uint32_t *block)
{
    if (a->free_count == 0) {
        if (block_available_count(a) == 0)
            return STATUS_NO_MEMORY;
        evict_oldest(a);
    }
    uint32_t taken = a->free_head;
    struct block *b = &a->blocks[taken];
    CHECK(b->references == 0 && !b->is_findable);
    a->free_head = b->next;
    a->free_count--;
    b->references = 1;
    watch_begin(a, b);
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
    watch_use(a, b, b->is_findable);
}

void block_release(block_allocator *a, uint32_t block)
{
    struct block *b = block_at(a, block);
    CHECK(b->references > 0);
    if (--b->references > 0)
        return;
    a->tokens_used -= b->filled;
    watch_use(a, b, false);
    if (!b->is_findable || b->pinned_until_ns <= a->now_ns)
        unpin(a, b);
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

bool block_pin(block_allocator *a, uint32_t block, uint64_t until_ns)
{
    struct block *b = block_at(a, block);
    CHECK(b->references > 0 && b->is_findable);
    if (until_ns <= b->pinned_until_ns || until_ns <= a->now_ns)
        return true;
    if (b->pinned_until_ns == 0) {
        if (a->pinned_count >= a->pinned_max)
            end_pins(a);
        if (a->pinned_count >= a->pinned_max)
            return false;
        a->pinned_count++;
    }
    b->pinned_until_ns = until_ns;
    return true;
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
        .kept = a->unpinned.count + a->pinned.count,
        .referenced = a->count - block_available_count(a),
        .pinned = a->pinned_count,
        .tokens_used = a->tokens_used,
    };
}

uint32_t block_available_count(const block_allocator *a)
{
    return a->free_count + a->unpinned.count + a->pinned.count;
}

static bool free_list_is_consistent(const block_allocator *a)
{
    uint32_t count = 0;
    for (uint32_t i = a->free_head; i != BLOCK_NONE; i = a->blocks[i].next) {
        const struct block *b = &a->blocks[i];
        if (i >= a->count || b->references != 0 || b->is_findable || b->filled != 0 ||
            b->pinned_until_ns != 0)
            return false;
        if (++count > a->free_count)
            return false;
    }
    return count == a->free_count;
}

static bool kept_list_is_consistent(const block_allocator *a, const struct kept_list *list,
                                    bool is_pinned)
{
    uint32_t count = 0;
    uint32_t previous = BLOCK_NONE;
    for (uint32_t i = list->oldest; i != BLOCK_NONE; i = a->blocks[i].next) {
        const struct block *b = &a->blocks[i];
        if (i >= a->count || b->references != 0 || !b->is_findable || b->filled != BLOCK_TOKENS ||
            (b->pinned_until_ns != 0) != is_pinned)
            return false;
        if (is_pinned && b->pinned_until_ns < a->pin_ends_ns)
            return false;
        if (b->previous != previous || ++count > list->count)
            return false;
        previous = i;
    }
    return count == list->count && previous == list->newest;
}

bool block_allocator_is_consistent(const block_allocator *a)
{
    uint32_t referenced = 0, pinned = 0;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        pinned += a->blocks[i].pinned_until_ns != 0;
        if (a->blocks[i].references > 0) {
            referenced++;
            tokens += a->blocks[i].filled;
        }
    }
    return free_list_is_consistent(a) && kept_list_is_consistent(a, &a->unpinned, false) &&
           kept_list_is_consistent(a, &a->pinned, true) && tokens == a->tokens_used &&
           pinned == a->pinned_count && pinned <= a->pinned_max &&
           referenced + block_available_count(a) == a->count;
}
