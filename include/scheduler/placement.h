#ifndef PENSTOCK_SCHEDULER_PLACEMENT_H
#define PENSTOCK_SCHEDULER_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "pool.h"
#include "slice.h"
#include "status.h"

/* Where a replica goes: filter, score, reserve. Pure: the pool, the request and the time decide, so the gateway, tests and the
 * simulator run the same code, and the same input gives the same decision on any machine (no randomness; arithmetic without
 * the maths library). Nothing is allocated after creation. Thread: the pool's.
 *
 * scheduler/placement.c tells how it weighs; placement_moves.h has preemption and re-packing, placement_queue.h what waits. */
struct placement;

/* --- what is asked --- */

/* Score = the sum of weight * term - risk's weight * risk; every term lies in 0 .. 1. The defaults are those of
 * placement_preset(PLACEMENT_BALANCED). */
enum placement_term {
    PLACEMENT_COST,    /* price for what the product can do, against the dearest that would do */
    PLACEMENT_LATENCY, /* 50 ms / (50 ms + round trip from where requests come from) */
    PLACEMENT_WARM,    /* 30 s / (30 s + cold start there) */
    PLACEMENT_PACK, /* fractions: how little is left over; wholes: how full the node is already */
    PLACEMENT_TOPOLOGY, /* gangs: how near the parts are */
    PLACEMENT_SPREAD, /* how few of the model's replicas share the zone, the member and the node */
    PLACEMENT_RISK,   /* of being preempted, of failing again; subtracted */
    PLACEMENT_TERM_COUNT
};
const char *placement_term_name(enum placement_term term);

/* How near a gang's parts must be; the smallest that has room is taken. */
enum placement_domain {
    PLACEMENT_NVLINK,
    PLACEMENT_SWITCH,
    PLACEMENT_NODE,
    PLACEMENT_LEAF,
    PLACEMENT_ZONE,
    PLACEMENT_DOMAIN_COUNT
};
const char *placement_domain_name(enum placement_domain domain);

enum placement_preset_kind {
    PLACEMENT_BALANCED,
    PLACEMENT_CHEAPEST,
    PLACEMENT_NEAREST,
    PLACEMENT_COMPLIANCE, /* spread and soundness before price; the labels themselves are the shape's, as they are no matter of weight */
    PLACEMENT_PRESET_COUNT
};

struct placement_weights {
    float of[PLACEMENT_TERM_COUNT]; /* 0 or more */
};
struct placement_weights placement_preset(enum placement_preset_kind kind);
const char *placement_preset_name(enum placement_preset_kind kind);

/* One entry of an ordered list: the first with room decides. */
struct placement_tier {
    const uint32_t *members; /* numbers; borrowed */
    uint32_t member_count;   /* 0: all */
    struct placement_weights weights;
};

/* What is known of names: how much a product does (any unit, 1000 milli of it: tokens a second), the round trip to a region, the cold
 * start on a node. What is not named has the default, and so has a speed of 0 or less; NAME_NONE is passed over.
 * Borrowed for the call. */
struct placement_known {
    uint32_t name;
    float value;
};

struct placement_request {
    uint64_t uid;
    uint32_t model, tenant;
    int32_t priority;
    bool is_preemptible, is_movable;
    struct slice_shape shape;
    uint32_t part_count;              /* 1: not a gang; at most POOL_GANG_MAX */
    enum placement_domain domain_max; /* gangs: the largest domain that will do */
    uint32_t on_demand_min; /* so many of the model's replicas stand on what is not preemptible */
    uint64_t run_ns;        /* expected; POOL_NO_END: a service */
    uint64_t reserve_ns;    /* how long a reservation is held for the start */
    const struct placement_tier *tiers; /* NULL: one, all members, balanced */
    uint32_t tier_count;
    const struct placement_known *speeds, *round_trips_ms, *cold_starts_s;
    uint32_t speed_count, round_trip_count, cold_start_count;
    float cold_start_s; /* where cold_starts_s does not say */
    float recover_s;    /* what a preemption costs: until another is in its place */
};

/* --- what is decided --- */

/* Why a slice was passed over; the first that holds. PLACEMENT_FITS: it was not. */
enum placement_reason {
    PLACEMENT_FITS,
    PLACEMENT_ABSENT,       /* no such slice (any more) */
    PLACEMENT_MEMBER_STATE, /* its member is not synced */
    PLACEMENT_TIER,         /* its member is not in this entry of the list */
    PLACEMENT_BACK_OFF, /* the model failed there lately, or the member said that nothing fits */
    PLACEMENT_HEALTH,
    PLACEMENT_QUARANTINE,
    PLACEMENT_KIND,       /* vendor, kind or product */
    PLACEMENT_CAPABILITY, /* compute capability */
    PLACEMENT_REGION,
    PLACEMENT_LABEL_MISSING, /* residency and compliance: what is required */
    PLACEMENT_LABEL_FORBIDDEN,
    PLACEMENT_OWNER,         /* kept for another organisation */
    PLACEMENT_PREEMPTIBLE,   /* spot is not wanted */
    PLACEMENT_ON_DEMAND_MIN, /* spot, and too few of the model's replicas are not on spot */
    PLACEMENT_PRICE,
    PLACEMENT_TOO_SMALL, /* even were it empty */
    PLACEMENT_NO_ROOM,   /* it is booked, or others use it */
    PLACEMENT_TENANTS,   /* room, but as many replicas as it may have */
    PLACEMENT_HELD,      /* free, but kept for one that waits longer */
    PLACEMENT_NO_DOMAIN, /* gangs: too few such slices near each other */
    PLACEMENT_QUOTA,     /* of the whole request: the tenant's limit */
    PLACEMENT_REASON_COUNT
};
const char *placement_reason_name(enum placement_reason reason);

