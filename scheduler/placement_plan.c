/* A plan of everything, and how much of what is free is of use.
 *
 * An item's replicas are alike, so its slices are filtered and scored once, into a heap. Placing one changes the scores of others: those
 * that share its zone, member or node fall (spread). So the best of the heap is scored again when it is taken out, and put back if it
 * is no longer the best (lazy evaluation, as of Minoux 1978 for functions that only fall). What rises, a node that has
 * become fuller, is seen by the next item.
 *
 * Slices are alike, too: the eight devices of a node that have nothing on them pass every filter together and have one score. So
 * the plan looks at runs, neighbours that cannot be told from each other, by their first slice, which is the one that a tie
 * between them goes to. A slice that is taken leaves its run; with room left it is a run of its own. The result is the same as
 * without runs, slice by slice (placement_test compares). */
#include <string.h>

#include "check.h"
#include "placement_internal.h"

/* --- a heap of the eligible, the best first; ties to the lower slice --- */

static bool is_above(struct plan_entry a, struct plan_entry b)
{
    return a.score > b.score || (a.score == b.score && a.slice < b.slice);
}

static void sink(struct plan_entry *heap, uint32_t count, uint32_t at)
{
    struct plan_entry moved = heap[at];

    for (uint32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_above(heap[child + 1], heap[child]))
            child++;
        if (!is_above(heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void rise(struct plan_entry *heap, uint32_t at)
{
    struct plan_entry moved = heap[at];

    for (; at > 0 && is_above(moved, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = moved;
}

static void make_heap(const struct placement *placement, struct plan_entry *heap)
{
    uint32_t count = placement->eligible_count;

    for (uint32_t i = 0; i < count; i++)
        heap[i] = (struct plan_entry){.score = placement->eligible[i].score,
                                      .slice = placement->eligible[i].slice,
                                      .index = i};
    for (uint32_t i = count / 2; i-- > 0;)
        sink(heap, count, i);
}

/* --- runs --- */

struct plan {
    struct placement *placement;
    struct view *view;
    struct placement_plan_item *item;
    struct choice choice;
    bool from_empty;
    uint32_t run_count, open_count; /* of placement->runs and ->open */
};

/* All that filters compare and scores weigh, but for what is booked. */
static bool is_like_by_nature(const struct pool_columns *columns, uint32_t a, uint32_t b)
{
    return columns->presence[a] == columns->presence[b] &&
           columns->member[a] == columns->member[b] && columns->node[a] == columns->node[b] &&
           columns->zone[a] == columns->zone[b] && columns->region[a] == columns->region[b] &&
           columns->traits[a] == columns->traits[b] && columns->health[a] == columns->health[b] &&
           columns->product[a] == columns->product[b] && columns->owner[a] == columns->owner[b] &&
           columns->labels[a] == columns->labels[b] &&
           columns->compute_capability[a] == columns->compute_capability[b] &&
           columns->memory_bytes[a] == columns->memory_bytes[b] &&
           columns->memory_foreign[a] == columns->memory_foreign[b] &&
           columns->compute_milli[a] == columns->compute_milli[b] &&
           columns->compute_foreign[a] == columns->compute_foreign[b] &&
           columns->step_milli[a] == columns->step_milli[b] &&
           columns->tenants_max[a] == columns->tenants_max[b] &&
           columns->price_nano_hour[a] == columns->price_nano_hour[b] &&
           columns->preemptions_hour[a] == columns->preemptions_hour[b] &&
           columns->avoid_until_ns[a] == columns->avoid_until_ns[b];
}

static bool has_room(const struct plan *plan, uint32_t slice)
{
    return plan->view->compute_free[slice] > 0 &&
           plan->view->tenants[slice] < plan->placement->columns->tenants_max[slice];
}

static void run_begin(struct plan *plan, uint32_t slice)
{
    struct placement *placement = plan->placement;

    placement->run_places[slice] = plan->run_count;
    placement->run_lengths[slice] = 1;
    placement->runs[plan->run_count++] = slice;
}

static bool continues_run(const struct plan *plan, uint32_t slice)
{
    const struct view *view = plan->view;

    return plan->placement->like_previous[slice] && has_room(plan, slice - 1) &&
           view->compute_free[slice] == view->compute_free[slice - 1] &&
           view->memory_free[slice] == view->memory_free[slice - 1] &&
           view->tenants[slice] == view->tenants[slice - 1];
}

/* Finds the runs anew and leaves out what is full. It costs a part of an item, so not for each. */
#define FIND_RUNS_ITEMS 16u

static void find_runs(struct plan *plan)
{
    struct placement *placement = plan->placement;

    plan->run_count = 0;
    for (uint32_t i = 0; i < placement->columns->count; i++) {
        if (!has_room(plan, i))
            continue;
        if (continues_run(plan, i))
            placement->run_lengths[placement->runs[plan->run_count - 1]]++;
        else
            run_begin(plan, i);
    }
}

/* The first of a run was taken: it begins with the next one, and the first is, while it has room, one of its own. */
static void run_step(struct plan *plan, uint32_t first)
{
    struct placement *placement = plan->placement;
    uint32_t place = placement->run_places[first];

    placement->runs[place] = first + 1;
    placement->run_places[first + 1] = place;
    placement->run_lengths[first + 1] = placement->run_lengths[first] - 1;
    if (has_room(plan, first))
        run_begin(plan, first);
}

/* --- one item --- */

static void take(struct plan *plan, uint32_t slice, uint64_t memory_bytes, uint32_t compute_milli)
{
    struct placement *placement = plan->placement;

    placement_view_take(placement, plan->view, slice, memory_bytes, compute_milli);
    placement->node_busy[placement->columns->node[slice]] += plan->view->tenants[slice] == 1;
}

static void write_slice(struct plan *plan, uint32_t part, uint32_t slice)
{
    plan->item->slices[plan->item->placed * plan->item->request->part_count + part] = slice;
}

/* The slice has one replica more: it is in the heap only while it takes yet another, which is asked anew. Returns how many
 * are in the heap. */
static uint32_t reuse(struct plan *plan, struct plan_entry *heap, uint32_t count, float rate)
{
    struct placement *placement = plan->placement;
    struct eligible *one = &placement->eligible[heap[count].index];

    if (placement_filter_slice(placement, &plan->choice, heap[count].slice, one) != PLACEMENT_FITS)
        return count;
    one->rate = rate;
    heap[count].score = placement_score_one(placement, &plan->choice, one);
    rise(heap, count);
    return count + 1;
}

/* The best's slice was taken: the next of its run stands in its place, as high as it did. Returns how many are in the heap. */
static uint32_t replace_top(struct plan *plan, struct plan_entry *heap, uint32_t count)
{
    struct placement *placement = plan->placement;
    struct eligible *one = &placement->eligible[heap[0].index];
    struct plan_entry taken = heap[0];

    if (placement->run_lengths[one->slice] > 1) {
        run_step(plan, one->slice);
        heap[0].slice = ++one->slice;
        taken.index = placement->eligible_count++;
    } else {
        heap[0] = heap[--count];
        if (count > 0)
            sink(heap, count, 0);
    }
    heap[count] = taken;
    return reuse(plan, heap, count, one->rate);
}

static void place_singles(struct plan *plan, uint32_t wanted)
{
    struct placement *placement = plan->placement;
    struct plan_entry *heap = placement->heap;
    uint32_t count;

    placement_filter_some(placement, &plan->choice, placement->runs, plan->run_count);
    count = placement->eligible_count;
    placement_score(placement, &plan->choice);
    make_heap(placement, heap);
    while (plan->item->placed < wanted && count > 0) {
        const struct eligible *one = &placement->eligible[heap[0].index];
        float score = placement_score_one(placement, &plan->choice, one);

        if (score < heap[0].score) {
            heap[0].score = score;
            sink(heap, count, 0);
            continue;
        }
        take(plan, one->slice, one->memory_bytes, one->compute_milli);
        placement_note_replica(placement, one->slice, 1);
        write_slice(plan, 0, one->slice);
        plan->item->placed++;
        count = replace_top(plan, heap, count);
    }
}

static void list_open(struct plan *plan)
{
    uint32_t *open = plan->placement->open;

    plan->open_count = 0;
    for (uint32_t i = 0; i < plan->placement->columns->count; i++) {
        open[plan->open_count] = i;
        plan->open_count += has_room(plan, i);
    }
}

static void place_gangs(struct plan *plan, uint32_t wanted)
{
    struct placement *placement = plan->placement;
    struct placement_decision *decision = &placement->gang_decision;

    list_open(plan);
    while (plan->item->placed < wanted) {
        placement_filter_some(placement, &plan->choice, placement->open, plan->open_count);
        placement_score(placement, &plan->choice);
        if (!placement_pick_gang(placement, &plan->choice, decision))
            break;
        for (uint32_t i = 0; i < decision->part_count; i++) {
            const struct booking_part *part = &decision->parts[i].booking;

            take(plan, part->slice, part->memory_bytes, part->compute_milli);
            write_slice(plan, i, part->slice);
        }
        placement_note_replica(placement, decision->parts[0].booking.slice, 1);
        plan->item->placed++;
    }
    find_runs(plan);
}

static void place_in_tier(struct plan *plan, uint32_t wanted)
{
    if (wanted > plan->item->replicas)
        wanted = plan->item->replicas;
    if (plan->item->request->part_count > 1)
        place_gangs(plan, wanted);
    else
        place_singles(plan, wanted);
}

/* Where the item's own replicas went: taken back from the tables of the spread. */
static void forget_replicas(struct plan *plan)
{
    const struct placement_plan_item *item = plan->item;

    for (uint32_t i = 0; i < item->placed; i++)
        placement_note_replica(plan->placement, item->slices[i * item->request->part_count], -1);
}

static void place_item(struct plan *plan)
{
    const struct placement_request *request = plan->item->request;
    struct placement *placement = plan->placement;
    uint32_t floor = request->on_demand_min, standing = 0;

    CHECK(placement_is_request_sane(placement, request));
    plan->choice.request = request;
    plan->item->placed = 0;
    if (!plan->from_empty)
        standing = placement_count_on_demand(placement, request->model);
    placement_lay_out(placement, request, !plan->from_empty);
    for (uint32_t i = 0; i < placement_tier_count(request); i++) {
        struct placement_tier tier = placement_tier_of(request, i);

        plan->choice.tier = &tier;
        plan->choice.refuses_spot = true;
        if (standing < floor)
            place_in_tier(plan, floor - standing);
        /* Nothing stands on spot before the floor is reached. */
        plan->choice.refuses_spot = standing + plan->item->placed < floor;
        place_in_tier(plan, plan->item->replicas);
    }
    forget_replicas(plan);
    placement_clear(placement, request, !plan->from_empty);
}

void placement_plan(struct placement *placement, struct placement_plan_item *items, uint32_t count,
                    bool from_empty, uint64_t now_ns)
{
    struct plan plan = {.placement = placement,
                        .view = placement_what_if(placement, from_empty),
                        .from_empty = from_empty};

    plan.choice = (struct choice){.view = plan.view, .now_ns = now_ns};
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        plan.choice.headroom.of[r] = QUOTA_UNLIMITED;
    for (uint32_t i = 1; i < placement->columns->count; i++)
        placement->like_previous[i] = is_like_by_nature(placement->columns, i - 1, i);
    placement_count_nodes(placement, plan.view);
    for (uint32_t i = 0; i < count; i++) {
        plan.item = &items[i];
        if (i % FIND_RUNS_ITEMS == 0)
            find_runs(&plan);
        place_item(&plan);
    }
    placement_clear_nodes(placement);
}

/* --- what is stranded --- */

static bool is_open(const struct placement *placement, uint32_t slice)
{
    const struct pool_columns *columns = placement->columns;
    struct member_info info;

    return columns->presence[slice] == SLICE_PRESENT && columns->health[slice] <= SLICE_DEGRADED &&
           !columns->is_quarantined[slice] &&
           pool_member_get(placement->pool, columns->member[slice], &info) &&
           info.state == MEMBER_SYNCED;
}

struct placement_stranded placement_stranded(struct placement *placement,
                                             const struct placement_stranded_shape *mix,
                                             uint32_t count)
{
    const struct pool_columns *columns = placement->columns;
    struct placement_stranded result = {0};
    double stranded = 0;

    for (uint32_t i = 0; i < columns->count; i++) {
        if (!is_open(placement, i))
            continue;
        result.total_milli += columns->compute_milli[i];
        result.free_milli += columns->compute_free[i];
        for (uint32_t j = 0; j < count && columns->compute_free[i] > 0; j++) {
            struct placement_request request = {.shape = mix[j].shape};
            struct choice choice = {.request = &request, .view = &placement->now};
            struct eligible part;

            for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
                choice.headroom.of[r] = QUOTA_UNLIMITED;
            if (placement_filter_slice(placement, &choice, i, &part) != PLACEMENT_FITS)
                stranded += (double)mix[j].share * columns->compute_free[i];
        }
    }
    if (result.total_milli > 0)
        result.stranded_share = stranded / (double)result.total_milli;
    return result;
}
