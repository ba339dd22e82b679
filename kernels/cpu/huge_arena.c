#include "huge_arena.h"

#include <stdint.h>
#include <sys/mman.h>

#include "check.h"
#include "memory.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define PAGE_BYTES      ((size_t)4096) /* the smallest there is on x86 */
#define SLAB_BYTES      ((size_t)32 << 20)
#define PIECE_ALIGNMENT ((size_t)64)

struct huge_slab {
    uint8_t *data; /* owned */
    size_t capacity;
    size_t used;
    size_t piece_count; /* pieces not yet released */
};

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

void *huge_allocate(size_t bytes)
{
    if (bytes > SIZE_MAX - HUGE_PAGE_BYTES)
        return NULL;
    if (bytes < HUGE_PAGE_BYTES)
        return memory_allocate_aligned(PIECE_ALIGNMENT, round_up(bytes, PIECE_ALIGNMENT));
    size_t rounded = round_up(bytes, HUGE_PAGE_BYTES);
    void *memory = memory_allocate_aligned(HUGE_PAGE_BYTES, rounded);
    if (memory != NULL)
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* only speed depends on it */
    return memory;
}

void huge_discard(void *memory, size_t bytes)
{
    uintptr_t first = round_up((uintptr_t)memory, PAGE_BYTES);
    uintptr_t end = ((uintptr_t)memory + bytes) / PAGE_BYTES * PAGE_BYTES;
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

static struct huge_slab *slab_create(size_t bytes)
{
    struct huge_slab *slab = memory_allocate_array(1, sizeof(*slab));
    if (slab == NULL)
        return NULL;
    slab->capacity = bytes > SLAB_BYTES ? bytes : SLAB_BYTES;
    slab->data = huge_allocate(slab->capacity);
    if (slab->data == NULL) {
        memory_release(slab);
        return NULL;
    }
    return slab;
}

static void slab_destroy(struct huge_slab *slab)
{
    memory_release(slab->data);
    memory_release(slab);
}

void *huge_arena_allocate(struct huge_arena *arena, size_t bytes, struct huge_slab **owner)
{
    if (bytes > SIZE_MAX - PIECE_ALIGNMENT)
        return NULL;
    bytes = round_up(bytes, PIECE_ALIGNMENT);
    struct huge_slab *slab = arena->newest;
    if (slab == NULL || slab->capacity - slab->used < bytes) {
        slab = slab_create(bytes);
        if (slab == NULL)
            return NULL;
        if (arena->newest != NULL && arena->newest->piece_count == 0)
            slab_destroy(arena->newest);
        arena->newest = slab;
    }
    void *piece = slab->data + slab->used;
    slab->used += bytes;
    slab->piece_count++;
    *owner = slab;
    return piece;
}

void huge_arena_release(struct huge_arena *arena, struct huge_slab *owner)
{
    CHECK(owner->piece_count > 0);
    if (--owner->piece_count > 0)
        return;
    if (owner == arena->newest)
        owner->used = 0;
    else
        slab_destroy(owner);
}

void huge_arena_deinit(struct huge_arena *arena)
{
    if (arena->newest == NULL)
        return;
    CHECK(arena->newest->piece_count == 0);
    slab_destroy(arena->newest);
    arena->newest = NULL;
}
