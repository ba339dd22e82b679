#ifndef PENSTOCK_SCHEDULER_PLACEMENT_INTERNAL_H
#define PENSTOCK_SCHEDULER_PLACEMENT_INTERNAL_H

#include "placement.h"

/* What the placement's files share: placement.c (the decision), placement_filter.c, placement_score.c, placement_gang.c,
 * placement_view.c (what if), placement_plan.c, placement_preempt.c, placement_repack.c, placement_queue.c. */

/* What is free, as it is (the pool's own columns, read only) or as it would be (copies). [pool slices_max] */
struct view {
    uint64_t *memory_free, *memory_booked, *compute_booked;
    uint32_t *compute_free;
    uint16_t *tenants;
    const uint8_t *held; /* not 0: kept for another; NULL: nothing is */
    const float
        *penalties; /* taken off a slice's score: what room there costs others; NULL: nothing */
};

struct back_off {
    uint32_t model, member;
    uint64_t until_ns; /* 0: free */
};

/* What a gang is put together from: a whole domain up to a node, or a node of a larger domain. */
struct gang_unit {
    uint32_t domain, name, count;
};

/* A slice that passed the filter. */
struct eligible {
    uint32_t slice;
    uint32_t compute_milli; /* what the part takes */
    uint64_t memory_bytes;
    float rate; /* price for what it does */
    float score;
};

/* Of a plan's heap: small, since it is moved about. */
struct plan_entry {
    float score;
    uint32_t slice, index; /* index: among the eligible */
};

/* What a choice knows beside the request, filled for each entry of the list. */
struct choice {
    const struct placement_request *request;
    const struct placement_tier *tier;
    const struct view *view;
    uint64_t now_ns;
    struct quota_amount headroom; /* of the tenant, below every limit above it */
    uint32_t headroom_node;       /* whose limit is the nearest */
    bool refuses_spot;            /* the on-demand floor is not reached */
    float rate_inverse;           /* 1 / the dearest rate */
};

/* 1 / n for n below this is looked up: a scan has six quotients a slice, most with a small count below. */
#define INVERSE_COUNT 64u

struct placement {
    struct pool *pool;                  /* borrowed */
    struct quota_tree *quota;           /* borrowed; NULL: none */
    const struct pool_columns *columns; /* the pool's */
    uint32_t slices_max, names_max;
    struct view now;                         /* the pool's own */
    struct view what_if;                     /* owned copies */
    struct placement_decision gang_decision; /* scratch of a plan */
    struct back_off *back_offs;              /* owned: [PLACEMENT_BACK_OFF_MAX] */
    uint32_t back_off_count;                 /* used from the front */

    float inverses[INVERSE_COUNT];            /* 1 / n; [0] is not used */
    uint8_t *reasons;                         /* owned: [slices_max] */
    uint8_t member_reasons[POOL_MEMBERS_MAX]; /* enum placement_reason */
    struct eligible *eligible;                /* owned: [slices_max] */
    uint32_t eligible_count;

    /* By name; at rest all have the value that means nothing, and whoever sets some sets them back. */
    float *speeds, *latencies, *warmths; /* owned: [names_max + 1]; at rest UNKNOWN */
    uint32_t *near_zone,
        *near_node; /* owned: [names_max + 1]; the model's replicas there; at rest 0 */
    uint32_t near_member[POOL_MEMBERS_MAX];
    uint32_t *node_slices, *node_busy; /* owned: [names_max + 1]; at rest 0 */
    uint32_t *domain_count;            /* owned: [names_max + 1]; gangs; at rest 0 */
    uint32_t *unit_count, *unit_first; /* the same; first: an index among the eligible + 1 */

    uint32_t *unit_next;     /* owned: [slices_max], of the eligible; an index + 1; 0: the last */
    struct gang_unit *units; /* owned: [slices_max] */
    struct plan_entry *heap; /* owned: [slices_max] */
    /* Of a plan, owned: [slices_max]. */
    uint8_t *like_previous; /* by slice: by nature it cannot be told from the one before */
    uint32_t *runs;         /* first slices of those that are alike and have room, side by side */
    uint32_t *run_lengths;  /* by first slice */
    uint32_t *run_places;   /* by first slice: in runs */
    uint32_t *open;         /* for gangs: every slice that has room */
    struct placement_moves *moves; /* owned: scratch of preemption and re-packing */
};

