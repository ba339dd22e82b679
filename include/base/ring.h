#ifndef PENSTOCK_BASE_RING_H
#define PENSTOCK_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Bounded queue of pointers: many producers, one consumer, no lock (Vyukov's bounded MPMC queue
 * with a single reader: each cell carries a sequence number that says whose turn it is). Full is a
 * status to the sender. */
typedef struct ring ring;

/* `count_max` is rounded up to a power of two. */
NODISCARD status ring_create(size_t count_max, ring **out);
void ring_destroy(ring *r);

/* Any thread. STATUS_OK or STATUS_FULL. */
NODISCARD status ring_push(ring *r, void *item);

/* Consumer thread only. NULL when empty. */
void *ring_pop(ring *r);

/* The same for a ring with several readers (a free list); a ring uses one of the two kinds of pop
 * only. */
void *ring_pop_shared(ring *r);

/* Approximate; for metrics and for deciding whether to sleep. */
size_t ring_count(const ring *r);

/* Parking place of a consumer: it looks at its ring, and sleeps only if no one has signalled since
 * it last looked. eventcount pattern over futex; signal is a system call only when somebody sleeps.
 */
struct parking {
    _Atomic uint32_t epoch;
    _Atomic uint32_t sleepers;
};

/* usage: ticket = parking_prepare(p); if (still nothing to do) parking_wait(p, ticket, timeout_ns);
 * else parking_cancel(p). */
uint32_t parking_prepare(struct parking *p);
void parking_cancel(struct parking *p);
/* Sleeps until a signal after prepare or the time-out (UINT64_MAX: none). May return early. */
void parking_wait(struct parking *p, uint32_t ticket, uint64_t timeout_ns);
void parking_signal(struct parking *p);

/* Waits until is_over(context), which others make true before they signal. First spins for some 100 us, longer than threads of
 * one step are apart: for those who have nothing else to do and are waited for in turn. is_over must read with acquire order what
 * it is about. */
void parking_spin_until(struct parking *p, bool (*is_over)(void *context), void *context);

#endif
