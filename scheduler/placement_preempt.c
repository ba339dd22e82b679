/* Preemption
 *
 *      who may be ended  ->  a view without any of them, each slice at the price of those on it  ->  where the request would go
 *      ->  the victims that are in the way there  ->  spare each one that need not be
 *
 * Who. Only committed replicas. Within a tenant, what is preemptible and less important. Of another tenant only what
 * the quota tree does not protect: the less important and preemptible, or what the request's tenant may reclaim, preemptible or not
 * (borrowed is borrowed). Reclaiming is judged one by one, each beside those before it, so that together they do not take a holder
 * below its fair share.
 *
 * Where. Penalties make the choice prefer few victims, then unimportant ones, then young ones; they outweigh
 * all other terms, which decide between equals.
 *
 * Minimal. Room only grows with each one ended, so one pass that tries to spare each victim, the most important first,
 * leaves a set of which nobody can be spared. */
#include "placement_moves.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "placement_internal.h"
#include "placement_moves_internal.h"

#define BY_PRIORITY 1u
#define BY_RECLAIM  2u

/* A victim more outweighs any importance, that any age, and that all terms (1 at most). */
#define COUNT_PENALTY      100.0f
#define IMPORTANCE_PENALTY 30.0f
#define AGE_PENALTY        3.0f
#define AGE_HALF_NS        3600e9f

status placement_moves_create(const struct pool *pool, struct placement_moves **out)
{
    const struct pool_limits *limits = pool_limits_of(pool);
    struct placement_moves *moves = memory_allocate_array(1, sizeof(*moves));

    if (moves == NULL)
        return STATUS_NO_MEMORY;
    moves->holdings = memory_allocate_array(limits->bookings_max, sizeof(*moves->holdings));
    moves->can_end = memory_allocate_array(limits->bookings_max, 1);
    moves->penalties = memory_allocate_array(limits->slices_max, sizeof(*moves->penalties));
    moves->held = memory_allocate_array(limits->slices_max, 1);
    if (moves->holdings == NULL || moves->can_end == NULL || moves->penalties == NULL ||
        moves->held == NULL) {
        placement_moves_destroy(moves);
        return STATUS_NO_MEMORY;
    }
    *out = moves;
    return STATUS_OK;
}

void placement_moves_destroy(struct placement_moves *moves)
{
    if (moves == NULL)
        return;
    memory_release(moves->held);
    memory_release(moves->penalties);
    memory_release(moves->can_end);
    memory_release(moves->holdings);
    memory_release(moves);
}

/* --- who may be ended --- */

static void credit(struct placement *placement, const struct booking *booking)
{
    if (placement->quota != NULL)
        quota_tree_credit(placement->quota, booking->tenant, &booking->amount);
}

static void charge(struct placement *placement, const struct booking *booking)
{
    if (placement->quota != NULL)
        quota_tree_charge(placement->quota, booking->tenant, &booking->amount);
}

static struct quota_holding holding_of(const struct booking *booking)
{
    return (struct quota_holding){.uid = booking->uid,
                                  .node = booking->tenant,
                                  .priority = booking->priority,
                                  .started_ns = booking->started_ns,
                                  .amount = booking->amount,
                                  .covered_depth = QUOTA_NO_DEPTH};
}

/* All that is charged, covered; the least important and youngest last. Returns how many. */
static uint32_t list_holdings(struct placement *placement)
{
    struct placement_moves *moves = placement->moves;
    uint32_t count = 0;

    for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
        const struct booking *booking = pool_booking_at(placement->pool, row);

        if (booking != NULL)
            moves->holdings[count++] = holding_of(booking);
    }
    quota_tree_cover(placement->quota, moves->holdings, count);
    return count;
}

static bool is_lesser(const struct placement_request *request, const struct booking *booking)
{
    return booking->is_preemptible && booking->priority < request->priority;
}

struct quota_amount placement_estimate(const struct placement_request *request)
{
    uint64_t compute = request->shape.compute_milli > 0 ? request->shape.compute_milli : 1000;

    return (struct quota_amount){
        {[QUOTA_COMPUTE] = compute * request->part_count,
         [QUOTA_MEMORY] = request->shape.memory_bytes * request->part_count}};
}

