#ifndef PENSTOCK_BASE_MEMORY_H
#define PENSTOCK_BASE_MEMORY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The only door to the heap for our own code, so that the alloc guard (check.h) sees every
 * allocation. Any thread. Each returns NULL when memory is out or the size overflows; a size of 0
 * gives a unique pointer. */

#define CACHE_LINE_BYTES 64u

/* Not zeroed. */
void *memory_allocate(size_t bytes);
/* Zeroed array. */
void *memory_allocate_array(size_t count, size_t item_bytes);
/* Not zeroed; `alignment` is a power of two >= sizeof(void *). */
void *memory_allocate_aligned(size_t alignment, size_t bytes);
/* Like realloc: on NULL the old block is unchanged. Not for aligned blocks above 16. */
void *memory_resize(void *block, size_t bytes);
/* Frees what any of the above gave; NULL is fine. Allowed under the alloc guard. */
void memory_release(void *block);

#ifdef __cplusplus
}
#endif

#endif