struct placement_part {
    struct booking_part booking;
    float score;
    float terms[PLACEMENT_TERM_COUNT]; /* before the weights */
};

/* Some 18 KB: not for small stacks. */
struct placement_decision {
    uint32_t tier;                /* whose entry of the list decided, or was tried last */
    enum placement_domain domain; /* gangs: within which */
    uint32_t part_count;          /* 0: nowhere */
    struct placement_part parts[POOL_GANG_MAX];
    uint32_t passed_over
        [PLACEMENT_REASON_COUNT]; /* slices by reason, of that entry; sums to slices looked at */
    uint32_t quota_node;          /* with PLACEMENT_QUOTA counted: whose limit */
};

/* --- life --- */

/* For this pool (borrowed; must outlive it). STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status placement_create(struct pool *pool, struct quota_tree *quota,
                                  struct placement **out);
void placement_destroy(struct placement *placement); /* accepts NULL */
struct pool *placement_pool(const struct placement *placement);

/* Decides, books nothing. STATUS_OK; STATUS_FULL: nowhere now (passed_over tells why); STATUS_DENIED: the tenant's limit;
 * STATUS_INVALID: the request makes no sense. `out` is filled in any case but the last. */
NODISCARD status placement_choose(struct placement *placement,
                                  const struct placement_request *request, uint64_t now_ns,
                                  struct placement_decision *out);
/* Decides and reserves: commit with pool_commit when the replica runs, release with pool_release. A uid that has a booking gets
 * that again (part_count and slices filled). Statuses as above, and pool_reserve's STATUS_FULL for a full book. */
NODISCARD status placement_reserve(struct placement *placement,
                                   const struct placement_request *request, uint64_t now_ns,
                                   struct placement_decision *out);

/* What one entry of the list makes of every slice: for people and the admin API. */
struct placement_explanation {
    enum placement_reason reason;
    float score; /* with PLACEMENT_FITS; of a gang's parts without what their domain adds */
    float terms[PLACEMENT_TERM_COUNT];
};
/* `out`: [pool_columns()->count]. STATUS_OK, STATUS_INVALID: the request makes no sense, or its list has no such entry. */
NODISCARD status placement_explain(struct placement *placement,
                                   const struct placement_request *request, uint32_t tier,
                                   uint64_t now_ns, struct placement_explanation *out);

/* The reason of every slice in the last choice: [pool_columns()->count]. Valid until the next call. */
const uint8_t *placement_reasons(const struct placement *placement);

/* The model failed on this member (or, with model UINT32_MAX, any start did): nothing of it is placed there until then. Bounded; the
 * one that ends first makes room. */
#define PLACEMENT_ANY_MODEL    UINT32_MAX
#define PLACEMENT_BACK_OFF_MAX 4096u
void placement_back_off(struct placement *placement, uint32_t model, uint32_t member,
                        uint64_t until_ns);

/* --- how much room is left, and in what pieces --- */

struct placement_stranded_shape {
    struct slice_shape shape;
    float share; /* of what is asked for; all together 1 */
};
struct placement_stranded {
    uint64_t free_milli, total_milli;
    double
        stranded_share; /* of the total: free compute that the mix cannot use, weighted by how much of the mix cannot */
};
/* Fragmentation after Weng et al. 2023 (Beware of Fragmentation, USENIX ATC'23, section 3): what is free on a slice counts as stranded
 * for each shape of the mix that does not fit on it. */
struct placement_stranded placement_stranded(struct placement *placement,
                                             const struct placement_stranded_shape *mix,
                                             uint32_t count);

/* --- a plan from scratch --- */

struct placement_plan_item {
    const struct placement_request *request; /* borrowed; uid is not looked at */
    uint32_t replicas;                       /* wanted */
    uint32_t placed;                         /* out */
    uint32_t *slices;                        /* out: [replicas * part_count], borrowed */
};
/* Where everything would go if the book were empty of bookings (`from_empty`) or beside what is booked: items in their order, the most
 * important first. Books nothing. */
void placement_plan(struct placement *placement, struct placement_plan_item *items, uint32_t count,
                    bool from_empty, uint64_t now_ns);

#endif
