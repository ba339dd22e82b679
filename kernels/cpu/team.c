/* The compute team.
 *
 * A step is some hundred short jobs (5 to 500 us), so handing one out must cost far less than a
 * system call. Each worker has a ticket, a word on a cache line of its own: (job number << 2) |
 * state.
 *
 *     IDLE -> OPEN      step thread: a new job is there
 *     OPEN -> ENTERED   worker, compare-and-swap: it takes part, so the step thread has to wait for
 * it OPEN -> CLOSED    step thread, compare-and-swap: all items are done, this worker came too late
 *     ENTERED -> DONE   worker: it has no piece left in its hands
 *
 * OPEN -> CLOSED is what makes the team usable on shared machines: a worker that the kernel has not
 * scheduled (parked, or pushed aside by another process) costs nothing, because the others take its
 * range and nobody waits for its arrival.
 *
 * Items: member i owns the i-th contiguous range, the same for every job of equal size, so that
 * with first touch at load it reads memory of its own node. Pieces are claimed by fetch-and-add on
 * the range's cursor, first in the own range, then in the others'.
 *
 * Between jobs a worker spins for SPIN_NS (longer than the serial parts inside a step, shorter than
 * a scheduling tick) and then parks on a futex. The parked flag and the ticket are a store-load
 * pair on both sides, hence sequentially consistent: either the worker sees the new ticket, or the
 * step thread sees the flag and wakes it.
 *
 * A team that has as many members as its process has cores keeps one on each. Where a core is busy
 * with something else a worker that parks would be woken on the step thread's core, take turns with
 * it there and never leave again: the scheduler moves only threads that it finds waiting.
 *
 * Why not a barrier: it would wait for the slowest arrival twice a job. */

#include "team.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "spin.h"
#include "thread.h"

enum ticket_state { TICKET_IDLE, TICKET_OPEN, TICKET_ENTERED, TICKET_DONE_OR_CLOSED };

struct member {
    alignas(2 * CACHE_LINE_BYTES) _Atomic uint64_t
        ticket;                 /* two lines: the spatial prefetcher pairs them */
    _Atomic uint32_t is_parked; /* futex word */
    alignas(2 * CACHE_LINE_BYTES) _Atomic uint32_t next; /* cursor of this member's range */
    uint32_t end; /* written before OPEN, read after ENTERED */
    uint32_t index;
    struct team *team; /* borrowed */
    pthread_t thread;
    bool is_started;
};

struct team {
    struct member *members; /* owned; [size], members[0] is the step thread */
    uint32_t size;
    uint64_t job_number; /* step thread */
    cpu_set_t cores;     /* where the step thread might run before; fixed */
    bool is_pinned;      /* fixed before the workers start */
    _Atomic bool is_ending;
    /* The job; written before OPEN, read after ENTERED. */
    team_body *body;
    void *context;
    uint32_t chunk;
};

static void cpu_pause(void)
{
    __builtin_ia32_pause();
}

static void work(struct team *team, uint32_t self)
{
    for (uint32_t i = 0; i < team->size; i++) {
        uint32_t owner = self + i < team->size ? self + i : self + i - team->size;
        struct member *range = &team->members[owner];
        /* Relaxed: a claim only needs to be unique; the job itself was published by the ticket. */
        while (atomic_load_explicit(&range->next, memory_order_relaxed) < range->end) {
            uint32_t first =
                atomic_fetch_add_explicit(&range->next, team->chunk, memory_order_relaxed);
            if (first >= range->end)
                break;
            uint32_t left = range->end - first;
            team->body(team->context, self, first, left < team->chunk ? left : team->chunk);
        }
    }
}

static void park(struct member *me, uint64_t seen)
{
    atomic_store(&me->is_parked, 1);
    if (atomic_load(&me->ticket) == seen && !atomic_load(&me->team->is_ending))
        syscall(SYS_futex, &me->is_parked, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    atomic_store(&me->is_parked, 0);
}

static void unpark(struct member *member)
{
    if (atomic_load(&member->is_parked) != 0 && atomic_exchange(&member->is_parked, 0) != 0)
        syscall(SYS_futex, &member->is_parked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Spins, then parks, until the ticket is OPEN. False when the team ends. */
static bool wait_for_job(struct member *me, uint64_t *ticket)
{
    uint64_t deadline_ns = clock_now_ns() + SPIN_NS;
    for (uint32_t spins = 1;; spins++) {
        *ticket = atomic_load_explicit(&me->ticket, memory_order_acquire); /* pairs with OPEN */
        if ((*ticket & 3) == TICKET_OPEN)
            return true;
        if (atomic_load_explicit(&me->team->is_ending, memory_order_relaxed))
            return false;
        if (spins % SPINS_PER_CLOCK == 0 && clock_now_ns() > deadline_ns) {
            park(me, *ticket);
            deadline_ns = clock_now_ns() + SPIN_NS;
        }
        cpu_pause();
    }
}

/* Keeps the calling thread on the `index`-th of `cores`. Only a hint: without it all works too. */
static void stay_on_core(const cpu_set_t *cores, uint32_t index)
{
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, cores) || index-- > 0)
            continue;
        cpu_set_t mine;
        CPU_ZERO(&mine);
        CPU_SET(core, &mine);
        (void)sched_setaffinity(0, sizeof mine, &mine);
        return;
    }
}

