#ifndef PENSTOCK_ENGINE_KV_BLOCK_ALLOCATOR_H
#define PENSTOCK_ENGINE_KV_BLOCK_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Hands out the physical blocks of the KV cache by number. It never touches KV memory: a block is an id, its memory is
 * the backend's. Counted references; a block that nobody references is either free, or kept because the prefix cache
 * can still find it, and then the least recently used one is given up first.
 * A pin is a wish to be kept for a time: pinned blocks are given up after all others.
 * Thread: step. Allocates only in block_allocator_create. Paging: Kwon et al. 2023 (PagedAttention), section 4. */
typedef struct block_allocator block_allocator;

/* Positions in one block. The backend's KV_BLOCK_TOKENS is the same number (asserted where the two meet). */
#define BLOCK_TOKENS 16u
#define BLOCK_NONE   UINT32_MAX

/* Told when a kept block is given up, before it is handed out again: the prefix cache forgets it. */
typedef void block_evict_fn(void *context, uint32_t block);

/* `block_count`: 1 .. BLOCK_NONE - 1. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status block_allocator_create(uint32_t block_count, block_allocator **out);
/* Accepts NULL. */
void block_allocator_destroy(block_allocator *a);
void block_allocator_set_evict(block_allocator *a, block_evict_fn *evict, void *context);
/* Blocks that may be pinned at a time; 0, at first: none. */
void block_allocator_set_pinned_max(block_allocator *a, uint32_t count_max);
/* The time that pins are compared with; it never goes back. */
void block_allocator_set_now(block_allocator *a, uint64_t now_ns);

/* A block with one reference, the caller's: a free one, else the least recently used of the kept ones, of those that are
 * not pinned while there are some.
 * STATUS_NO_MEMORY: every block is referenced. */
NODISCARD status block_acquire(block_allocator *a, uint32_t *block);
/* Told how blocks live, of one in BLOCK_WATCH_EVERY that are handed out: figures of all would say no more. */
#define BLOCK_WATCH_EVERY 64u
enum block_figure {
    BLOCK_LIFETIME, /* from when it was handed out until it was given up */
    BLOCK_IDLE,     /* from its last release until it was given up */
    BLOCK_REUSE_GAP /* from its last use, a release or a hit, until it was found again */
};
typedef void block_watch_fn(void *context, enum block_figure figure, uint64_t ns);
/* Times are those of block_allocator_set_now. */
void block_allocator_set_watch(block_allocator *a, block_watch_fn *watch, void *context);

/* One more reference to a block that is referenced or kept. */
void block_retain(block_allocator *a, uint32_t block);
/* Gives one reference back. The last one makes the block free, or kept as the most recently used. */
void block_release(block_allocator *a, uint32_t block);

uint32_t block_reference_count(const block_allocator *a, uint32_t block);

/* Says that the prefix cache can find this block, or no longer can. Of a referenced block only. */
void block_set_findable(block_allocator *a, uint32_t block, bool is_findable);
bool block_is_findable(const block_allocator *a, uint32_t block);

/* Pins a findable block, of which the caller holds a reference, until this time, or for as long as it is pinned already. False:
 * as many as may be are pinned, and the block stays as it is. */
bool block_pin(block_allocator *a, uint32_t block, uint64_t until_ns);

/* Says that the first `tokens` positions hold computed KV. Only grows while the block is referenced. */
void block_set_filled(block_allocator *a, uint32_t block, uint32_t tokens);

struct block_counts {
    uint32_t total;
    uint32_t free;        /* hold nothing */
    uint32_t kept;        /* unreferenced, but findable by prefix */
    uint32_t referenced;  /* total - free - kept */
    uint32_t pinned;      /* kept or referenced; some of them may be past their time */
    uint64_t tokens_used; /* computed positions in referenced blocks, shared ones counted once */
};
struct block_counts block_allocator_counts(const block_allocator *a);
/* How many block_acquire calls would succeed now: free + kept. */
uint32_t block_available_count(const block_allocator *a);

/* Gives up all kept blocks, pinned ones too; the free ones are then handed out in their order, as at first. No block may be
 * referenced. */
void block_allocator_forget(block_allocator *a);

/* Walks everything and compares it with the counts. For tests, fuzzing and debug builds: linear time. */
bool block_allocator_is_consistent(const block_allocator *a);

#endif