static uint8_t judge(const struct placement *placement, const struct placement_request *request,
                     const struct quota_holding *holding, const struct booking *booking,
                     uint64_t min_run_ns, uint64_t now_ns)
{
    struct quota_amount amount = placement_estimate(request);

    if (booking->phase != BOOKING_COMMITTED || booking->uid == request->uid)
        return 0;
    if (is_lesser(request, booking) &&
        (booking->tenant == request->tenant ||
         !quota_tree_protects(placement->quota, request->tenant, holding)))
        return BY_PRIORITY;
    if (booking->tenant != request->tenant &&
        quota_tree_may_reclaim(placement->quota, request->tenant, &amount, holding, min_run_ns,
                               now_ns))
        return BY_RECLAIM;
    return 0;
}

/* Judges all, the least important first, each as if those before it were gone already. What a claim inside an organisation frees may
 * allow one across organisations, so once more for each level until nothing is added. */
static void judge_all(struct placement *placement, const struct placement_request *request,
                      uint64_t min_run_ns, uint64_t now_ns)
{
    struct placement_moves *moves = placement->moves;
    uint32_t count = list_holdings(placement);
    bool is_more = true;

    for (uint32_t pass = 0; pass < QUOTA_DEPTH_MAX && is_more; pass++) {
        is_more = false;
        for (uint32_t i = count; i-- > 0;) {
            const struct booking *booking =
                pool_booking_find(placement->pool, moves->holdings[i].uid);
            uint32_t row = pool_booking_row(placement->pool, booking);

            if (moves->can_end[row] != 0)
                continue;
            moves->can_end[row] =
                judge(placement, request, &moves->holdings[i], booking, min_run_ns, now_ns);
            if (moves->can_end[row] != 0) {
                credit(placement, booking);
                is_more = true;
            }
        }
    }
}

static void judge_by_priority(struct placement *placement, const struct placement_request *request)
{
    for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
        const struct booking *booking = pool_booking_at(placement->pool, row);

        if (booking != NULL && booking->phase == BOOKING_COMMITTED &&
            booking->uid != request->uid && is_lesser(request, booking))
            placement->moves->can_end[row] = BY_PRIORITY;
    }
}

/* --- where --- */

/* The less important first, then the younger: the order in which victims are taken. */
static bool goes_before(const struct booking *a, const struct booking *b)
{
    if (a->priority != b->priority)
        return a->priority < b->priority;
    if (a->started_ns != b->started_ns)
        return a->started_ns > b->started_ns;
    return a->uid < b->uid;
}

const struct booking *placement_first_to_go(const struct placement *placement, uint32_t slice,
                                            const uint64_t *gone, uint32_t gone_count)
{
    const struct booking *first = NULL;

    for (uint32_t part = pool_slice_part_first(placement->pool, slice); part != POOL_SLICE_NONE;
         part = pool_slice_part_next(placement->pool, part)) {
        uint32_t row = pool_part_row(placement->pool, part), i = 0;
        const struct booking *booking = pool_booking_at(placement->pool, row);

        while (i < gone_count && gone[i] != booking->uid)
            i++;
        if (i == gone_count && placement->moves->can_end[row] != 0 &&
            (first == NULL || goes_before(booking, first)))
            first = booking;
    }
    return first;
}

/* A gang's price is spread over its slices: who needs them all ends one replica. */
static float penalty_of(const struct booking *booking, int32_t least, int32_t most, uint64_t now_ns)
{
    float importance = ((float)booking->priority - (float)least) / ((float)most - (float)least + 1);
    float age = now_ns > booking->started_ns ? (float)(now_ns - booking->started_ns) : 0;

    return (COUNT_PENALTY + IMPORTANCE_PENALTY * importance +
            AGE_PENALTY * age / (age + AGE_HALF_NS)) /
           (float)booking->part_count;
}

