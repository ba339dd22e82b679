#ifndef PENSTOCK_SCHEDULER_PLACEMENT_QUEUE_H
#define PENSTOCK_SCHEDULER_PLACEMENT_QUEUE_H

#include "placement.h"
#include "placement_moves.h"

/* What waits for room. The order is that of priority; of equal ones, whoever asks for no more than its tenant is guaranteed comes before
 * who borrows; then that of time. The first that does not fit gets the earliest expected start that the book allows, and the slices for it are held: others behind it may start now only where they do not delay it, that is,
 * on other slices, or if they are expected to end before. EASY backfilling: Lifka 1995 (The ANL/IBM SP Scheduling System);
 * Mualem and Feitelson 2001, section 2. Up to PLACEMENT_HOLDS_MAX waiting requests have such a hold, each beside those
 * before it. Whoever has others preempted has the slices that they leave held, too.
 *
 * Thread: the pool's. */
struct placement_queue;

#define PLACEMENT_HOLDS_MAX 4u
/* Requests at once for whom others drain, and how many of them one round may look for: each costs 2 to 4 ms in a full book of 10,000
 * slices. A tenant that asks back hundreds of slices at once has them within some rounds and a drain (bench/simulator). */
#define PLACEMENT_CLAIMS_MAX   256u
#define PLACEMENT_PREEMPTS_MAX 32u
/* Requests that are tried in vain in one round, half of them those in front, half in turns. Slurm's bf_max_job_test is 500 for rounds of 30 s; rounds
 * here come with every change. */
#define PLACEMENT_TRIES_MAX 128u

/* At most `count_max` requests wait. `placement` is borrowed. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status placement_queue_create(struct placement *placement, uint32_t count_max,
                                        struct placement_queue **out);
void placement_queue_destroy(struct placement_queue *queue); /* accepts NULL */

/* Waits from now on. The request is copied; what it points to (tiers, known values) is borrowed until it leaves the queue. STATUS_OK
 * (also when this uid waits already: nothing changes), STATUS_FULL, STATUS_INVALID. */
NODISCARD status placement_queue_add(struct placement_queue *queue,
                                     const struct placement_request *request, uint64_t now_ns);
/* False: did not wait. */
bool placement_queue_remove(struct placement_queue *queue, uint64_t uid);
uint32_t placement_queue_count(const struct placement_queue *queue);

struct placement_waiting {
    const struct placement_request *request;
    uint64_t since_ns;
    uint64_t start_ns; /* expected, of those with a hold; POOL_NO_END: not known */
    bool has_hold;
    enum placement_reason reason; /* of the slices that came furthest in the filter, last time */
};
/* The i-th in the order; false: there are fewer. Valid until the queue changes. */
bool placement_queue_get(const struct placement_queue *queue, uint32_t i,
                         struct placement_waiting *out);

/* Called within a round; neither may change the queue, both may commit and drain. */
struct placement_queue_driver {
    /* Reserved: start it. It has left the queue. */
    void (*placed)(void *context, const struct placement_request *request,
                   const struct placement_decision *decision);
    /* Ends these for a request that waits (they have been marked draining until now + drain_ns); NULL: nobody is preempted. */
    void (*preempt)(void *context, const struct placement_request *request,
                    const struct placement_preemption *preemption);
    void *context;
    uint64_t drain_ns;   /* how long victims get */
    uint64_t min_run_ns; /* before they can be reclaimed */
};
/* The slices of `decision` are kept for this waiting request until then, whatever the book says: for re-packing, whose moves take their time
 * (placement_repack; the moved ones go to their new places by pool_reserve). Once for a request; counts among the holds. STATUS_OK,
 * STATUS_NOT_FOUND: it does not wait, STATUS_FULL: PLACEMENT_HOLDS_MAX are kept. */
NODISCARD status placement_queue_keep(struct placement_queue *queue, uint64_t uid,
                                      const struct placement_decision *decision, uint64_t until_ns);

/* One round: places what can be placed. Call after changes (a release, a report, a request). Returns how many were placed. */
uint32_t placement_queue_round(struct placement_queue *queue,
                               const struct placement_queue_driver *driver, uint64_t now_ns);

#endif
