#ifndef PENSTOCK_EDGE_CONTROL_INTERNAL_H
#define PENSTOCK_EDGE_CONTROL_INTERNAL_H

#include <semaphore.h>

#include "clock.h"
#include "control.h"
#include "control_question.h"
#include "history_sample.h"
#include "model_slices.h"
#include "pool_members.h"
#include "pool_metrics.h"
#include "replica_manager.h"
#include "replica_order.h"
#include "replica_probe.h"
#include "rollout_control.h"
#include "scaling.h"

/* The control thread's state, in several files: control.c turns, control_slots.c stands between the replica manager and the pool,
 * control_probe.c asks replicas how they are, control_life.c has what other threads call. */

/* A place for a replica of a model. What is in it is one replica at a time, each with a uid of its own. */
struct control_slot {
    struct edge_replica *replica;
    struct replica_probe probe; /* of one on this machine */
    uint64_t probe_next_ns;
    enum probe_request
        order; /* that it is still to be told: PROBE_SLEEP or PROBE_WAKE; else PROBE_READINESS */
    enum probe_request asked;         /* of the probe under way */
    uint64_t uid;                     /* of what is wanted or there; 0: nothing */
    bool is_here;                     /* it is a process of this machine */
    enum member_phase phase;          /* as its member has told last */
    uint64_t leave_by_ns;             /* it must be gone by then; UINT64_MAX: it may stay */
    uint64_t leave_since_ns;          /* when that was told */
    struct control_process inherited; /* until it is adopted; pid_fd -1: none */
    bool is_adopted;                  /* its address was the gateway's before this one */
    bool is_released;                 /* the next gateway's */
    _Atomic int32_t release_pid;      /* set by main, then the eventfd; 0: nothing is asked */
    _Atomic uint64_t answered_uid;    /* set by whoever hears of it; 0: nothing new */
};

struct control {
    struct edge *edge;
    struct replica_order_texts texts;
    replica_manager *manager;
    struct replica_fleet *fleet;
    struct pool_members members;
    struct model_slices *slices;    /* owned; [edge->model_count] */
    struct model_scaling *scalings; /* owned; [edge->model_count] */
    struct model_rollout *rollouts; /* owned; [edge->model_count] */
    struct replica_order_memory order_memory;
    struct control_questions questions;
    struct pool_metrics pool_metrics;
    uint64_t pool_metrics_ns; /* when they are set next */
    struct history_sample history_sample;
    uint64_t stall_timeout_ns;
    struct control_slot *slots; /* owned; [edge->replica_count] */
    int epoll_fd, wake_fd;
    bool has_changed; /* a slot's state, in this turn */
    uint64_t
        end_by_ns; /* the thread ends then, whatever is left elsewhere; UINT64_MAX: it was not asked to */
    pthread_t thread;
    _Atomic bool is_stopping;                 /* set by main, then the eventfd */
    _Atomic bool has_reload;                  /* set by main, then the eventfd */
    _Atomic(struct control_process *) wanted; /* where main waits for processes; then the eventfd */
    sem_t wanted_done;
    _Atomic bool is_owner;             /* of the addresses of adopted replicas */
    _Atomic uint64_t drain_timeout_ns; /* set by main, then the eventfd */
    _Atomic uint64_t last_turn_ns;     /* relaxed: only its age matters */
};

/* Neither the next gateway's, nor still that of the one before. */
static inline bool control_slot_is_ours(const struct control *control,
                                        const struct control_slot *slot)
{
    return !slot->is_released &&
           (!slot->is_adopted || atomic_load_explicit(&control->is_owner, memory_order_acquire));
}

/* For the manager and the fleet. */
extern const struct replica_driver control_slot_driver;
extern const struct replica_fleet_events control_slot_events;

/* Something has begun to be slower than it should be; returns when to look again. */
uint64_t control_probe_tick(struct control *control, uint32_t id, uint64_t now_ns);
void control_probe_end(struct control *control, uint32_t id, uint64_t now_ns);

/* Processes of this machine, for the next gateway. */
void control_slots_tell(const struct control *control, struct control_process *out);
void control_slots_release(struct control *control);
void control_slots_reload(struct control *control);

/* A draining replica that has not ended by itself is killed so long after its time. */
#define CONTROL_KILL_GRACE_NS (2 * NS_PER_SECOND)

#define CONTROL_WATCH_WAKE UINT64_MAX /* in epoll's data; else a slot's number: its probe */
bool control_watch_add(const struct control *control, int descriptor, uint64_t data);

/* The pool's gauges, once a second; returns when they are due next. */
uint64_t control_pool_metrics_tick(struct control *control, uint64_t now_ns);

/* The thread. */
void *control_run(void *context);

#endif
