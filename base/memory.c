#include "memory.h"

#include <stdint.h>
#include <stdlib.h>

#include "check.h"

void *memory_allocate(size_t bytes)
{
    DCHECK(!alloc_guard_is_on());
    return malloc(bytes != 0 ? bytes : 1);
}

void *memory_allocate_array(size_t count, size_t item_bytes)
{
    DCHECK(!alloc_guard_is_on());
    if (count == 0 || item_bytes == 0)
        return calloc(1, 1);
    return calloc(count, item_bytes);
}

void *memory_allocate_aligned(size_t alignment, size_t bytes)
{
    DCHECK(!alloc_guard_is_on());
    CHECK(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    /* C17 wants a multiple of the alignment. */
    if (bytes > SIZE_MAX - alignment)
        return NULL;
    size_t whole = (bytes + alignment - 1) & ~(alignment - 1);
    return aligned_alloc(alignment, whole != 0 ? whole : alignment);
}

void *memory_resize(void *block, size_t bytes)
{
    DCHECK(!alloc_guard_is_on());
    return realloc(block, bytes != 0 ? bytes : 1);
}

void memory_release(void *block)
{
    free(block);
}
