#ifndef PENSTOCK_OBSERVE_CELL_RING_H
#define PENSTOCK_OBSERVE_CELL_RING_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Bounded queue of plain structs from one thread to one other: they are copied into cells that are there from the start, so
 * that a loop neither allocates nor waits. Full is an answer to the sender. */
struct cell_ring;

/* STATUS_OK, STATUS_NO_MEMORY. Memory is taken as cells are used for the first time. */
NODISCARD status cell_ring_create(size_t cell_bytes, uint32_t count, struct cell_ring **out);
void cell_ring_destroy(struct cell_ring *ring); /* accepts NULL */

/* Copies `cell` in. STATUS_OK, STATUS_FULL. The sender's thread. */
NODISCARD status cell_ring_put(struct cell_ring *ring, const void *cell);

/* The oldest one, which stays until cell_ring_drop; NULL: there is none. The reader's thread. */
const void *cell_ring_front(struct cell_ring *ring);
void cell_ring_drop(struct cell_ring *ring);

/* Approximate; either thread. */
uint32_t cell_ring_count(const struct cell_ring *ring);

#endif
