/* Entries of the fleet: from their want to the telling of their end. */
#include "replica_fleet_internal.h"

#include <stdio.h>

struct fleet_entry *fleet_entry_find(struct replica_fleet *fleet, uint64_t uid)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        if (fleet->entries[i].uid == uid)
            return &fleet->entries[i];
    }
    return NULL;
}

struct fleet_entry *fleet_entry_add(struct replica_fleet *fleet,
                                    const struct placement_request *request, uint64_t now_ns)
{
    struct fleet_entry *entry;

    if (fleet->entry_count == fleet->entry_max)
        return NULL;
    entry = &fleet->entries[fleet->entry_count++];
    *entry = (struct fleet_entry){.uid = request->uid,
                                  .request = *request,
                                  .member = POOL_MEMBER_NONE,
                                  .wanted_ns = now_ns,
                                  .since_ns = now_ns,
                                  .leave_by_ns = UINT64_MAX};
    entry->request.reserve_ns = UINT64_MAX;
    return entry;
}

void fleet_entry_remove(struct replica_fleet *fleet, struct fleet_entry *entry)
{
    *entry = fleet->entries[--fleet->entry_count];
}

void fleet_entry_end(struct replica_fleet *fleet, struct fleet_entry *entry,
                     enum member_cause cause, const char *reason)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    uint64_t uid = entry->uid;
    bool is_given_up = entry->is_given_up;

    (void)placement_queue_remove(fleet->queue, uid);
    (void)pool_release(fleet->pool, uid);
    fleet_entry_remove(fleet, entry);
    fleet->has_changed = true;
    if (!is_given_up)
        events->ended(events->context, uid, cause, reason);
}

bool fleet_entry_may_leave(const struct fleet_entry *entry)
{
    return entry->leave_by_ns == UINT64_MAX && !entry->is_given_up && entry->state != ENTRY_DEAD;
}

void fleet_entry_leave(struct replica_fleet *fleet, struct fleet_entry *entry, uint64_t by_ns,
                       const char *why)
{
    const struct replica_fleet_events *events = &fleet->options.events;

    if (by_ns >= entry->leave_by_ns || entry->is_given_up || entry->state == ENTRY_DEAD)
        return;
    entry->leave_by_ns = by_ns;
    events->leave(events->context, entry->uid, by_ns, why);
}

bool fleet_entry_stop(struct replica_fleet *fleet, struct fleet_entry *entry, uint64_t grace_ns)
{
    status result = member_runner_stop(fleet->members[entry->member].runner, entry->uid, grace_ns);

    entry->owes_stop = result == STATUS_NO_MEMORY;
    return result != STATUS_NOT_FOUND;
}

void fleet_entry_wait(struct replica_fleet *fleet, struct fleet_entry *entry)
{
    (void)pool_release(fleet->pool, entry->uid);
    entry->state = ENTRY_WAITING;
    entry->member = POOL_MEMBER_NONE;
    entry->leave_by_ns = UINT64_MAX;
    fleet->has_changed = true;
    if (placement_queue_add(fleet->queue, &entry->request, entry->wanted_ns) != STATUS_OK) {
        entry->state = ENTRY_DEAD;
        entry->cause = MEMBER_CAUSE_REFUSED;
        (void)snprintf(entry->reason, sizeof(entry->reason), "too many replicas wait for a slice");
    }
}
