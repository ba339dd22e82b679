/* Slices on which replicas keep failing. The fleet does not know whether a replica serves, but a program that is broken does not run for
 * long: one of the same model that has run for a while on another slice shows that the model is sound. */
#include <stdio.h>

#include "log.h"
#include "replica_fleet_internal.h"

/* Longer than a model takes to be loaded and to fail at its first step. */
#define PROOF_NS (60 * NS_PER_SECOND)

static bool is_on(const struct replica_fleet *fleet, uint64_t uid, uint32_t slice)
{
    const struct booking *booking = pool_booking_find(fleet->pool, uid);
    uint32_t part = booking != NULL ? booking->part_first : POOL_SLICE_NONE;

    for (; part != POOL_SLICE_NONE; part = pool_part_next(fleet->pool, part))
        if (pool_part(fleet->pool, part)->slice == slice)
            return true;
    return false;
}

static bool has_proof(const struct replica_fleet *fleet, const struct fleet_entry *failed,
                      uint32_t slice)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        const struct fleet_entry *entry = &fleet->entries[i];

        if (entry != failed && entry->state == ENTRY_THERE &&
            entry->request.model == failed->request.model &&
            fleet->now_ns - entry->since_ns >= PROOF_NS && !is_on(fleet, entry->uid, slice))
            return true;
    }
    return false;
}

static uint32_t slices_there(const struct replica_fleet *fleet)
{
    const struct pool_columns *slices = pool_columns(fleet->pool);
    uint32_t count = 0;

    for (uint32_t i = 0; i < slices->count; i++)
        count += slices->presence[i] == SLICE_PRESENT;
    return count;
}

static void slice_note(struct replica_fleet *fleet, uint32_t slice, enum slice_fault fault)
{
    const struct pool_columns *slices = pool_columns(fleet->pool);
    const char *id = pool_name_text(fleet->pool, slices->id[slice]);
    uint32_t member = slices->member[slice];
    uint64_t before_ns = slice_faults_until(&fleet->faults, member, id, fleet->now_ns);
    uint64_t until_ns =
        slice_faults_note(&fleet->faults, member, id, fault, slices_there(fleet), fleet->now_ns);

    if (until_ns == 0 || before_ns != 0)
        return;
    log_warn("scheduler",
             "member %s: slice %s is kept empty for %llu s: replicas have failed there repeatedly",
             fleet->members[member].name, id,
             (unsigned long long)((until_ns - fleet->now_ns) / NS_PER_SECOND));
}

void fleet_fault_note(struct replica_fleet *fleet, const struct fleet_entry *entry,
                      enum member_cause cause)
{
    const struct booking *booking = pool_booking_find(fleet->pool, entry->uid);
    uint32_t part = booking != NULL ? booking->part_first : POOL_SLICE_NONE;

    for (; part != POOL_SLICE_NONE; part = pool_part_next(fleet->pool, part)) {
        uint32_t slice = pool_part(fleet->pool, part)->slice;

        if (cause == MEMBER_CAUSE_NODE)
            slice_note(fleet, slice, SLICE_FAULT_DEVICE);
        else if (cause == MEMBER_CAUSE_PROGRAM && has_proof(fleet, entry, slice))
            slice_note(fleet, slice, SLICE_FAULT_PROGRAM);
    }
}

/* In each turn: a slice that went and came back has been opened by that. */
static void entry_apply(struct replica_fleet *fleet, struct slice_fault_entry *entry,
                        uint64_t now_ns)
{
    uint32_t slice = pool_slice_find(fleet->pool, entry->member, entry->id);
    bool is_closed = now_ns < entry->until_ns;

    if (slice != POOL_SLICE_NONE && (is_closed || entry->is_closed))
        pool_slice_quarantine(fleet->pool, slice, is_closed);
    if (entry->is_closed && !is_closed) {
        log_info("scheduler", "member %s: slice %s is taken again",
                 fleet->members[entry->member].name, entry->id);
        fleet->has_changed = true;
    }
    entry->is_closed = is_closed;
}

uint64_t fleet_faults_tick(struct replica_fleet *fleet, uint64_t now_ns)
{
    for (uint32_t i = 0; i < fleet->faults.count; i++)
        entry_apply(fleet, &fleet->faults.entries[i], now_ns);
    return slice_faults_sweep(&fleet->faults, now_ns);
}