/* What the room on a slice costs: those who would have to go, in their order, until the shape fits. */
static float price_slice(const struct placement *placement, const struct placement_request *request,
                         uint32_t slice, int32_t least, uint64_t now_ns)
{
    const struct pool_columns *columns = placement->columns;
    uint64_t memory = columns->memory_free[slice], compute = columns->compute_free[slice];
    uint64_t memory_needed, gone[PLACEMENT_SHARERS_MAX];
    uint32_t compute_needed, count = 0;
    float sum = 0;

    pool_part_size(placement->pool, slice, &request->shape, &memory_needed, &compute_needed);
    while (count < PLACEMENT_SHARERS_MAX &&
           (memory < memory_needed || compute < compute_needed ||
            columns->tenants[slice] - count >= columns->tenants_max[slice])) {
        const struct booking *booking = placement_first_to_go(placement, slice, gone, count);

        if (booking == NULL)
            break;
        for (uint32_t i = booking->part_first; i != POOL_SLICE_NONE;
             i = pool_part_next(placement->pool, i)) {
            const struct booking_part *part = pool_part(placement->pool, i);

            memory += part->slice == slice ? part->memory_bytes : 0;
            compute += part->slice == slice ? part->compute_milli : 0;
        }
        gone[count++] = booking->uid;
        sum += penalty_of(booking, least, request->priority, now_ns);
    }
    return sum;
}

void placement_price_room(struct placement *placement, const struct placement_request *request,
                          struct view *view, uint64_t now_ns)
{
    struct placement_moves *moves = placement->moves;
    int32_t least = request->priority;

    for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
        const struct booking *booking = pool_booking_at(placement->pool, row);

        if (moves->can_end[row] == 0)
            continue;
        least = booking->priority < least ? booking->priority : least;
        placement_view_end(placement, view, booking);
    }
    for (uint32_t slice = 0; slice < placement->columns->count; slice++)
        moves->penalties[slice] = view->tenants[slice] != placement->columns->tenants[slice]
                                      ? price_slice(placement, request, slice, least, now_ns)
                                      : 0;
    view->penalties = moves->penalties;
}

/* --- the victims --- */

bool placement_part_fits(const struct placement *placement, const struct view *view,
                         const struct booking_part *part)
{
    const struct pool_columns *columns = placement->columns;
    bool is_whole = columns->step_milli[part->slice] == 0;

    return view->memory_free[part->slice] >= part->memory_bytes &&
           view->compute_free[part->slice] >= part->compute_milli &&
           view->tenants[part->slice] < (is_whole ? 1 : columns->tenants_max[part->slice]);
}

static bool add_victim(struct placement *placement, struct view *view,
                       const struct booking *booking, struct placement_preemption *out)
{
    if (out->victim_count == PLACEMENT_VICTIMS_MAX)
        return false;
    out->victims[out->victim_count++] = booking->uid;
    placement_view_end(placement, view, booking);
    credit(placement, booking);
    return true;
}

/* Those in the way of the decision's parts. */
static bool end_in_the_way(struct placement *placement, struct view *view,
                           struct placement_preemption *out)
{
    for (uint32_t i = 0; i < out->decision.part_count; i++) {
        const struct booking_part *part = &out->decision.parts[i].booking;

        while (!placement_part_fits(placement, view, part)) {
            const struct booking *booking =
                placement_first_to_go(placement, part->slice, out->victims, out->victim_count);

            if (booking == NULL || !add_victim(placement, view, booking, out))
                return false;
        }
    }
    return true;
}

static bool is_below(const struct quota_tree *quota, uint32_t node, uint32_t above)
{
    while (node != above && node != QUOTA_ROOT)
        node = quota_tree_parent(quota, node);
    return node == above;
}

static bool is_victim(const struct placement_preemption *preemption, uint64_t uid)
{
    for (uint32_t i = 0; i < preemption->victim_count; i++) {
        if (preemption->victims[i] == uid)
            return true;
    }
    return false;
}

/* Whoever counts against a limit that the request is beyond. */
static bool end_for_limits(struct placement *placement, const struct placement_request *request,
                           struct view *view, struct placement_preemption *out)
{
    struct quota_amount amount = {{0}};
    uint32_t at;

    for (uint32_t i = 0; i < out->decision.part_count; i++) {
        const struct booking_part *part = &out->decision.parts[i].booking;

        amount.of[QUOTA_COMPUTE] += part->compute_milli;
        amount.of[QUOTA_MEMORY] += part->memory_bytes;
        amount.of[QUOTA_MONEY] += (uint64_t)pool_part_price(
            placement->pool, part->slice, part->memory_bytes, part->compute_milli);
    }
    while (placement->quota != NULL &&
           !quota_tree_allows(placement->quota, request->tenant, &amount, &at)) {
        const struct booking *first = NULL;

        for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
            const struct booking *booking = pool_booking_at(placement->pool, row);

            if (placement->moves->can_end[row] != 0 &&
                is_below(placement->quota, booking->tenant, at) && !is_victim(out, booking->uid) &&
                (first == NULL || goes_before(booking, first)))
                first = booking;
        }
        if (first == NULL || !add_victim(placement, view, first, out))
            return false;
    }
    return true;
}

