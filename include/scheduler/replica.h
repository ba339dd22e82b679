#ifndef PENSTOCK_SCHEDULER_REPLICA_H
#define PENSTOCK_SCHEDULER_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

/* The life of one replica as a pure state machine: events and the time go in, actions come out, and
 * nothing here knows whether the replica is a child process, a pod or a job. The diagram and the
 * reasons stand in scheduler/replica.c.
 *
 * Thread: whoever owns the struct (the gateway's control thread). */

enum replica_state {
    REPLICA_STOPPED,     /* not wanted; nothing runs */
    REPLICA_PLACING,     /* wanted, and waits for a slice and its member */
    REPLICA_STARTING,    /* runs, not ready yet */
    REPLICA_READY,       /* takes requests */
    REPLICA_ASLEEP,      /* runs, takes no requests, is awake in no time */
    REPLICA_DRAINING,    /* finishes what it has, then ends */
    REPLICA_STOPPING,    /* was killed; its end has not been seen yet */
    REPLICA_BACKING_OFF, /* ended unasked; is started again at deadline_ns */
    REPLICA_FAILED, /* crash loop: tried again at the longest wait, but nobody should wait for it */
    REPLICA_STATE_COUNT
};

/* Lower-case name ("backing_off"). Never NULL. */
const char *replica_state_name(enum replica_state state);

enum replica_event {
    REPLICA_WANTED,       /* it should run */
    REPLICA_UNWANTED,     /* it should drain and end */
    REPLICA_REST,         /* it should sleep, if it is ready; wanted again it wakes */
    REPLICA_PLACED,       /* it has its slice, and is being started there */
    REPLICA_START_FAILED, /* the start action could not be done: no process exists */
    REPLICA_ANSWERED,     /* a probe says: ready */
    REPLICA_NOT_READY,    /* a probe was answered, but not with ready; no sign of life either way */
    REPLICA_ENDED,        /* the process is gone, for whatever reason */
    REPLICA_LOST,         /* the process is gone with its slice, which is no fault of its own */
    REPLICA_TICK,         /* nothing but time has passed */
    REPLICA_EVENT_COUNT
};

enum replica_action { /* bits */
                      REPLICA_ACTION_NONE = 0,
                      REPLICA_ACTION_START =
                          1u
                          << 0, /* have it placed and started; REPLICA_START_FAILED when that cannot be done */
                      REPLICA_ACTION_DRAIN = 1u << 1, /* ask it to finish and end (SIGTERM) */
                      REPLICA_ACTION_KILL =
                          1u << 2, /* end it now (SIGKILL); REPLICA_ENDED must follow */
                      REPLICA_ACTION_SLEEP = 1u
                                             << 3, /* put it to sleep, once it has nothing to do */
                      REPLICA_ACTION_WAKE = 1u
                                            << 4, /* wake it; an answer that it is ready follows */
};

struct replica_policy {
    uint64_t backoff_first_ns, backoff_max_ns;
    uint64_t start_timeout_ns;     /* placed -> ready */
    uint64_t heartbeat_timeout_ns; /* longest silence of a ready replica */
    uint64_t drain_timeout_ns;     /* drain -> kill */
};

/* Ends in a row, none of them after a long enough life, that make a crash loop. */
#define REPLICA_CRASH_LOOP_COUNT 5u

struct replica {
    enum replica_state state;
    bool is_wanted;
    bool is_waking;         /* STARTING, but it was asleep */
    uint32_t failure_count; /* ends in a row that nobody asked for */
    uint32_t generation;    /* counts starts; tells one process from the next */
    uint64_t restart_count; /* starts after the first, ever */
    uint64_t deadline_ns;   /* when a tick may change something; UINT64_MAX: never */
    uint64_t state_since_ns;
    uint64_t ready_since_ns; /* of this generation; 0: it never was */
    uint64_t start_took_ns;  /* from placed to ready, the last time; 0: it never was ready */
    uint64_t random;         /* state of the jitter's generator; never 0 */
};

/* STOPPED and not wanted. `seed` makes the jitter: replicas with different seeds do not start in
 * step. */
void replica_init(struct replica *replica, uint64_t seed, uint64_t now_ns);

/* Takes an event; returns the actions (bits of enum replica_action) that the caller must do now.
 * Events that make no sense in a state are ignored: they come late, from a process that is gone. */
uint32_t replica_step(struct replica *replica, const struct replica_policy *policy,
                      enum replica_event event, uint64_t now_ns);

/* When the replica should be ready, by how long its last start took (a guess before it has ever been): now or later;
 * UINT64_MAX: it is not wanted. */
uint64_t replica_expected_ns(const struct replica *replica, uint64_t now_ns);

/* It must be gone by `by_ns`, if it runs: like REPLICA_UNWANTED, with this end of its drain where that is sooner. */
uint32_t replica_leave(struct replica *replica, const struct replica_policy *policy, uint64_t by_ns,
                       uint64_t now_ns);

/* Whether a process exists, or may be on its way, that REPLICA_ENDED must follow. */
bool replica_has_process(const struct replica *replica);

#endif
