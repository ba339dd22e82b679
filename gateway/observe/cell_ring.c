#include "cell_ring.h"

#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "memory.h"

struct cell_ring {
    char *cells; /* [count * cell_bytes], owned */
    size_t cell_bytes;
    uint32_t count;
    /* Cells ever written and ever dropped: each is one thread's to change, and the other's to read. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t written;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t dropped;
};

status cell_ring_create(size_t cell_bytes, uint32_t count, struct cell_ring **out)
{
    struct cell_ring *ring = memory_allocate_aligned(CACHE_LINE_BYTES, sizeof(*ring));

    if (ring == NULL)
        return STATUS_NO_MEMORY;
    memset(ring, 0, sizeof(*ring));
    ring->cell_bytes = cell_bytes;
    ring->count = count;
    ring->cells = memory_allocate_array(count, cell_bytes);
    if (ring->cells == NULL) {
        memory_release(ring);
        return STATUS_NO_MEMORY;
    }
    *out = ring;
    return STATUS_OK;
}

void cell_ring_destroy(struct cell_ring *ring)
{
    if (ring == NULL)
        return;
    memory_release(ring->cells);
    memory_release(ring);
}

static char *cell_at(const struct cell_ring *ring, uint64_t number)
{
    return ring->cells + (number % ring->count) * ring->cell_bytes;
}

status cell_ring_put(struct cell_ring *ring, const void *cell)
{
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);

    /* acquire: what the reader read of the cell comes before what we write into it */
    if (written - atomic_load_explicit(&ring->dropped, memory_order_acquire) == ring->count)
        return STATUS_FULL;
    memcpy(cell_at(ring, written), cell, ring->cell_bytes);
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
    return STATUS_OK;
}

const void *cell_ring_front(struct cell_ring *ring)
{
    uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);

    if (atomic_load_explicit(&ring->written, memory_order_acquire) == dropped)
        return NULL;
    return cell_at(ring, dropped);
}

void cell_ring_drop(struct cell_ring *ring)
{
    uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);

    DCHECK(cell_ring_count(ring) > 0);
    atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_release);
}

uint32_t cell_ring_count(const struct cell_ring *ring)
{
    uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_acquire);

    return (uint32_t)(atomic_load_explicit(&ring->written, memory_order_acquire) - dropped);
}
