/* A replica's way
 *
 *      want -> WAITING -- placed --> ORDERED -- the member has it --> THERE -- stop --> STOPPING -- gone --> ended
 *                 ^                     |
 *                 +-- it has no room ---+
 *
 * The book has a replica's slices from the placement until its member has said that it is gone, whatever its owner thinks of it by then:
 * nothing else is started in its place before. So reservations do not run out by themselves: an order may wait long for a member that
 * is slow. An order that a member has never owned up to ends when that member has heard the stop and still does not know it.
 *
 * What members tell of replicas that nobody knows is either adopted or stopped, so that nothing runs for nobody.
 *
 * The owner is called with no entry held, and may want, stop and forget in return; only `compose` may not, since the queue goes through
 * its round then.
 *
 * A gang that waits may be made room for by moving others: its slices are kept for it, those on them are told to leave, and their owner
 * starts each anew elsewhere first. */
#include "replica_fleet_internal.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "hash.h"
#include "memory.h"

/* A member that has heard a stop knows by then whether it has what is to be stopped: as long as a list of replicas may be old. */
#define UNBORN_NS (30 * NS_PER_SECOND)

#define RETRY_FIRST_NS (500 * NS_PER_MS)
#define RETRY_MAX_NS   (30 * NS_PER_SECOND)
#define EVENTS_MAX     65536u

/* --- the owner's calls --- */

status replica_fleet_want(struct replica_fleet *fleet, const struct placement_request *request,
                          uint64_t now_ns)
{
    struct fleet_entry *entry;
    status result;

    CHECK(!fleet->is_in_round);
    if (request->uid == 0 || fleet_entry_find(fleet, request->uid) != NULL)
        return STATUS_INVALID;
    entry = fleet_entry_add(fleet, request, now_ns);
    if (entry == NULL)
        return STATUS_FULL;
    result = placement_queue_add(fleet->queue, &entry->request, now_ns);
    if (result != STATUS_OK)
        fleet_entry_remove(fleet, entry);
    fleet->has_changed = true;
    return result;
}

status replica_fleet_adopt(struct replica_fleet *fleet, const struct placement_request *request,
                           uint32_t member, const struct booking_part *parts, uint64_t now_ns)
{
    const struct booking_request booking = {.uid = request->uid,
                                            .model = request->model,
                                            .tenant = request->tenant,
                                            .priority = request->priority,
                                            .is_preemptible = request->is_preemptible,
                                            .is_movable = request->is_movable,
                                            .is_adopted = true,
                                            .shape = request->shape,
                                            .expires_ns = UINT64_MAX,
                                            .run_ns = request->run_ns,
                                            .part_count = request->part_count,
                                            .parts = parts};
    struct fleet_entry *entry;
    status result;

    CHECK(!fleet->is_in_round);
    if (request->uid == 0 || fleet_entry_find(fleet, request->uid) != NULL)
        return STATUS_INVALID;
    result = pool_reserve(fleet->pool, &booking, now_ns);
    if (result == STATUS_OK)
        result = pool_commit(fleet->pool, request->uid, now_ns);
    if (result != STATUS_OK)
        return result;
    entry = fleet_entry_add(fleet, request, now_ns);
    if (entry == NULL) {
        (void)pool_release(fleet->pool, request->uid);
        return STATUS_FULL;
    }
    entry->state = ENTRY_THERE;
    entry->member = member;
    entry->is_started = true;
    entry->was_told = true;
    entry->is_known = true;
    return STATUS_OK;
}

static void mark_dead(struct fleet_entry *entry, const char *reason)
{
    entry->state = ENTRY_DEAD;
    entry->cause = MEMBER_CAUSE_NONE;
    (void)snprintf(entry->reason, sizeof(entry->reason), "%s", reason);
}

static bool is_reached(const struct replica_fleet *fleet, uint32_t member)
{
    struct member_info info;

    return pool_member_get(fleet->pool, member, &info) && info.state == MEMBER_SYNCED;
}

