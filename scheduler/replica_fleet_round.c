/* Rounds of the fleet's queue: who is placed, who is preempted, who is moved for a gang. */
#include "replica_fleet_internal.h"

#include <stdio.h>

#include "check.h"
#include "clock.h"

#define REPACK_NS (10 * NS_PER_SECOND)  /* between looks for room for gangs */
#define MOVES_MAX 8u                    /* replicas moved for one gang */
#define KEEP_NS   (120 * NS_PER_SECOND) /* for so long a gang's slices are kept while others move */

/* What the order says of each slice, as its member calls it. */
static uint32_t parts_write(struct replica_fleet *fleet, const struct placement_decision *decision)
{
    const struct pool_columns *columns = pool_columns(fleet->pool);

    for (uint32_t i = 0; i < decision->part_count; i++) {
        const struct booking_part *part = &decision->parts[i].booking;

        fleet->parts[i] =
            (struct member_part){pool_name_text(fleet->pool, columns->id[part->slice]),
                                 part->memory_bytes, part->compute_milli};
    }
    return decision->part_count;
}

static void placed(void *context, const struct placement_request *request,
                   const struct placement_decision *decision)
{
    struct replica_fleet *fleet = context;
    const struct replica_fleet_events *events = &fleet->options.events;
    struct fleet_entry *entry = fleet_entry_find(fleet, request->uid);
    uint32_t member = pool_columns(fleet->pool)->member[decision->parts[0].booking.slice];
    struct member_order order = {.uid = request->uid, .image = "", .environment = NULL};
    status result;

    CHECK(entry != NULL);
    placement_log_place(fleet->log, fleet->pool, request, decision, fleet->now_ns);
    result = events->compose(events->context, request, member, decision, &order);
    order.uid = request->uid;
    order.parts = fleet->parts;
    order.part_count = parts_write(fleet, decision);
    order.priority = request->priority;
    order.is_preemptible = request->is_preemptible;
    if (result == STATUS_OK)
        result = member_runner_start(fleet->members[member].runner, &order);
    entry->state = ENTRY_ORDERED;
    entry->member = member;
    entry->since_ns = fleet->now_ns;
    entry->was_told = true;
    entry->is_known = false;
    if (result == STATUS_OK)
        return;
    entry->state = ENTRY_DEAD; /* told after the round: the queue may not change within it */
    entry->cause = MEMBER_CAUSE_REFUSED;
    (void)snprintf(entry->reason, sizeof(entry->reason), "its order cannot be written: %s",
                   status_name(result));
    placement_log_mark(fleet->log, entry->uid, PLACEMENT_REFUSED, entry->reason);
}

/* Within a round. */
static void preempt(void *context, const struct placement_request *request,
                    const struct placement_preemption *preemption)
{
    struct replica_fleet *fleet = context;

    (void)request;
    for (uint32_t i = 0; i < preemption->victim_count; i++) {
        struct fleet_entry *entry = fleet_entry_find(fleet, preemption->victims[i]);

        placement_log_mark(fleet->log, preemption->victims[i], PLACEMENT_PREEMPTED,
                           FLEET_PREEMPTED);

        if (entry != NULL)
            entry->is_preempted =
                true; /* told after the round: the queue may not change within it */
    }
}

/* The first gang that waits without an expected start; false: there is none. */
static bool gang_find(const struct replica_fleet *fleet, struct placement_waiting *out)
{
    for (uint32_t i = 0; placement_queue_get(fleet->queue, i, out); i++) {
        if (out->request->part_count > 1 && out->start_ns == POOL_NO_END)
            return true;
    }
    return false;
}

static void repack(struct replica_fleet *fleet, uint64_t now_ns)
{
    struct placement_repacking *found = &fleet->repacking;
    struct placement_waiting gang;

    if (!gang_find(fleet, &gang) ||
        placement_repack(fleet->placement, gang.request, MOVES_MAX, now_ns, found) != STATUS_OK ||
        found->move_count == 0 ||
        placement_queue_keep(fleet->queue, gang.request->uid, &found->decision, now_ns + KEEP_NS) !=
            STATUS_OK)
        return;
    for (uint32_t i = 0; i < found->move_count; i++) {
        struct fleet_entry *entry = fleet_entry_find(fleet, found->moves[i].uid);

        if (entry != NULL)
            fleet_entry_leave(fleet, entry, now_ns + KEEP_NS, "moved: a gang needs its slice");
    }
}

void fleet_round(struct replica_fleet *fleet, uint64_t now_ns)
{
    const struct placement_queue_driver driver = {.placed = placed,
                                                  .preempt =
                                                      fleet->options.may_preempt ? preempt : NULL,
                                                  .context = fleet,
                                                  .drain_ns = fleet->options.drain_ns,
                                                  .min_run_ns = fleet->options.min_run_ns};

    fleet->has_changed = false;
    fleet->round_ns = now_ns + FLEET_ROUND_NS;
    fleet->is_in_round = true;
    (void)placement_queue_round(fleet->queue, &driver, now_ns);
    fleet->is_in_round = false;
    if (now_ns < fleet->repack_ns)
        return;
    fleet->repack_ns = now_ns + REPACK_NS;
    repack(fleet, now_ns);
}
