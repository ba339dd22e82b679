#ifndef PENSTOCK_FAIL_ALLOCATION_TESTING_H
#define PENSTOCK_FAIL_ALLOCATION_TESTING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "memory.h"

/* The n-th allocation fails, whichever thread it is of, and all behind it. The test's first line is
 *   WRAP: memory_allocate memory_allocate_array memory_allocate_aligned */

static _Atomic int64_t allocations_left = INT64_MAX;

static inline bool may_allocate(void)
{
    return atomic_fetch_sub(&allocations_left, 1) > 0;
}

void *__real_memory_allocate(size_t bytes);
void *__real_memory_allocate_array(size_t count, size_t item_bytes);
void *__real_memory_allocate_aligned(size_t alignment, size_t bytes);
void *__wrap_memory_allocate(size_t bytes);
void *__wrap_memory_allocate_array(size_t count, size_t item_bytes);
void *__wrap_memory_allocate_aligned(size_t alignment, size_t bytes);

void *__wrap_memory_allocate(size_t bytes)
{
    return may_allocate() ? __real_memory_allocate(bytes) : NULL;
}

void *__wrap_memory_allocate_array(size_t count, size_t item_bytes)
{
    return may_allocate() ? __real_memory_allocate_array(count, item_bytes) : NULL;
}

void *__wrap_memory_allocate_aligned(size_t alignment, size_t bytes)
{
    return may_allocate() ? __real_memory_allocate_aligned(alignment, bytes) : NULL;
}

#endif
