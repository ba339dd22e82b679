/* What members tell. Slices go into the book as they are told; replicas are matched with what is known of them by their uids. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "member_event.h"
#include "memory.h"
#include "replica_fleet_internal.h"

#define AVOID_NS    (10 * NS_PER_SECOND) /* a slice that its member has just refused */
#define BACK_OFF_NS (60 * NS_PER_SECOND) /* a model whose order its member will not have */
/* A list of replicas may have been made before the last order was; by then it has been. */
#define LIST_AGE_NS (30 * NS_PER_SECOND)

/* --- slices --- */

/* The next one on the slice who is still to be told. */
static struct fleet_entry *tenant_find(struct replica_fleet *fleet, uint32_t slice)
{
    for (uint32_t part = pool_slice_part_first(fleet->pool, slice); part != POOL_SLICE_NONE;
         part = pool_slice_part_next(fleet->pool, part)) {
        const struct booking *booking =
            pool_booking_at(fleet->pool, pool_part_row(fleet->pool, part));
        struct fleet_entry *entry = booking != NULL ? fleet_entry_find(fleet, booking->uid) : NULL;

        if (entry != NULL && fleet_entry_may_leave(entry))
            return entry;
    }
    return NULL;
}

/* Everybody on the slice is to leave. Anew after each, as its owner may change the entries and the book. */
static void slice_leave(struct replica_fleet *fleet, uint32_t slice, const char *why,
                        uint64_t now_ns)
{
    struct fleet_entry *entry;

    while ((entry = tenant_find(fleet, slice)) != NULL)
        fleet_entry_leave(fleet, entry, now_ns + fleet->options.drain_ns, why);
}

/* If nobody can stay on it. */
static void slice_check(struct replica_fleet *fleet, uint32_t slice, uint64_t now_ns)
{
    const struct pool_columns *columns = pool_columns(fleet->pool);
    char why[FLEET_REASON_BYTES];

    if (columns->presence[slice] == SLICE_GONE) {
        slice_leave(fleet, slice, "its slice is gone", now_ns);
        return;
    }
    if (columns->presence[slice] != SLICE_PRESENT ||
        (columns->health[slice] != SLICE_DRAINING && columns->health[slice] != SLICE_BAD))
        return;
    (void)snprintf(why, sizeof(why), "its slice %s is %s: %s",
                   pool_name_text(fleet->pool, columns->id[slice]),
                   slice_health_name((enum slice_health)columns->health[slice]),
                   pool_name_text(fleet->pool, columns->reason[slice]));
    slice_leave(fleet, slice, why, now_ns);
}

static void slice_take(struct replica_fleet *fleet, uint32_t member,
                       const struct slice_report *report, uint64_t now_ns)
{
    status result = pool_slice_upsert(fleet->pool, member, report, now_ns);

    if (result != STATUS_OK)
        log_warn("scheduler", "member %s: slice %s is not taken: %s", fleet->members[member].name,
                 report->id, status_name(result));
    else
        slice_check(fleet, pool_slice_find(fleet->pool, member, report->id), now_ns);
}

static void slice_gone(struct replica_fleet *fleet, uint32_t member, const char *id,
                       uint64_t now_ns)
{
    uint32_t slice = pool_slice_find(fleet->pool, member, id);

    if (pool_slice_remove(fleet->pool, member, id, now_ns))
        slice_check(fleet, slice, now_ns);
}

static void gone_leave(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns)
{
    const struct pool_columns *columns = pool_columns(fleet->pool);

    for (uint32_t slice = 0; slice < columns->count; slice++) {
        if (columns->presence[slice] == SLICE_GONE && columns->member[slice] == member)
            slice_check(fleet, slice, now_ns);
    }
}

/* --- replicas --- */

static bool parts_find(struct replica_fleet *fleet, uint32_t member,
                       const struct member_replica *replica)
{
    for (uint32_t i = 0; i < replica->part_count; i++) {
        const struct member_part *part = &replica->parts[i];

        fleet->bookings[i] =
            (struct booking_part){.slice = pool_slice_find(fleet->pool, member, part->slice_id),
                                  .memory_bytes = part->memory_bytes,
                                  .compute_milli = part->compute_milli};
        if (fleet->bookings[i].slice == POOL_SLICE_NONE)
            return false;
    }
    return true;
}

