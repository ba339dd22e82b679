/* Re-packing: which small ones to move so that a gang has a domain. The same search as for preemption, with movable replicas in
 * the place of victims; then each of them must have another place beside all that runs now, since it is started there before it ends
 * here. A place that cannot be cleared is priced out, and the search begins again, a few times. */
#include <string.h>

#include "check.h"
#include "placement_internal.h"
#include "placement_moves_internal.h"

#define ATTEMPTS_MAX 4u
/* More than any set of moves costs (100 each, PLACEMENT_SHARERS_MAX on a slice). */
#define STUCK_PENALTY 1e5f

static void find_movable(struct placement *placement, const struct placement_request *request)
{
    for (uint32_t row = 0; row < pool_booking_bound(placement->pool); row++) {
        const struct booking *booking = pool_booking_at(placement->pool, row);

        placement->moves->can_end[row] =
            booking != NULL && booking->is_movable && booking->part_count == 1 &&
            booking->phase == BOOKING_COMMITTED && booking->uid != request->uid;
    }
}

/* Who is in the way of the decision; false: more than may move. */
static bool list_moves(struct placement *placement, uint32_t moves_max,
                       struct placement_repacking *out)
{
    struct view *view = placement_what_if(placement, false);
    uint64_t gone[PLACEMENT_MOVES_MAX];

    out->move_count = 0;
    for (uint32_t i = 0; i < out->decision.part_count; i++) {
        const struct booking_part *part = &out->decision.parts[i].booking;

        while (!placement_part_fits(placement, view, part)) {
            const struct booking *booking =
                placement_first_to_go(placement, part->slice, gone, out->move_count);

            if (booking == NULL || out->move_count == moves_max)
                return false;
            placement_view_end(placement, view, booking);
            gone[out->move_count] = booking->uid;
            out->moves[out->move_count++] = (struct placement_move){
                .uid = booking->uid, .from = *pool_part(placement->pool, booking->part_first)};
        }
    }
    return true;
}

static struct placement_request request_of(const struct booking *booking)
{
    return (struct placement_request){.uid = booking->uid,
                                      .model = booking->model,
                                      .tenant = booking->tenant,
                                      .priority = booking->priority,
                                      .shape = booking->shape,
                                      .part_count = 1,
                                      .run_ns = booking->run_ns};
}

/* A new place for each, beside all that is booked, the gang's slices kept free. POOL_SLICE_NONE: all have one; else the slice that
 * cannot be left. While it moves it is charged once. */
static uint32_t find_places(struct placement *placement, uint64_t now_ns,
                            struct placement_repacking *out)
{
    struct view *view = placement_what_if(placement, false);
    struct placement_decision *place = &placement->moves->decision;
    uint8_t *held = placement->moves->held;
    uint32_t stuck = POOL_SLICE_NONE;

    memset(held, 0, placement->columns->count);
    for (uint32_t i = 0; i < out->decision.part_count; i++)
        held[out->decision.parts[i].booking.slice] = 1;
    view->held = held;
    for (uint32_t i = 0; i < out->move_count && stuck == POOL_SLICE_NONE; i++) {
        const struct booking *booking = pool_booking_find(placement->pool, out->moves[i].uid);
        struct placement_request request = request_of(booking);
        status result;

        if (placement->quota != NULL)
            quota_tree_credit(placement->quota, booking->tenant, &booking->amount);
        result = placement_choose_in(placement, view, &request, now_ns, place);
        if (placement->quota != NULL)
            quota_tree_charge(placement->quota, booking->tenant, &booking->amount);
        if (result != STATUS_OK) {
            stuck = out->moves[i].from.slice;
            continue;
        }
        out->moves[i].to = place->parts[0].booking;
        placement_view_take(placement, view, out->moves[i].to.slice, out->moves[i].to.memory_bytes,
                            out->moves[i].to.compute_milli);
    }
    return stuck;
}

static status search(struct placement *placement, const struct placement_request *request,
                     uint32_t moves_max, uint64_t now_ns, struct placement_repacking *out)
{
    uint32_t stuck[ATTEMPTS_MAX], stuck_count = 0;

    for (uint32_t attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        struct view *view = placement_what_if(placement, false);
        status result;

        placement_price_room(placement, request, view, now_ns);
        for (uint32_t i = 0; i < stuck_count; i++)
            placement->moves->penalties[stuck[i]] += STUCK_PENALTY;
        result = placement_choose_in(placement, view, request, now_ns, &out->decision);
        if (result != STATUS_OK)
            return result;
        if (!list_moves(placement, moves_max, out))
            return STATUS_FULL;
        stuck[stuck_count] = find_places(placement, now_ns, out);
        if (stuck[stuck_count++] == POOL_SLICE_NONE)
            return STATUS_OK;
    }
    return STATUS_FULL;
}

status placement_repack(struct placement *placement, const struct placement_request *request,
                        uint32_t moves_max, uint64_t now_ns, struct placement_repacking *out)
{
    status result;

    out->move_count = 0;
    if (!placement_is_request_sane(placement, request) || moves_max > PLACEMENT_MOVES_MAX)
        return STATUS_INVALID;
    result = placement_choose(placement, request, now_ns, &out->decision);
    if (result == STATUS_OK)
        return result;
    find_movable(placement, request);
    result = search(placement, request, moves_max, now_ns, out);
    if (result != STATUS_OK)
        out->move_count = out->decision.part_count = 0;
    return result;
}