#define UNKNOWN (-1.0f)

/* --- placement.c --- */

/* placement_choose on a view; STATUS_OK, STATUS_FULL, STATUS_DENIED. The request has been checked. */
status placement_choose_in(struct placement *placement, const struct view *view,
                           const struct placement_request *request, uint64_t now_ns,
                           struct placement_decision *out);
/* Reserves what was decided; statuses of pool_reserve. */
status placement_book(struct placement *placement, const struct placement_request *request,
                      const struct placement_decision *decision, uint64_t now_ns);
bool placement_is_request_sane(const struct placement *placement,
                               const struct placement_request *request);
/* The entry of the list at `i`. */
struct placement_tier placement_tier_of(const struct placement_request *request, uint32_t i);
uint32_t placement_tier_count(const struct placement_request *request);
/* Fills a choice's headroom and on-demand floor; what is known and where the model's replicas are is laid out by name. */
void placement_begin(struct placement *placement, struct choice *choice);
void placement_end(struct placement *placement, const struct choice *choice);

/* --- placement_filter.c --- */

/* Fills reasons and eligible; counts reasons. */
void placement_filter(struct placement *placement, struct choice *choice,
                      uint32_t passed_over[PLACEMENT_REASON_COUNT]);
/* The same for some slices, without the reasons. */
void placement_filter_some(struct placement *placement, struct choice *choice,
                           const uint32_t *slices, uint32_t slice_count);
/* One slice, for the rest of its properties, given that its member takes new ones. */
enum placement_reason placement_filter_slice(const struct placement *placement,
                                             const struct choice *choice, uint32_t slice,
                                             struct eligible *out);

/* --- placement_score.c --- */

/* The number of the model's replicas on what is not preemptible. */
uint32_t placement_count_on_demand(const struct placement *placement, uint32_t model);
/* What the request knows by name, and (with_booked) where the model's booked replicas are. */
void placement_lay_out(struct placement *placement, const struct placement_request *request,
                       bool with_booked);
void placement_clear(struct placement *placement, const struct placement_request *request,
                     bool with_booked);
/* A replica of the model is (or is not) there, for the spread. */
void placement_note_replica(struct placement *placement, uint32_t slice, int32_t change);
/* How full the nodes are. */
void placement_count_nodes(struct placement *placement, const struct view *view);
void placement_clear_nodes(struct placement *placement);
/* Scores all that are eligible. */
void placement_score(struct placement *placement, struct choice *choice);
/* The terms of one (topology 0), and their weighted sum. */
void placement_terms(const struct placement *placement, const struct choice *choice,
                     const struct eligible *one, float terms[PLACEMENT_TERM_COUNT]);
float placement_score_one(const struct placement *placement, const struct choice *choice,
                          const struct eligible *one);
float placement_sum(const struct placement_weights *weights,
                    const float terms[PLACEMENT_TERM_COUNT]);

/* --- placement_gang.c --- */

/* Picks part_count of the eligible in the smallest domain with room; false: there is none. */
bool placement_pick_gang(struct placement *placement, const struct choice *choice,
                         struct placement_decision *out);
/* The column of domains of a kind. */
const uint32_t *placement_domain_column(const struct placement *placement,
                                        enum placement_domain domain);
void placement_write_part(const struct placement *placement, const struct choice *choice,
                          const struct eligible *one, struct placement_part *out);

/* --- placement_view.c --- */

/* The what-if view as the pool is, or as if nothing were booked. */
/* (nothing held, no penalties) */
struct view *placement_what_if(struct placement *placement, bool from_empty);
void placement_view_take(const struct placement *placement, struct view *view, uint32_t slice,
                         uint64_t memory_bytes, uint32_t compute_milli);
void placement_view_give(const struct placement *placement, struct view *view, uint32_t slice,
                         uint64_t memory_bytes, uint32_t compute_milli);
/* All parts of a booking. */
void placement_view_end(const struct placement *placement, struct view *view,
                        const struct booking *booking);
void placement_view_restore(const struct placement *placement, struct view *view,
                            const struct booking *booking);

#endif
