#ifndef PENSTOCK_SCHEDULER_MEMBER_H
#define PENSTOCK_SCHEDULER_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"
#include "status.h"

/* A member of the pool as the replica manager sees it: this machine, a Kubernetes cluster, a Slurm cluster. A driver speaks the
 * member's own API and says here what it hears; it decides nothing. Which slices a replica gets is the placement's work (placement.h),
 * what has been given to whom is in the pool's book (pool.h).
 *
 * Threads. Each member has two of its own, since clusters are slow and one that hangs must cost the others nothing: the watcher
 * runs `follow` for as long as the member is in the config, the worker runs orders one after the other. So `follow` and
 * one of the others may run at the same time, no more. A sink's functions are called on the thread of the driver that has something to tell;
 * they copy and do not wait. Texts are borrowed for the call.
 *
 * Nothing of ours is ever orphaned: every replica carries its uid and the pool's name in the member (labels of a pod, a job's
 * comment, a process's environment), and whoever starts anew finds by these what already runs. */

/* --- what a driver tells --- */

enum member_phase {
    MEMBER_REPLICA_PENDING,  /* the member has it, and waits for room (reason) */
    MEMBER_REPLICA_STARTING, /* placed; its program is not there yet */
    MEMBER_REPLICA_RUNNING,  /* its program runs; whether it serves, it says itself */
    MEMBER_REPLICA_STOPPING,
    MEMBER_REPLICA_ENDED,  /* gone, as it was asked to */
    MEMBER_REPLICA_FAILED, /* gone by itself: `cause` */
    MEMBER_PHASE_COUNT
};
const char *member_phase_name(enum member_phase phase); /* lower case; never NULL */

enum member_cause {
    MEMBER_CAUSE_NONE,
    MEMBER_CAUSE_PROGRAM,   /* it ended with an error: exit status or signal in the reason */
    MEMBER_CAUSE_NODE,      /* its node or device went */
    MEMBER_CAUSE_PREEMPTED, /* its slice was taken back */
    MEMBER_CAUSE_REFUSED,   /* quota, an invalid order, a time limit */
    MEMBER_CAUSE_COUNT
};

/* What a replica has of one slice, as its order says it. */
struct member_part {
    const char *slice_id; /* as in its report */
    uint64_t memory_bytes;
    uint32_t compute_milli;
};

struct member_replica {
    uint64_t uid;
    enum member_phase phase;
    enum member_cause cause;
    const char *handle; /* the member's own name for it: a job, a pod, a process; for people */
    const char *node;   /* where its first part is; "": not known yet */
    const char *
        endpoint; /* "host:port" or "unix:/path" where it should listen; "": it registers by itself */
    const char *reason; /* in the member's words; "" */
    uint64_t
        ends_notice_ns; /* monotonic: the member has said that it will end it by then (spot, a drained node); 0: it has not */
    /* As in its order, so that who starts anew can book it again; in any order. NULL, 0: the member has not kept them. */
    const char *name;
    const struct member_part *parts;
    uint32_t part_count;
    const char *address; /* of its first part, a numeric one; NULL or "": not known */
};

struct member_sink {
    /* A complete list of slices begins and ends; what was not told between the two is gone. */
    void (*list_begin)(void *context);
    void (*slice)(void *context,
                  const struct slice_report *report); /* in a list, or changed since */
    void (*slice_gone)(void *context, const char *id);
    void (*list_end)(void *context);
    /* Nothing has changed, but it is there. */
    void (*heard)(void *context);
    /* A gap: a list will follow. */
    void (*resync)(void *context);
    /* One of ours is there, or has changed. After a complete list of replicas `replicas_listed`: those not told in it are gone. */
    void (*replica)(void *context, const struct member_replica *replica);
    void (*replicas_listed)(void *context);
    void *context;
};

/* --- what it is told --- */

/* What the replica does with a file, or a folder and all below it. This machine keeps its replicas from all others. */
enum member_access {
    MEMBER_READS,
    MEMBER_WRITES,  /* and makes and removes */
    MEMBER_LISTENS, /* makes sockets in a folder */
    MEMBER_ACCESS_COUNT
};

struct member_path {
    const char *path;
    enum member_access access;
};

struct member_order {
    uint64_t uid;
    const char *name; /* for people, a DNS label: "smollm2-1f" */
    const char *const
        *arguments; /* of the replica's program, NULL-terminated; [0] is its path there */
    const char *const *
        environment; /* "KEY=value", NULL-terminated; has the address to register at and a one-time token */
    const char *image;               /* of a container; "": the member runs programs */
    const struct member_path *paths; /* beside its program; missing ones are passed over */
    uint32_t path_count;
    const struct member_part *parts;
    uint32_t part_count; /* more than one: a gang, all or nothing, one process a part */
    /* Of a slice of cores: each part runs on so many thousandths of them, which others' parts may share; 0: on as many as it has. */
    uint32_t core_milli;
    int32_t priority;
    bool is_preemptible;
    uint64_t time_limit_ns; /* 0: none */
    uint64_t grace_ns;      /* between asking it to end and ending it, when the member ends it */
};

struct member_driver {
    /* Tells the sink everything, then every change, until `is_stopping` (looked at once a second at least) or the
     * connection breaks. STATUS_OK: stopped. Else with a note, and it is called again after a back-off: STATUS_CLOSED, STATUS_TIMEOUT;
     * STATUS_DENIED (credentials), STATUS_INVALID (not what it should be: another version, a broken answer). Watcher. */
    status (*follow)(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                     struct error_note *note);
    /* Idempotent: an order whose uid is there already is STATUS_OK. STATUS_OK: the member has it, and tells the rest through the sink;
     * STATUS_FULL: it does not fit there (others were faster): place it elsewhere; STATUS_DENIED, STATUS_INVALID: it never
     * will; STATUS_AGAIN: the member has not taken all of it and asks to be asked later, which is no fault of its; STATUS_CLOSED,
     * STATUS_TIMEOUT: not known whether it has it, ask again. With a note. Worker. */
    status (*start)(void *driver, const struct member_order *order, struct error_note *note);
    /* Asks it to end within `grace_ns`, then it is ended. STATUS_OK also when it is not there. A replica that has failed is stopped
     * too: other parts of it and the member's record of it may be there still. STATUS_AGAIN as above. Worker. */
    status (*stop)(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note);
    void (*destroy)(void *driver); /* when both threads have ended */
    void *driver;
    /* So that `follow` looks at `is_stopping` now. Any thread; NULL: it looks within a second. */
    void (*wake)(void *driver);
};

#endif
