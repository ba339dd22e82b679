#ifndef PENSTOCK_SCHEDULER_PLACEMENT_MOVES_H
#define PENSTOCK_SCHEDULER_PLACEMENT_MOVES_H

#include "placement.h"

/* Room for a request that fits nowhere, at others' expense: preemption (they end) and re-packing (they move). Both decide only; who
 * calls drains the victims (pool_drain) or starts the moved ones anew, and asks again. */

#define PLACEMENT_VICTIMS_MAX 256u
#define PLACEMENT_MOVES_MAX   64u

struct placement_preemption {
    uint32_t victim_count;
    uint64_t victims[PLACEMENT_VICTIMS_MAX]; /* uids */
    uint32_t reclaimed;                 /* of them, by the quota tree; the others by priority */
    struct placement_decision decision; /* where the request goes once they are gone */
};

/* Whom to end for the request. A victim is committed, and either preemptible and less important than the request (of another tenant only
 * if the quota tree does not protect it), or it holds what its tenant only borrowed and the request's tenant may reclaim
 * (quota_tree_may_reclaim; as of the last quota_tree_divide), preemptible or not. Minimal: with any one of them left alone, the request
 * would fit nowhere. Of several such sets one with few victims, then of the least important, then of the youngest. Those
 * that drain already are not counted as gone: their room comes by itself.
 * STATUS_OK (victim_count 0: it fits as it is), STATUS_FULL: not even so, or more than PLACEMENT_VICTIMS_MAX; STATUS_DENIED,
 * STATUS_INVALID as placement_choose. */
NODISCARD status placement_preempt(struct placement *placement,
                                   const struct placement_request *request, uint64_t min_run_ns,
                                   uint64_t now_ns, struct placement_preemption *out);

struct placement_move {
    uint64_t uid;
    struct booking_part from, to;
};
struct placement_repacking {
    uint32_t move_count;
    struct placement_move moves[PLACEMENT_MOVES_MAX];
    struct placement_decision decision; /* where the request goes once they have moved */
};
/* Which movable replicas of one part to move elsewhere, at most `moves_max`, so that the request (a gang, as a rule) fits. Each has its
 * new place beside all others: it can be started there before it ends where it is. Statuses as above. */
NODISCARD status placement_repack(struct placement *placement,
                                  const struct placement_request *request, uint32_t moves_max,
                                  uint64_t now_ns, struct placement_repacking *out);

#endif
