#ifndef PENSTOCK_BASE_ARENA_H
#define PENSTOCK_BASE_ARENA_H

#include <stddef.h>

#include "status.h"
#include "text_slice.h"

/* Memory of one request or one load: many allocations, one free. Chunks double from 4 KiB; the whole has a
 * ceiling. Owned by one thread at a time. Allocations are 16-byte aligned and zeroed. */
typedef struct arena arena;

NODISCARD status arena_create(size_t bytes_max, arena **out);
void arena_destroy(arena *a);

/* NULL at the ceiling or when memory is out; the arena stays usable. */
void *arena_allocate(arena *a, size_t bytes);
void *arena_allocate_array(arena *a, size_t count, size_t item_bytes);

/* Copies with a terminating NUL. NULL as above. */
char *arena_copy_text(arena *a, const char *text, size_t bytes);

/* Frees everything but the first chunk. */
void arena_reset(arena *a);
size_t arena_bytes(const arena *a);

#endif
