#ifndef PENSTOCK_KERNELS_CPU_HUGE_ARENA_H
#define PENSTOCK_KERNELS_CPU_HUGE_ARENA_H

#include <stddef.h>

/* Weights side by side on huge pages. A model has hundreds of matrices of less than a megabyte,
 * each read once a token: in one run of 2 MiB pages they cost few TLB misses and stay in the order
 * they were made. Slabs of 32 MiB are filled from the front; a slab goes back when the last piece
 * in it is released. Owned by the step thread. */
struct huge_slab;

struct huge_arena {
    struct huge_slab *newest; /* counted by its pieces and by being the newest */
};

/* 64-byte aligned, content undefined, pages not yet touched. NULL when memory is out. */
void *huge_arena_allocate(struct huge_arena *arena, size_t bytes, struct huge_slab **owner);
void huge_arena_release(struct huge_arena *arena, struct huge_slab *owner);

/* Every piece must have been released. */
void huge_arena_deinit(struct huge_arena *arena);

/* Large memory outside a slab: aligned and advised for huge pages from 2 MiB up. Release with
 * memory_release. */
void *huge_allocate(size_t bytes);
/* The pages that lie wholly in it go back to the system, until they are written to; what they held is lost. */
void huge_discard(void *memory, size_t bytes);

#endif