/* The member has it: it may come up now. */
static void there(struct replica_fleet *fleet, struct fleet_entry *entry, uint64_t now_ns)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    status result = pool_commit(fleet->pool, entry->uid, now_ns);

    CHECK(result == STATUS_OK); /* it has its booking until it is gone */
    if (entry->state == ENTRY_ORDERED) {
        entry->state = ENTRY_THERE;
        entry->since_ns = now_ns;
    }
    if (entry->is_started || entry->is_given_up || entry->state == ENTRY_STOPPING)
        return;
    entry->is_started = true;
    events->started(events->context, entry->uid, entry->member);
}

/* Gone. What is left of it in the member is to be taken away, and an order that may be tried again is not. */
static void end_take(struct replica_fleet *fleet, struct fleet_entry *entry,
                     const struct member_replica *replica)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    uint64_t uid = replica->uid;

    if (!entry->is_forgotten &&
        (replica->phase == MEMBER_REPLICA_FAILED || entry->state == ENTRY_ORDERED))
        (void)fleet_entry_stop(fleet, entry, 0);
    if (!entry->is_given_up)
        events->told(events->context, replica);
    entry = fleet_entry_find(fleet, uid);
    if (entry == NULL)
        return;
    if (replica->phase == MEMBER_REPLICA_FAILED && entry->state != ENTRY_STOPPING)
        fleet_fault_note(fleet, entry, replica->cause);
    fleet_entry_end(fleet, entry, replica->cause, replica->reason);
}

static void known_take(struct replica_fleet *fleet, struct fleet_entry *entry,
                       const struct member_replica *replica, uint64_t now_ns)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    uint64_t uid = replica->uid;

    entry->was_told = true;
    entry->is_known = true;
    if (replica->phase == MEMBER_REPLICA_ENDED || replica->phase == MEMBER_REPLICA_FAILED) {
        end_take(fleet, entry, replica);
        return;
    }
    if (entry->is_given_up) {
        /* It is there still, though it was to end long ago. */
        if (replica->phase != MEMBER_REPLICA_STOPPING && !entry->is_forgotten)
            (void)fleet_entry_stop(fleet, entry, 0);
        return;
    }
    if (replica->phase == MEMBER_REPLICA_STARTING || replica->phase == MEMBER_REPLICA_RUNNING)
        there(fleet, entry, now_ns);
    events->told(events->context, replica);
    entry = fleet_entry_find(fleet, uid);
    if (entry != NULL && replica->ends_notice_ns != 0)
        fleet_entry_leave(fleet, entry, replica->ends_notice_ns,
                          replica->reason[0] != '\0' ? replica->reason : "its member will end it");
}

/* Booked as it is, and followed from here on. False: it is nobody's. */
static bool stranger_adopt(struct replica_fleet *fleet, uint32_t member,
                           const struct member_replica *replica, uint64_t now_ns)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    struct placement_request request = {.uid = replica->uid, .part_count = replica->part_count};
    status result;

    if (!events->adopt(events->context, member, replica, &request))
        return false;
    result = replica_fleet_adopt(fleet, &request, member, fleet->bookings, now_ns);
    if (result != STATUS_OK) {
        char text[FLEET_REASON_BYTES];

        (void)snprintf(text, sizeof(text), "cannot be booked: %s", status_name(result));
        events->ended(events->context, replica->uid, MEMBER_CAUSE_REFUSED, text);
        return false;
    }
    known_take(fleet, fleet_entry_find(fleet, replica->uid), replica, now_ns);
    for (uint32_t i = 0; i < replica->part_count; i++)
        slice_check(fleet, fleet->bookings[i].slice, now_ns);
    return true;
}

/* One that nobody knows. False: its slices are not known yet, or there is no memory for stopping it. */
static bool stranger_take(struct replica_fleet *fleet, uint32_t member,
                          const struct member_replica *replica, bool is_last_chance,
                          uint64_t now_ns)
{
    bool has_parts = replica->part_count > 0 && replica->part_count <= POOL_GANG_MAX,
         is_found = has_parts && parts_find(fleet, member, replica);

    if (replica->phase == MEMBER_REPLICA_STOPPING || replica->phase == MEMBER_REPLICA_ENDED)
        return true;
    if (replica->phase != MEMBER_REPLICA_FAILED) {
        if (has_parts && !is_found && !is_last_chance)
            return false;
        if (is_found && stranger_adopt(fleet, member, replica, now_ns))
            return true;
    }
    if (now_ns < fleet->options.strangers_until_ns)
        return false;
    log_warn("scheduler", "member %s: %s (%016llx) is nobody's: it is stopped",
             fleet->members[member].name, replica->handle, (unsigned long long)replica->uid);
    return member_runner_stop(fleet->members[member].runner, replica->uid,
                              fleet->options.drain_ns) != STATUS_NO_MEMORY;
}