/* Leaves alone each victim without whom the request fits as well, the most important first. */
static void spare(struct placement *placement, const struct placement_request *request,
                  struct view *view, uint64_t now_ns, struct placement_preemption *out)
{
    struct placement_decision *other = &placement->moves->decision;

    view->penalties = NULL;
    for (uint32_t i = 0; i < out->victim_count; i++) {
        for (uint32_t j = i + 1; j < out->victim_count; j++) {
            if (goes_before(pool_booking_find(placement->pool, out->victims[i]),
                            pool_booking_find(placement->pool, out->victims[j]))) {
                uint64_t uid = out->victims[i];

                out->victims[i] = out->victims[j];
                out->victims[j] = uid;
            }
        }
    }
    for (uint32_t i = 0; i < out->victim_count;) {
        const struct booking *booking = pool_booking_find(placement->pool, out->victims[i]);

        placement_view_restore(placement, view, booking);
        charge(placement, booking);
        if (placement_choose_in(placement, view, request, now_ns, other) == STATUS_OK) {
            out->decision = *other;
            memmove(&out->victims[i], &out->victims[i + 1],
                    (--out->victim_count - i) * sizeof(out->victims[0]));
            continue;
        }
        placement_view_end(placement, view, booking);
        credit(placement, booking);
        i++;
    }
}

/* --- the whole --- */

static void charge_all_that_can_end(struct placement *placement)
{
    for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
        if (placement->moves->can_end[row] != 0)
            charge(placement, pool_booking_at(placement->pool, row));
    }
}

/* Everybody who may be ended is ended, in the view and in the quota tree: where would it go? */
static status choose_without_them(struct placement *placement,
                                  const struct placement_request *request, uint64_t min_run_ns,
                                  uint64_t now_ns, struct view *view,
                                  struct placement_decision *out)
{
    status result;

    memset(placement->moves->can_end, 0, pool_booking_bound(placement->pool));
    if (placement->quota != NULL)
        judge_all(placement, request, min_run_ns, now_ns);
    else
        judge_by_priority(placement, request);
    placement_price_room(placement, request, view, now_ns);
    result = placement_choose_in(placement, view, request, now_ns, out);
    if (placement->quota != NULL)
        charge_all_that_can_end(placement);
    return result;
}

/* The victims have been credited for the search only: they hold what they hold until they end. */
static void charge_victims(struct placement *placement, struct placement_preemption *out)
{
    out->reclaimed = 0;
    for (uint32_t i = 0; i < out->victim_count; i++) {
        const struct booking *booking = pool_booking_find(placement->pool, out->victims[i]);

        charge(placement, booking);
        out->reclaimed +=
            placement->moves->can_end[pool_booking_row(placement->pool, booking)] == BY_RECLAIM;
    }
}

status placement_preempt_beside(struct placement *placement, const uint8_t *held,
                                const struct placement_request *request, uint64_t min_run_ns,
                                uint64_t now_ns, struct placement_preemption *out)
{
    struct view *view = placement_what_if(placement, false);
    status result;
    bool is_enough;

    out->victim_count = out->reclaimed = 0;
    view->held = held;
    if (placement_choose_in(placement, view, request, now_ns, &out->decision) == STATUS_OK)
        return STATUS_OK;
    result = choose_without_them(placement, request, min_run_ns, now_ns, view, &out->decision);
    if (result != STATUS_OK)
        return result;
    view = placement_what_if(placement, false);
    view->held = held;
    is_enough =
        end_in_the_way(placement, view, out) && end_for_limits(placement, request, view, out);
    if (is_enough)
        spare(placement, request, view, now_ns, out);
    charge_victims(placement, out);
    if (!is_enough)
        out->victim_count = out->decision.part_count = 0;
    return is_enough ? STATUS_OK : STATUS_FULL;
}

status placement_preempt(struct placement *placement, const struct placement_request *request,
                         uint64_t min_run_ns, uint64_t now_ns, struct placement_preemption *out)
{
    if (!placement_is_request_sane(placement, request))
        return STATUS_INVALID;
    return placement_preempt_beside(placement, NULL, request, min_run_ns, now_ns, out);
}