static void *worker_run(void *context)
{
    struct member *me = context;
    uint64_t ticket;
    if (me->team->is_pinned)
        stay_on_core(&me->team->cores, me->index);
    while (wait_for_job(me, &ticket)) {
        uint64_t number = ticket & ~UINT64_C(3);
        if (!atomic_compare_exchange_strong_explicit(&me->ticket, &ticket, number | TICKET_ENTERED,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        work(me->team, me->index);
        /* Release: pairs with the acquire in team_run; the results become visible with it. */
        atomic_store_explicit(&me->ticket, number | TICKET_DONE_OR_CLOSED, memory_order_release);
    }
    return NULL;
}

/* A worker that has entered and not finished is either in its last piece or was descheduled inside
 * it; after a while give it the core, which may be the one we spin on. */
static void wait_until_done(struct member *worker)
{
    for (uint32_t spins = 1;; spins++) {
        uint64_t ticket = atomic_load_explicit(&worker->ticket, memory_order_acquire);
        if ((ticket & 3) == TICKET_DONE_OR_CLOSED)
            return;
        if (spins > 16 * SPINS_PER_CLOCK)
            sched_yield();
        cpu_pause();
    }
}

void team_run(struct team *team, uint32_t count, uint32_t chunk, team_body *body, void *context)
{
    CHECK(chunk > 0 && count <= INT32_MAX);
    if (count == 0)
        return;
    if (team->size == 1 || count <= chunk) {
        body(context, 0, 0, count);
        return;
    }
    team->body = body;
    team->context = context;
    team->chunk = chunk;
    uint64_t number = ++team->job_number << 2;
    for (uint32_t i = 0; i < team->size; i++) {
        struct member *member = &team->members[i];
        uint32_t first = (uint32_t)((uint64_t)count * i / team->size);
        member->end = (uint32_t)((uint64_t)count * (i + 1) / team->size);
        atomic_store_explicit(&member->next, first, memory_order_relaxed);
    }
    for (uint32_t i = 1; i < team->size; i++) {
        atomic_store(&team->members[i].ticket, number | TICKET_OPEN);
        unpark(&team->members[i]);
    }
    work(team, 0);
    for (uint32_t i = 1; i < team->size; i++) {
        uint64_t expected = number | TICKET_OPEN;
        if (!atomic_compare_exchange_strong(&team->members[i].ticket, &expected,
                                            number | TICKET_DONE_OR_CLOSED))
            wait_until_done(&team->members[i]);
    }
}

uint32_t team_size(const struct team *team)
{
    return team->size;
}

status team_create(uint32_t size, struct team **out)
{
    CHECK(size >= 1);
    struct team *team = memory_allocate_array(1, sizeof(*team));
    if (team == NULL)
        return STATUS_NO_MEMORY;
    team->size = size;
    team->members = memory_allocate_aligned(alignof(struct member), size * sizeof(struct member));
    if (team->members == NULL) {
        memory_release(team);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < size; i++)
        team->members[i] = (struct member){.index = i, .team = team};
    team->is_pinned = size > 1 && sched_getaffinity(0, sizeof team->cores, &team->cores) == 0 &&
                      (uint32_t)CPU_COUNT(&team->cores) == size;
    for (uint32_t i = 1; i < size; i++) {
        char name[16];
        snprintf(name, sizeof(name), "compute-%u", i % 10000);
        status result = thread_start(&team->members[i].thread, name, worker_run, &team->members[i]);
        if (result != STATUS_OK) {
            team_destroy(team);
            return result;
        }
        team->members[i].is_started = true;
    }
    if (team->is_pinned) /* last: a new thread starts with the mask of the one that makes it */
        stay_on_core(&team->cores, 0);
    *out = team;
    return STATUS_OK;
}

void team_destroy(struct team *team)
{
    if (team == NULL)
        return;
    atomic_store(&team->is_ending, true);
    if (team->is_pinned)
        (void)sched_setaffinity(0, sizeof team->cores, &team->cores);
    for (uint32_t i = 1; i < team->size; i++) {
        if (!team->members[i].is_started)
            continue;
        unpark(&team->members[i]);
        pthread_join(team->members[i].thread, NULL);
    }
    memory_release(team->members);
    memory_release(team);
}
