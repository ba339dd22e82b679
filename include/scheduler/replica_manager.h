#ifndef PENSTOCK_SCHEDULER_REPLICA_MANAGER_H
#define PENSTOCK_SCHEDULER_REPLICA_MANAGER_H

#include "replica.h"
#include "status.h"

/* Keeps a set of replicas in the state they should be in: owns their state machines, does the
 * actions through a driver, and knows when it must be woken next. The driver is the one place that
 * knows what a replica is made of; the gateway's (gateway/edge/control.c) has it placed on the pool.
 *
 * Thread: one owner; the driver's functions are called on it, from within the functions below. */
typedef struct replica_manager replica_manager;

struct replica_driver {
    /* Has replica `id` placed and started; REPLICA_PLACED follows. On anything but STATUS_OK no process exists. */
    status (*start)(void *context, uint32_t id, uint32_t generation);
    /* Asks it to finish and end. */
    void (*drain)(void *context, uint32_t id);
    /* It sleeps from now on, as soon as it has nothing to do; it is awake again. */
    void (*sleep)(void *context, uint32_t id);
    void (*wake)(void *context, uint32_t id);
    /* Ends it. replica_manager_event(REPLICA_ENDED) must follow when it is gone. */
    void (*kill)(void *context, uint32_t id);
    /* Told after every change of state; the replica's fields may be read, the manager must not be
     * called. */
    void (*changed)(void *context, uint32_t id, const struct replica *replica,
                    enum replica_state before);
    void *context;
};

#define REPLICA_MANAGER_COUNT_MAX 4096u

/* `count` replicas, 1..REPLICA_MANAGER_COUNT_MAX, all stopped. `driver` is copied. STATUS_OK,
 * STATUS_NO_MEMORY. */
NODISCARD status replica_manager_create(uint32_t count, const struct replica_policy *policy,
                                        const struct replica_driver *driver, uint64_t seed,
                                        uint64_t now_ns, replica_manager **out);
void replica_manager_destroy(replica_manager *manager); /* accepts NULL; leaves processes alone */

/* Hands an event to one replica and does what follows from it. */
void replica_manager_event(replica_manager *manager, uint32_t id, enum replica_event event,
                           uint64_t now_ns);

/* The replica must be gone by then (replica_leave). */
void replica_manager_leave(replica_manager *manager, uint32_t id, uint64_t by_ns, uint64_t now_ns);

/* Does what is due, and returns when to call again at the latest; UINT64_MAX: only after an event.
 */
uint64_t replica_manager_tick(replica_manager *manager, uint64_t now_ns);

/* A new drain time-out (reload). */
void replica_manager_set_drain_timeout(replica_manager *manager, uint64_t drain_timeout_ns);

const struct replica *replica_manager_get(const replica_manager *manager, uint32_t id);

#endif
