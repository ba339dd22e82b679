#ifndef PENSTOCK_SCHEDULER_REPLICA_FLEET_INTERNAL_H
#define PENSTOCK_SCHEDULER_REPLICA_FLEET_INTERNAL_H

#include "clock.h"
#include "member_runner.h"
#include "replica_fleet.h"
#include "slice_faults.h"

#define FLEET_REASON_BYTES 200u
#define FLEET_ROUND_NS     NS_PER_SECOND /* back-offs end by themselves */
#define FLEET_PREEMPTED    "preempted: a more important one needs its slice"

enum entry_state {
    ENTRY_WAITING,  /* in the queue */
    ENTRY_ORDERED,  /* the order is on its way */
    ENTRY_THERE,    /* the member has it */
    ENTRY_STOPPING, /* it was asked to end */
    ENTRY_DEAD      /* nothing of it is left; the owner is still to be told */
};

/* A replica that is wanted, or still there. */
struct fleet_entry {
    uint64_t uid;
    struct placement_request request;
    enum entry_state state;
    uint32_t member;      /* once it is ordered */
    uint64_t wanted_ns;   /* its age in the queue, however often it goes back there */
    uint64_t since_ns;    /* ordered, then there */
    uint64_t leave_by_ns; /* what the owner was told; UINT64_MAX: nothing */
    uint64_t stop_by_ns;  /* stopping: the end of its grace */
    uint64_t stopped_ns;  /* stopping: its member has heard so; 0: not yet */
    bool owes_stop;       /* there was no memory for telling its member */
    bool is_preempted;    /* the owner is still to be told */
    bool is_started;      /* the owner was told so */
    bool is_given_up;     /* the owner is told nothing any more */
    bool is_forgotten;    /* the same, and it is another's: never stopped */
    bool was_told;        /* its member has named it since its last list */
    bool is_known;        /* its member has said once that it has it */
    enum member_cause cause;
    char reason[FLEET_REASON_BYTES];
};

struct fleet_member {
    struct member_runner *runner; /* NULL: no such member */
    /* Of replicas that nobody knows: on slices that are not known yet, or there was no memory for stopping them. The newest of each; owned. */
    struct member_event *late;
    char name[64];
    char trouble[FLEET_REASON_BYTES];
};

struct replica_fleet {
    struct replica_fleet_options options;
    struct pool *pool;
    struct placement *placement;
    struct placement_queue *queue;
    struct placement_log *log;
    struct fleet_member *members; /* [limits.members_max] */
    uint32_t member_bound;
    struct fleet_entry *entries; /* [entry_max], the first entry_count; order means nothing */
    uint32_t entry_count, entry_max;
    bool has_changed; /* what waits may fit now */
    bool is_in_round; /* the queue may not change */
    uint64_t now_ns;  /* of the turn */
    uint64_t round_ns, repack_ns;
    struct slice_faults faults;
    struct member_part parts[POOL_GANG_MAX];
    struct booking_part bookings[POOL_GANG_MAX];
    struct placement_repacking repacking;
};

struct fleet_entry *fleet_entry_find(struct replica_fleet *fleet, uint64_t uid);
/* NULL: there are entry_max. */
struct fleet_entry *fleet_entry_add(struct replica_fleet *fleet,
                                    const struct placement_request *request, uint64_t now_ns);
/* Forgets it, and no more: another may stand in its place afterwards. */
void fleet_entry_remove(struct replica_fleet *fleet, struct fleet_entry *entry);
/* Gives its slices back, forgets it, tells the owner. No entry may be held across this. */
void fleet_entry_end(struct replica_fleet *fleet, struct fleet_entry *entry,
                     enum member_cause cause, const char *reason);
/* The owner is told to leave by then, unless it was told of an earlier time. The same. */
void fleet_entry_leave(struct replica_fleet *fleet, struct fleet_entry *entry, uint64_t by_ns,
                       const char *why);
/* False: its owner was told already, or need not be. */
bool fleet_entry_may_leave(const struct fleet_entry *entry);
/* Its member is told to end it. False: nothing of it was begun. */
bool fleet_entry_stop(struct replica_fleet *fleet, struct fleet_entry *entry, uint64_t grace_ns);
/* It has failed by itself, and its slices are still booked: is one of them to blame? (replica_fleet_faults.c) */
void fleet_fault_note(struct replica_fleet *fleet, const struct fleet_entry *entry,
                      enum member_cause cause);
/* Keeps slices that are in quarantine closed and opens those whose time is over. Returns when to call again. */
uint64_t fleet_faults_tick(struct replica_fleet *fleet, uint64_t now_ns);

/* A round of the queue, and now and then a look for room for gangs. No entry may be held across this. (replica_fleet_round.c) */
void fleet_round(struct replica_fleet *fleet, uint64_t now_ns);

/* It goes back to the queue. */
void fleet_entry_wait(struct replica_fleet *fleet, struct fleet_entry *entry);

/* Takes all that the member has told. */
void fleet_member_take(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns);

#endif
