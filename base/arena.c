#include "arena.h"

#include <stdint.h>

#include "memory.h"

/* A list of chunks, newest first; allocation bumps an offset in the newest. A chunk is never moved,
 * so pointers stay good until reset or destroy. What does not fit the rest of the newest chunk
 * starts another one, and the rest is lost: with doubling that is at most half of what the arena
 * holds. Chunks come zeroed from the system and are handed out once, so zeroing costs nothing but
 * on reset. */

#define ARENA_FIRST_CHUNK_BYTES 4096u
#define ARENA_ALIGNMENT         16u

struct arena_chunk {
    struct arena_chunk *older; /* owned */
    size_t bytes;              /* of data */
    size_t used;
    _Alignas(ARENA_ALIGNMENT) char data[];
};

struct arena {
    struct arena_chunk *newest; /* owned; NULL before the first allocation */
    size_t bytes;               /* sum of the chunks' bytes */
    size_t bytes_max;
};

status arena_create(size_t bytes_max, arena **out)
{
    arena *a = memory_allocate_array(1, sizeof *a);
    if (a == NULL)
        return STATUS_NO_MEMORY;
    a->bytes_max = bytes_max;
    *out = a;
    return STATUS_OK;
}

void arena_destroy(arena *a)
{
    if (a == NULL)
        return;
    for (struct arena_chunk *chunk = a->newest; chunk != NULL;) {
        struct arena_chunk *older = chunk->older;
        memory_release(chunk);
        chunk = older;
    }
    memory_release(a);
}

static struct arena_chunk *chunk_add(arena *a, size_t bytes)
{
    size_t room = a->bytes_max - a->bytes;
    if (bytes > room || bytes > SIZE_MAX - sizeof(struct arena_chunk))
        return NULL;
    size_t wanted = ARENA_FIRST_CHUNK_BYTES;
    if (a->newest != NULL && a->newest->bytes <= SIZE_MAX / 4)
        wanted = a->newest->bytes * 2;
    if (wanted > room)
        wanted = room;
    if (wanted < bytes)
        wanted = bytes;
    struct arena_chunk *chunk = memory_allocate_array(1, sizeof *chunk + wanted);
    if (chunk == NULL)
        return NULL;
    chunk->bytes = wanted;
    chunk->older = a->newest;
    a->newest = chunk;
    a->bytes += wanted;
    return chunk;
}

void *arena_allocate(arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ARENA_ALIGNMENT)
        return NULL;
    size_t whole = (bytes + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (whole == 0)
        whole = ARENA_ALIGNMENT;
    struct arena_chunk *chunk = a->newest;
    if (chunk == NULL || whole > chunk->bytes - chunk->used)
        chunk = chunk_add(a, whole);
    if (chunk == NULL)
        return NULL;
    void *block = chunk->data + chunk->used;
    chunk->used += whole;
    return block;
}

void *arena_allocate_array(arena *a, size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        return NULL;
    return arena_allocate(a, bytes);
}

char *arena_copy_text(arena *a, const char *text, size_t bytes)
{
    if (bytes == SIZE_MAX)
        return NULL;
    char *copy = arena_allocate(a, bytes + 1);
    if (copy != NULL && bytes > 0)
        memcpy(copy, text, bytes);
    return copy;
}

void arena_reset(arena *a)
{
    struct arena_chunk *chunk = a->newest;
    if (chunk == NULL)
        return;
    while (chunk->older != NULL) {
        struct arena_chunk *older = chunk->older;
        memory_release(chunk);
        chunk = older;
    }
    memset(chunk->data, 0, chunk->used);
    chunk->used = 0;
    a->newest = chunk;
    a->bytes = chunk->bytes;
}

size_t arena_bytes(const arena *a)
{
    return a->bytes;
}