/* Its owner need not wait for a member that does not answer: the entry stays, and with it the slices. */
static void give_up(struct replica_fleet *fleet, struct fleet_entry *entry)
{
    const struct replica_fleet_events *events = &fleet->options.events;
    char text[FLEET_REASON_BYTES];

    entry->is_given_up = true;
    (void)snprintf(text, sizeof(text), "given up: member %s does not answer",
                   fleet->members[entry->member].name);
    events->ended(events->context, entry->uid, MEMBER_CAUSE_NODE, text);
}

static uint64_t sum_capped(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

void replica_fleet_stop(struct replica_fleet *fleet, uint64_t uid, uint64_t grace_ns,
                        uint64_t now_ns)
{
    struct fleet_entry *entry = fleet_entry_find(fleet, uid);
    status result;

    CHECK(!fleet->is_in_round);
    if (entry == NULL || entry->state == ENTRY_DEAD || entry->is_given_up)
        return;
    if (entry->state == ENTRY_WAITING) {
        (void)placement_queue_remove(fleet->queue, uid);
        mark_dead(entry, "it had no slice yet");
        return;
    }
    if (!fleet_entry_stop(fleet, entry, grace_ns)) {
        mark_dead(entry, "it was not begun yet");
        return;
    }
    entry->state = ENTRY_STOPPING;
    entry->stop_by_ns = sum_capped(now_ns, grace_ns);
    entry->stopped_ns = 0;
    result = pool_drain(fleet->pool, uid, entry->stop_by_ns);
    CHECK(result == STATUS_OK); /* it has its booking until it is gone */
}

status replica_fleet_rest(struct replica_fleet *fleet, uint64_t uid)
{
    status result = pool_rest(fleet->pool, uid);

    fleet->has_changed |= result == STATUS_OK; /* others may fit now */
    return result;
}

status replica_fleet_rouse(struct replica_fleet *fleet, uint64_t uid)
{
    return pool_rouse(fleet->pool, uid);
}

void replica_fleet_forget(struct replica_fleet *fleet, uint64_t uid)
{
    struct fleet_entry *entry = fleet_entry_find(fleet, uid);

    CHECK(!fleet->is_in_round);
    if (entry == NULL)
        return;
    entry->is_given_up = true;
    entry->is_forgotten = true;
    if (entry->state == ENTRY_WAITING || entry->state == ENTRY_DEAD)
        fleet_entry_end(fleet, entry, MEMBER_CAUSE_NONE, "");
}

uint32_t replica_fleet_member_of(const struct replica_fleet *fleet, uint64_t uid)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        if (fleet->entries[i].uid == uid)
            return fleet->entries[i].member;
    }
    return POOL_MEMBER_NONE;
}

/* --- turns --- */

/* The next entry whose end is to be told; NULL: none. Anew each time, as the owner may want and stop others meanwhile. */
static struct fleet_entry *dead_find(struct replica_fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        if (fleet->entries[i].state == ENTRY_DEAD)
            return &fleet->entries[i];
    }
    return NULL;
}

/* Its member cannot be reached, and its owner has waited for as long as it said. */
static struct fleet_entry *lost_find(struct replica_fleet *fleet, uint64_t now_ns)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        struct fleet_entry *entry = &fleet->entries[i];

        if (entry->state == ENTRY_STOPPING && !entry->is_given_up && now_ns >= entry->stop_by_ns &&
            !is_reached(fleet, entry->member))
            return entry;
    }
    return NULL;
}

/* Its member has heard that it is to end, and has never named it: the order did not arrive. */
static struct fleet_entry *unborn_find(struct replica_fleet *fleet, uint64_t now_ns)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        struct fleet_entry *entry = &fleet->entries[i];

        if (entry->state == ENTRY_STOPPING && entry->stopped_ns != 0 && !entry->is_known &&
            now_ns - entry->stopped_ns >= UNBORN_NS && is_reached(fleet, entry->member))
            return entry;
    }
    return NULL;
}

static struct fleet_entry *victim_find(struct replica_fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        if (fleet->entries[i].is_preempted)
            return &fleet->entries[i];
    }
    return NULL;
}

