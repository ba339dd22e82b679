#ifndef PENSTOCK_SCHEDULER_REPLICA_FLEET_H
#define PENSTOCK_SCHEDULER_REPLICA_FLEET_H

#include "member.h"
#include "placement_log.h"
#include "placement_queue.h"

/* Replicas on the pool: what is wanted waits for a slice, is ordered from the slice's member, and followed until it is gone. Owns the
 * pool's book, the placement with its queue, and the members' runners; tells its owner what becomes of each replica. It does not know
 * what a replica is for, nor whether it serves: that is its owner's matter, who asks for another when one is gone.
 *
 * A member that cannot be reached keeps its replicas, and the book their slices, until it says itself that they are gone. Such a replica can
 * be given up by its owner (replica_fleet_stop): the owner may have another at once, elsewhere; the old one is stopped when its member
 * answers.
 *
 * Thread: one owner; all calls and all events on it. */
struct replica_fleet;

/* Uids are drawn anew for each replica, and never 0. */
struct replica_fleet_events {
    /* It has a slice. Fills all of the order but uid, parts, priority and preemptibility; what it points to is borrowed until the next call.
     * Anything but STATUS_OK: the replica has ended (REFUSED). May not call the fleet; all others may. */
    status (*compose)(void *context, const struct placement_request *request, uint32_t member,
                      const struct placement_decision *decision, struct member_order *order);
    /* The member has it; from now on it may come up. Once, and not after it was asked to end. */
    void (*started)(void *context, uint64_t uid, uint32_t member);
    /* Its member has said something of it, as it has it. */
    void (*told)(void *context, const struct member_replica *replica);
    /* It must be gone by then: its slice is taken back, drained, broken, or somebody more important needs it. At most once, but the time may
     * come nearer with another call. */
    void (*leave)(void *context, uint64_t uid, uint64_t by_ns, const char *why);
    /* It is gone, or given up. `reason` is for people. Its uid means nothing any more. */
    void (*ended)(void *context, uint64_t uid, enum member_cause cause, const char *reason);
    /* It waits for a slice: why the one before was not to be had. For people. */
    void (*refused)(void *context, uint64_t uid, uint32_t member, status result, const char *why);
    /* A member has a replica of ours that nobody knows of (from before a restart). Fills `request` (uid is set) and returns true: it is
     * booked and followed like any other, `told` follows; where it cannot be booked, `ended`. False: it is stopped. */
    bool (*adopt)(void *context, uint32_t member, const struct member_replica *replica,
                  struct placement_request *request);
    void *context;
};

struct replica_fleet_options {
    struct pool_limits limits;
    struct quota_tree *quota; /* taken over, also when creation fails; NULL: no quotas */
    struct replica_fleet_events events;
    uint64_t drain_ns;   /* what a replica gets that must leave, where its member says nothing */
    uint64_t min_run_ns; /* before a replica can be preempted for a quota's sake */
    bool may_preempt;
    /* Until then replicas that nobody knows of are let be, and only then stopped: the gateway before this one may have requests there. */
    uint64_t strangers_until_ns;
    void (*wake)(void *context); /* replica_fleet_turn is due; any thread, must not block */
    void *wake_context;
};

/* STATUS_OK, STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status replica_fleet_create(const struct replica_fleet_options *options,
                                      struct replica_fleet **out);
/* Ends the members' threads, which may take their drivers' time-outs; replicas are left as they are. Accepts NULL. */
void replica_fleet_destroy(struct replica_fleet *fleet);

struct replica_fleet_member {
    struct member_config config;
    struct member_driver driver; /* taken over, also on failure */
};
/* Begins to follow the member. STATUS_OK and pool_member_add's statuses, STATUS_IO. */
NODISCARD status replica_fleet_member_add(struct replica_fleet *fleet,
                                          const struct replica_fleet_member *member,
                                          uint64_t now_ns, uint32_t *out);
/* Why the member was not heard last; "": it is. */
const char *replica_fleet_member_trouble(const struct replica_fleet *fleet, uint32_t member);
/* Orders that it has not heard yet. */
uint32_t replica_fleet_member_backlog(const struct replica_fleet *fleet, uint32_t member);

struct pool *replica_fleet_pool(struct replica_fleet *fleet);
struct placement *replica_fleet_placement(struct replica_fleet *fleet);
const struct placement_queue *replica_fleet_queue(const struct replica_fleet *fleet);
struct quota_tree *replica_fleet_quota(struct replica_fleet *fleet); /* NULL: no quotas */
const struct placement_log *replica_fleet_log(const struct replica_fleet *fleet);

/* A replica is wanted: it waits for a slice from now on; turn places it. What the request points to is borrowed until the replica
 * has ended; its reserve_ns is not looked at. STATUS_OK, STATUS_FULL, STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status replica_fleet_want(struct replica_fleet *fleet,
                                    const struct placement_request *request, uint64_t now_ns);
/* It runs on this slice already, handed over by who was here before (its driver knows it): booked as it is, and followed. Statuses as pool_reserve's. */
NODISCARD status replica_fleet_adopt(struct replica_fleet *fleet,
                                     const struct placement_request *request, uint32_t member,
                                     const struct booking_part *parts, uint64_t now_ns);
/* It is asked to end, within `grace_ns`; 0: at once. `ended` follows in a turn: at once when nothing of it was begun, or when its member
 * cannot be reached and `grace_ns` is over. Again with another grace: that counts. An unknown uid is passed over. */
void replica_fleet_stop(struct replica_fleet *fleet, uint64_t uid, uint64_t grace_ns,
                        uint64_t now_ns);
/* It sleeps, or is to be awake: pool_rest and pool_rouse. */
NODISCARD status replica_fleet_rest(struct replica_fleet *fleet, uint64_t uid);
NODISCARD status replica_fleet_rouse(struct replica_fleet *fleet, uint64_t uid);
/* The replica is another's from now on: nothing is told of it any more, nor is it stopped. What it has of slices stays booked until its
 * member says that it is gone. */
void replica_fleet_forget(struct replica_fleet *fleet, uint64_t uid);
/* The number of the member that has it; POOL_MEMBER_NONE: it waits, or is not known. */
uint32_t replica_fleet_member_of(const struct replica_fleet *fleet, uint64_t uid);

/* Takes what members have told, places what waits. Returns when to call again at the latest. */
uint64_t replica_fleet_turn(struct replica_fleet *fleet, uint64_t now_ns);

#endif
