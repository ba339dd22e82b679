#ifndef PENSTOCK_EDGE_REPLICA_GUARD_H
#define PENSTOCK_EDGE_REPLICA_GUARD_H

#include <pthread.h>
#include <stdatomic.h>

#include "breaker.h"
#include "config.h"

/* Whether a ready replica should be sent requests: its circuit breaker, shared by all loops, and
 * whether its steps stand still. While all is well it costs a look at two words. Any thread. */

struct replica_guard {
    pthread_mutex_t lock;
    struct breaker breaker;            /* under the lock */
    _Atomic bool is_watched;           /* the breaker has something to remember */
    _Atomic uint64_t blocked_until_ns; /* breaker_open_until_ns */
    _Atomic bool is_stalled;           /* the control thread's word */
    /* On another machine, and a connection to it has broken: it is gone, until it reports again */
    _Atomic bool is_doubted;
};

void replica_guard_init(struct replica_guard *guard);
void replica_guard_deinit(struct replica_guard *guard);
/* A new process: what its predecessor did says nothing. */
void replica_guard_reset(struct replica_guard *guard);

struct breaker_policy replica_guard_policy(const struct config *config);

/* Whether it may be picked. */
static inline bool replica_guard_is_open(const struct replica_guard *guard, uint64_t now_ns)
{
    return atomic_load_explicit(&guard->blocked_until_ns, memory_order_relaxed) <= now_ns &&
           !atomic_load_explicit(&guard->is_stalled, memory_order_relaxed) &&
           !atomic_load_explicit(&guard->is_doubted, memory_order_relaxed);
}

/* Whether it gets its full share of requests. */
static inline bool replica_guard_is_whole(const struct replica_guard *guard)
{
    return atomic_load_explicit(&guard->blocked_until_ns, memory_order_relaxed) == 0 &&
           !atomic_load_explicit(&guard->is_stalled, memory_order_relaxed) &&
           !atomic_load_explicit(&guard->is_doubted, memory_order_relaxed);
}

/* Before a request is sent; false: another loop has just taken the only trial. Every true has its
 * replica_guard_end, which returns whether the breaker has opened or closed. */
bool replica_guard_begin(struct replica_guard *guard, uint64_t now_ns, bool *is_trial);
bool replica_guard_end(struct replica_guard *guard, const struct breaker_policy *policy,
                       enum breaker_outcome outcome, bool is_trial, uint64_t now_ns);

enum breaker_state replica_guard_state(struct replica_guard *guard);
/* "closed", "open" or "trying". */
const char *replica_guard_state_name(struct replica_guard *guard);

#endif