static void owner_tell(struct replica_fleet *fleet, uint64_t now_ns)
{
    struct fleet_entry *entry;

    while ((entry = dead_find(fleet)) != NULL) {
        char reason[FLEET_REASON_BYTES];

        memcpy(reason, entry->reason, sizeof(reason));
        fleet_entry_end(fleet, entry, entry->cause, reason);
    }
    while ((entry = lost_find(fleet, now_ns)) != NULL)
        give_up(fleet, entry);
    while ((entry = unborn_find(fleet, now_ns)) != NULL)
        fleet_entry_end(fleet, entry, MEMBER_CAUSE_NONE, "its member never had it");
    while ((entry = victim_find(fleet)) != NULL) {
        entry->is_preempted = false;
        fleet_entry_leave(fleet, entry, now_ns + fleet->options.drain_ns, FLEET_PREEMPTED);
    }
}

/* What could not be told for want of memory, and when stopping entries are to be looked at again. */
static uint64_t stopping_tick(struct replica_fleet *fleet, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < fleet->entry_count; i++) {
        struct fleet_entry *entry = &fleet->entries[i];
        uint64_t due_ns = UINT64_MAX;

        if (entry->owes_stop) {
            if (!fleet_entry_stop(fleet, entry,
                                  entry->stop_by_ns > now_ns ? entry->stop_by_ns - now_ns : 0))
                mark_dead(entry, "it was not begun yet");
            due_ns = now_ns + FLEET_ROUND_NS;
        }
        if (entry->state == ENTRY_STOPPING && !entry->is_given_up && entry->stop_by_ns > now_ns)
            due_ns = entry->stop_by_ns;
        if (entry->state == ENTRY_STOPPING && entry->stopped_ns != 0 && !entry->is_known &&
            entry->stopped_ns + UNBORN_NS > now_ns && entry->stopped_ns + UNBORN_NS < due_ns)
            due_ns = entry->stopped_ns + UNBORN_NS;
        next_ns = due_ns < next_ns ? due_ns : next_ns;
    }
    return next_ns;
}

uint64_t replica_fleet_turn(struct replica_fleet *fleet, uint64_t now_ns)
{
    uint64_t next_ns, stopping_ns, faults_ns;

    fleet->now_ns = now_ns;
    for (uint32_t i = 0; i < fleet->member_bound; i++) {
        if (fleet->members[i].runner != NULL)
            fleet_member_take(fleet, i, now_ns);
    }
    next_ns = pool_tick(fleet->pool, now_ns);
    faults_ns = fleet_faults_tick(fleet, now_ns);
    owner_tell(fleet, now_ns);
    if (placement_queue_count(fleet->queue) == 0)
        fleet->has_changed = false;
    else if (fleet->has_changed || now_ns >= fleet->round_ns) {
        fleet_round(fleet, now_ns);
        owner_tell(fleet, now_ns);
    }
    stopping_ns = stopping_tick(fleet, now_ns);
    if (fleet->has_changed || dead_find(fleet) != NULL)
        return now_ns;
    next_ns = stopping_ns < next_ns ? stopping_ns : next_ns;
    next_ns = faults_ns < next_ns ? faults_ns : next_ns;
    if (placement_queue_count(fleet->queue) > 0 && fleet->round_ns < next_ns)
        next_ns = fleet->round_ns;
    return next_ns;
}

/* --- members --- */

status replica_fleet_member_add(struct replica_fleet *fleet,
                                const struct replica_fleet_member *member, uint64_t now_ns,
                                uint32_t *out)
{
    struct member_runner_options options = {.driver = member->driver,
                                            .retry_first_ns = RETRY_FIRST_NS,
                                            .retry_max_ns = RETRY_MAX_NS,
                                            .events_max = EVENTS_MAX,
                                            .wake = fleet->options.wake,
                                            .context = fleet->options.wake_context};
    status result = pool_member_add(fleet->pool, &member->config, now_ns, out);
    struct fleet_member *added;

    if (result != STATUS_OK) {
        member->driver.destroy(member->driver.driver);
        return result;
    }
    added = &fleet->members[*out];
    (void)snprintf(added->name, sizeof(added->name), "%s", member->config.name);
    options.name = added->name;
    result = member_runner_create(&options, &added->runner);
    if (result != STATUS_OK) {
        status removed = pool_member_remove(fleet->pool, *out);

        CHECK(removed == STATUS_OK); /* it has no slices yet */
        return result;
    }
    if (*out >= fleet->member_bound)
        fleet->member_bound = *out + 1;
    return STATUS_OK;
}

