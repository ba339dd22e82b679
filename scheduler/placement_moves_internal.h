#ifndef PENSTOCK_SCHEDULER_PLACEMENT_MOVES_INTERNAL_H
#define PENSTOCK_SCHEDULER_PLACEMENT_MOVES_INTERNAL_H

#include "placement_internal.h"
#include "placement_moves.h"

/* What preemption and re-packing share. Replicas on one slice that are considered for leaving it, at most: with a MIG-sized share
 * each, a device holds seven. */
#define PLACEMENT_SHARERS_MAX 16u

/* Scratch, made with the placement; all by booking row [bookings_max] or slice [slices_max]. */
struct placement_moves {
    struct quota_holding *holdings; /* owned */
    uint8_t *can_end;               /* owned; by row; not 0: may leave its slice */
    float *penalties;               /* owned; by slice */
    uint8_t *held;                  /* owned; by slice */
    struct placement_decision decision;
};

NODISCARD status placement_moves_create(const struct pool *pool, struct placement_moves **out);
void placement_moves_destroy(struct placement_moves *moves); /* accepts NULL */

/* What the request takes, as well as it can be told before there is a slice: a whole one counts as 1000 milli. */
struct quota_amount placement_estimate(const struct placement_request *request);

/* placement_preempt beside slices that are held for others (by slice, or NULL). */
status placement_preempt_beside(struct placement *placement, const uint8_t *held,
                                const struct placement_request *request, uint64_t min_run_ns,
                                uint64_t now_ns, struct placement_preemption *out);

/* Of those on a slice that may leave and are not among `gone`: the first to go; NULL: nobody. */
const struct booking *placement_first_to_go(const struct placement *placement, uint32_t slice,
                                            const uint64_t *gone, uint32_t gone_count);
/* Ends everybody who may leave, in the view, and sets on each of their slices the price of making room for the request there, as a
 * penalty. */
void placement_price_room(struct placement *placement, const struct placement_request *request,
                          struct view *view, uint64_t now_ns);
bool placement_part_fits(const struct placement *placement, const struct view *view,
                         const struct booking_part *part);

#endif