/* Why it was not to be had there, and where not to look for it again at once. */
static void refusal_note(struct replica_fleet *fleet, const struct fleet_entry *entry,
                         status result, uint64_t now_ns)
{
    const struct booking *booking = pool_booking_find(fleet->pool, entry->uid);

    if (result != STATUS_FULL) {
        placement_back_off(fleet->placement, entry->request.model, entry->member,
                           now_ns + BACK_OFF_NS);
        return;
    }
    CHECK(booking != NULL);
    for (uint32_t part = booking->part_first; part != POOL_SLICE_NONE;
         part = pool_part_next(fleet->pool, part))
        pool_slice_avoid(fleet->pool, pool_part(fleet->pool, part)->slice, now_ns + AVOID_NS);
}

static void started_take(struct replica_fleet *fleet, uint32_t member,
                         const struct member_event *event, uint64_t now_ns)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    struct fleet_entry *entry = fleet_entry_find(fleet, event->uid);

    if (entry == NULL || entry->state == ENTRY_DEAD || entry->member != member)
        return;
    if (event->result == STATUS_OK) {
        entry->is_known = true;
        there(fleet, entry, now_ns);
        return;
    }
    /* Its member has named it already: it will say how it ends. */
    if (entry->state == ENTRY_THERE)
        return;
    if (entry->state == ENTRY_STOPPING) {
        fleet_entry_end(fleet, entry, MEMBER_CAUSE_REFUSED, event->text);
        return;
    }
    refusal_note(fleet, entry, event->result, now_ns);
    placement_log_mark(fleet->log, event->uid, PLACEMENT_REFUSED, event->text);
    fleet_entry_wait(fleet, entry);
    events->refused(events->context, event->uid, member, event->result, event->text);
}

static void stopped_take(struct replica_fleet *fleet, uint32_t member, uint64_t uid,
                         uint64_t now_ns)
{
    struct fleet_entry *entry = fleet_entry_find(fleet, uid);

    if (entry != NULL && entry->member == member && entry->state == ENTRY_STOPPING)
        entry->stopped_ns = now_ns;
}

/* The first of the member's that was not told in its list, though it should have been. */
static struct fleet_entry *missing_find(struct replica_fleet *fleet, uint32_t member,
                                        uint64_t now_ns)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        struct fleet_entry *entry = &fleet->entries[i];

        if (entry->member == member && !entry->was_told && entry->state != ENTRY_WAITING &&
            entry->state != ENTRY_ORDERED && entry->state != ENTRY_DEAD &&
            now_ns - entry->since_ns > LIST_AGE_NS)
            return entry;
    }
    return NULL;
}

static void listed_take(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns)
{
    struct fleet_entry *entry;

    while ((entry = missing_find(fleet, member, now_ns)) != NULL)
        fleet_entry_end(fleet, entry, MEMBER_CAUSE_NODE, "its member has it no more");
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        if (fleet->entries[i].member == member)
            fleet->entries[i].was_told = false;
    }
}

/* --- events --- */

/* A newer word of the same replica counts. */
static void late_drop(struct fleet_member *state, uint64_t uid)
{
    struct member_event **link = &state->late;

    for (struct member_event *event = *link; event != NULL; event = *link) {
        if (event->replica.uid == uid) {
            *link = event->next;
            member_event_free(event);
        } else {
            link = &event->next;
        }
    }
}

static void late_put(struct fleet_member *state, struct member_event *event)
{
    event->next = state->late;
    state->late = event;
}

/* Its slices are as it says: replicas that nobody knows are looked at again, for the last time. */
static void late_take(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns)
{
    struct member_event *event = fleet->members[member].late;
    struct member_info info;

    if (event == NULL || !pool_member_get(fleet->pool, member, &info) ||
        info.state != MEMBER_SYNCED || info.is_listing)
        return;
    fleet->members[member].late = NULL;
    for (struct member_event *next; event != NULL; event = next) {
        next = event->next;
        if (fleet_entry_find(fleet, event->replica.uid) == NULL &&
            !stranger_take(fleet, member, &event->replica, true, now_ns))
            late_put(&fleet->members[member], event);
        else
            member_event_free(event);
    }
}