const char *replica_fleet_member_trouble(const struct replica_fleet *fleet, uint32_t member)
{
    return fleet->members[member].trouble;
}

uint32_t replica_fleet_member_backlog(const struct replica_fleet *fleet, uint32_t member)
{
    return member_runner_backlog(fleet->members[member].runner);
}

struct pool *replica_fleet_pool(struct replica_fleet *fleet)
{
    return fleet->pool;
}

struct placement *replica_fleet_placement(struct replica_fleet *fleet)
{
    return fleet->placement;
}

const struct placement_queue *replica_fleet_queue(const struct replica_fleet *fleet)
{
    return fleet->queue;
}

struct quota_tree *replica_fleet_quota(struct replica_fleet *fleet)
{
    return fleet->options.quota;
}

const struct placement_log *replica_fleet_log(const struct replica_fleet *fleet)
{
    return fleet->log;
}

/* --- life --- */

static status fleet_build(struct replica_fleet *fleet)
{
    const struct pool_limits *limits = &fleet->options.limits;
    struct hash_key key;
    status result;

    random_bytes(&key, sizeof(key));
    fleet->entry_max = limits->bookings_max;
    fleet->entries = memory_allocate_array(fleet->entry_max, sizeof(fleet->entries[0]));
    fleet->members = memory_allocate_array(limits->members_max, sizeof(fleet->members[0]));
    fleet->log = placement_log_create();
    if (fleet->entries == NULL || fleet->members == NULL || fleet->log == NULL)
        return STATUS_NO_MEMORY;
    result = pool_create(limits, &key, fleet->options.quota, &fleet->pool);
    if (result == STATUS_OK)
        result = placement_create(fleet->pool, fleet->options.quota, &fleet->placement);
    if (result == STATUS_OK)
        result = placement_queue_create(fleet->placement, fleet->entry_max, &fleet->queue);
    return result;
}

status replica_fleet_create(const struct replica_fleet_options *options, struct replica_fleet **out)
{
    struct replica_fleet *fleet = memory_allocate_array(1, sizeof(*fleet));
    status result;

    if (fleet == NULL) {
        quota_tree_destroy(options->quota);
        return STATUS_NO_MEMORY;
    }
    fleet->options = *options;
    result = fleet_build(fleet);
    if (result != STATUS_OK) {
        replica_fleet_destroy(fleet);
        return result;
    }
    *out = fleet;
    return STATUS_OK;
}

static void late_free(struct fleet_member *member)
{
    for (struct member_event *event = member->late, *next; event != NULL; event = next) {
        next = event->next;
        member_event_free(event);
    }
}

void replica_fleet_destroy(struct replica_fleet *fleet)
{
    if (fleet == NULL)
        return;
    /* All are asked before the first is waited for. */
    for (uint32_t i = 0; i < fleet->member_bound; i++) {
        if (fleet->members[i].runner != NULL)
            member_runner_end(fleet->members[i].runner);
    }
    for (uint32_t i = 0; i < fleet->member_bound; i++) {
        member_runner_destroy(fleet->members[i].runner);
        late_free(&fleet->members[i]);
    }
    placement_queue_destroy(fleet->queue);
    placement_destroy(fleet->placement);
    pool_destroy(fleet->pool);
    quota_tree_destroy(fleet->options.quota);
    placement_log_destroy(fleet->log);
    memory_release(fleet->members);
    memory_release(fleet->entries);
    memory_release(fleet);
}
