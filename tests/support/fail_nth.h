#ifndef PENSTOCK_TESTS_FAIL_NTH_H
#define PENSTOCK_TESTS_FAIL_NTH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* Makes the n-th allocation of this thread fail. The test names the functions in its first lines:
 *   WRAP: malloc calloc realloc aligned_alloc
 * and runs its subject with n = 1, 2, 3, ... until an attempt meets no failure any more:
 *   for (fail_nth_begin(1); ...; fail_nth_begin(++n)) { status s = subject(); if (!fail_nth_end())
 * break; } Per thread, because other threads' allocations are not the test's business. */

static _Thread_local unsigned long fail_nth_left; /* 0: off */
static _Thread_local bool fail_nth_hit;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

static inline void fail_nth_begin(unsigned long n)
{
    fail_nth_left = n;
    fail_nth_hit = false;
}

/* Was there a failure since begin? Switches failing off. */
static inline bool fail_nth_end(void)
{
    fail_nth_left = 0;
    return fail_nth_hit;
}

static inline bool fail_nth_now(void)
{
    if (fail_nth_left == 0 || --fail_nth_left > 0)
        return false;
    fail_nth_hit = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return fail_nth_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fail_nth_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return fail_nth_now() ? NULL : __real_realloc(block, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fail_nth_now() ? NULL : __real_aligned_alloc(alignment, bytes);
}

#endif