static void broken_take(struct replica_fleet *fleet, uint32_t member,
                        const struct member_event *event)
{
    struct fleet_member *state = &fleet->members[member];

    if (strcmp(state->trouble, event->text) != 0 || state->trouble[0] == '\0')
        log_warn("scheduler", "member %s does not answer as it should: %s: %s", state->name,
                 status_name(event->result), event->text);
    (void)snprintf(state->trouble, sizeof(state->trouble), "%s: %s", status_name(event->result),
                   event->text);
}

static void list_end(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns)
{
    if (fleet->members[member].trouble[0] != '\0')
        log_info("scheduler", "member %s answers again", fleet->members[member].name);
    fleet->members[member].trouble[0] = '\0';
    if (pool_list_end(fleet->pool, member, now_ns) > 0)
        gone_leave(fleet, member, now_ns);
}

/* True: the event is kept. */
static bool replica_take(struct replica_fleet *fleet, uint32_t member, struct member_event *event,
                         uint64_t now_ns)
{
    struct fleet_entry *entry = fleet_entry_find(fleet, event->replica.uid);

    late_drop(&fleet->members[member], event->replica.uid);
    if (entry != NULL && entry->member == member && entry->state != ENTRY_DEAD) {
        known_take(fleet, entry, &event->replica, now_ns);
        return false;
    }
    /* Refused here, or not begun here, as far as is known: it waits, or is elsewhere by now. */
    if (entry != NULL) {
        if (event->replica.phase < MEMBER_REPLICA_STOPPING &&
            member_runner_stop(fleet->members[member].runner, event->replica.uid, 0) ==
                STATUS_NO_MEMORY)
            log_error("scheduler", "member %s: out of memory for stopping %s",
                      fleet->members[member].name, event->replica.handle);
        return false;
    }
    if (stranger_take(fleet, member, &event->replica, false, now_ns))
        return false;
    late_put(&fleet->members[member], event);
    return true;
}

static bool event_take(struct replica_fleet *fleet, uint32_t member, struct member_event *event,
                       uint64_t now_ns)
{
    switch (event->kind) {
    case MEMBER_EVENT_LIST_BEGIN:
        pool_list_begin(fleet->pool, member, now_ns);
        return false;
    case MEMBER_EVENT_SLICE:
        slice_take(fleet, member, &event->slice, now_ns);
        return false;
    case MEMBER_EVENT_SLICE_GONE:
        slice_gone(fleet, member, event->text, now_ns);
        return false;
    case MEMBER_EVENT_LIST_END:
        list_end(fleet, member, now_ns);
        return false;
    case MEMBER_EVENT_HEARD:
        pool_member_heard(fleet->pool, member, now_ns);
        return false;
    case MEMBER_EVENT_RESYNC:
        pool_member_resync(fleet->pool, member, now_ns);
        return false;
    case MEMBER_EVENT_REPLICA:
        return replica_take(fleet, member, event, now_ns);
    case MEMBER_EVENT_REPLICAS_LISTED:
        listed_take(fleet, member, now_ns);
        return false;
    case MEMBER_EVENT_BROKEN:
        broken_take(fleet, member, event);
        return false;
    case MEMBER_EVENT_STARTED:
        started_take(fleet, member, event, now_ns);
        return false;
    case MEMBER_EVENT_STOPPED:
        stopped_take(fleet, member, event->uid, now_ns);
        return false;
    }
    return false;
}

/* Whether what waits may fit after it. */
static bool is_change(const struct replica_fleet *fleet, uint32_t member,
                      const struct member_event *event)
{
    struct member_info info;

    return event->kind != MEMBER_EVENT_HEARD || !pool_member_get(fleet->pool, member, &info) ||
           info.state != MEMBER_SYNCED;
}

void fleet_member_take(struct replica_fleet *fleet, uint32_t member, uint64_t now_ns)
{
    struct member_event *event = member_runner_take(fleet->members[member].runner), *next;

    for (; event != NULL; event = next) {
        next = event->next;
        fleet->has_changed |= is_change(fleet, member, event);
        if (!event_take(fleet, member, event, now_ns))
            member_event_free(event);
    }
    late_take(fleet, member, now_ns);
}
