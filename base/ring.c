#include "ring.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "spin.h"

/* Vyukov's bounded queue (1024cores.net, "Bounded MPMC queue"). Cell i begins with turn i. A sender
 * that claims position p waits for nobody: if cell p mod n shows turn p the cell is free, the
 * sender takes p by compare-and-swap on `tail`, writes the item and publishes turn p+1. A reader at
 * position p takes a cell that shows p+1 and hands it back with turn p+n, the next lap's p. A turn
 * that lags means full (sender) or empty (reader).
 *
 *      tail ->  |turn 8 |turn 9 |turn 6'|turn 7'|      ' = filled, n = 4, head = 5
 *
 * Pairings: the sender's release store of turn p+1 pairs with the reader's acquire load (item
 * visible); the reader's release store of turn p+n pairs with the next lap's sender's acquire load
 * (item read before it is overwritten). `tail` and `head` themselves order nothing and are relaxed.
 *
 * Why not a linked list with an exchange (also by Vyukov): it has no bound, and bounds are how
 * overload is seen. */

struct ring_cell {
    _Atomic size_t turn;
    void *item; /* borrowed; guarded by turn */
};

struct ring {
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t tail; /* senders */
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t head; /* readers */
    _Alignas(CACHE_LINE_BYTES) size_t mask;         /* cells - 1; fixed */
    struct ring_cell *cells;                        /* owned; fixed */
};

status ring_create(size_t count_max, ring **out)
{
    CHECK(count_max > 0);
    if (count_max > SIZE_MAX / 4 / sizeof(struct ring_cell))
        return STATUS_NO_MEMORY;
    /* At least two cells: with one, "filled" (turn 1) and "free for the next lap" (turn 1) would
     * look the same. */
    size_t count = 2;
    while (count < count_max)
        count *= 2;
    ring *r = memory_allocate_aligned(CACHE_LINE_BYTES, sizeof *r);
    struct ring_cell *cells = memory_allocate_aligned(CACHE_LINE_BYTES, count * sizeof *cells);
    if (r == NULL || cells == NULL) {
        memory_release(cells);
        memory_release(r);
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        atomic_init(&cells[i].turn, i);
        cells[i].item = NULL;
    }
    atomic_init(&r->tail, 0);
    atomic_init(&r->head, 0);
    r->mask = count - 1;
    r->cells = cells;
    *out = r;
    return STATUS_OK;
}

void ring_destroy(ring *r)
{
    if (r == NULL)
        return;
    memory_release(r->cells);
    memory_release(r);
}

status ring_push(ring *r, void *item)
{
    CHECK(item != NULL);
    size_t position = atomic_load_explicit(&r->tail, memory_order_relaxed);
    for (;;) {
        struct ring_cell *cell = &r->cells[position & r->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        ptrdiff_t ahead = (ptrdiff_t)(turn - position);
        if (ahead < 0)
            return STATUS_FULL;
        if (ahead > 0) { /* another sender took this position */
            position = atomic_load_explicit(&r->tail, memory_order_relaxed);
            continue;
        }
        if (atomic_compare_exchange_weak_explicit(&r->tail, &position, position + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            cell->item = item;
            atomic_store_explicit(&cell->turn, position + 1, memory_order_release);
            return STATUS_OK;
        }
    }
}

/* Reads the filled cell at `position` and hands it to the next lap. */
static void *cell_take(ring *r, struct ring_cell *cell, size_t position)
{
    void *item = cell->item;
    atomic_store_explicit(&cell->turn, position + r->mask + 1, memory_order_release);
    return item;
}

void *ring_pop(ring *r)
{
    size_t position = atomic_load_explicit(&r->head, memory_order_relaxed);
    struct ring_cell *cell = &r->cells[position & r->mask];
    if (atomic_load_explicit(&cell->turn, memory_order_acquire) != position + 1)
        return NULL;
    atomic_store_explicit(&r->head, position + 1, memory_order_relaxed);
    return cell_take(r, cell, position);
}

void *ring_pop_shared(ring *r)
{
    size_t position = atomic_load_explicit(&r->head, memory_order_relaxed);
    for (;;) {
        struct ring_cell *cell = &r->cells[position & r->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        ptrdiff_t ahead = (ptrdiff_t)(turn - (position + 1));
        if (ahead < 0)
            return NULL;
        if (ahead > 0) { /* another reader took this position */
            position = atomic_load_explicit(&r->head, memory_order_relaxed);
            continue;
        }
        if (atomic_compare_exchange_weak_explicit(&r->head, &position, position + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return cell_take(r, cell, position);
    }
}

size_t ring_count(const ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    ptrdiff_t count = (ptrdiff_t)(tail - head);
    if (count < 0) /* head was read before it moved on */
        return 0;
    return (size_t)count <= r->mask + 1 ? (size_t)count : r->mask + 1;
}

/* Parking. A consumer announces itself (sleepers), reads the epoch, looks at its ring once more,
 * and sleeps only while the epoch has not moved. A sender pushes, moves the epoch, then looks for
 * sleepers. Both sides write one word and then read the other's, so both need sequential
 * consistency: at least one of them sees the other. If the sender sees no sleeper, the consumer's
 * read of the epoch comes later, and with it (release, acquire) the pushed item. */

uint32_t parking_prepare(struct parking *p)
{
    atomic_fetch_add_explicit(&p->sleepers, 1, memory_order_seq_cst);
    return atomic_load_explicit(&p->epoch, memory_order_seq_cst);
}

void parking_cancel(struct parking *p)
{
    atomic_fetch_sub_explicit(&p->sleepers, 1, memory_order_relaxed);
}

void parking_wait(struct parking *p, uint32_t ticket, uint64_t timeout_ns)
{
    struct timespec timeout;
    const struct timespec *limit = NULL;
    if (timeout_ns != UINT64_MAX) {
        timeout.tv_sec = (time_t)(timeout_ns / NS_PER_SECOND);
        timeout.tv_nsec = (long)(timeout_ns % NS_PER_SECOND);
        limit = &timeout;
    }
    long rc = syscall(SYS_futex, &p->epoch, FUTEX_WAIT_PRIVATE, ticket, limit, NULL, 0);
    CHECK(rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT);
    atomic_fetch_sub_explicit(&p->sleepers, 1, memory_order_relaxed);
}

void parking_signal(struct parking *p)
{
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&p->sleepers, memory_order_seq_cst) == 0)
        return;
    long rc = syscall(SYS_futex, &p->epoch, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    CHECK(rc >= 0);
}

void parking_spin_until(struct parking *p, bool (*is_over)(void *context), void *context)
{
    uint64_t deadline_ns = clock_now_ns() + SPIN_NS;
    for (uint32_t spins = 1; !is_over(context); spins++) {
        if (spins % SPINS_PER_CLOCK != 0 || clock_now_ns() <= deadline_ns) {
            __builtin_ia32_pause();
            continue;
        }
        uint32_t ticket = parking_prepare(p);
        if (is_over(context))
            parking_cancel(p);
        else
            parking_wait(p, ticket, UINT64_MAX);
    }
}
