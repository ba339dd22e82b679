/* Members' states: what silence means.
 *
 *      connecting --list_end--> synced --3 intervals silent--> stale --silent for longer--> lost
 *          ^  ^                  |  ^___________heard_____________|                           |
 *          |  |______resync______|                                                            |
 *          |____________________________________heard________________________________________|
 *
 * A stale member has told everything until its silence, so a word from it is enough. A lost one may have been anything
 * since (restarted, restored from a copy): it must list first. In no state does silence take a slice away. */
#include "check.h"
#include "pool_internal.h"

static const char *const STATES[] = {
    [MEMBER_CONNECTING] = "connecting",
    [MEMBER_SYNCED] = "synced",
    [MEMBER_STALE] = "stale",
    [MEMBER_LOST] = "lost",
};
_Static_assert(ARRAY_COUNT(STATES) == MEMBER_STATE_COUNT, "a word for each");

const char *member_state_name(enum member_state state)
{
    CHECK(state < MEMBER_STATE_COUNT);
    return STATES[state];
}

static struct member *get(struct pool *pool, uint32_t member)
{
    CHECK(member < pool->member_bound && pool->members[member].name != NAME_NONE);
    return &pool->members[member];
}

status pool_member_add(struct pool *pool, const struct member_config *config, uint64_t now_ns,
                       uint32_t *out)
{
    uint32_t number = 0, name;
    status result;

    if (config->name == NULL || config->name[0] == '\0' || config->interval_ns == 0 ||
        config->lost_after_ns / MEMBER_STALE_INTERVALS <= config->interval_ns ||
        pool_member_find(pool, config->name) != POOL_MEMBER_NONE)
        return STATUS_INVALID;
    while (number < pool->member_bound && pool->members[number].name != NAME_NONE)
        number++;
    if (number == pool->limits.members_max)
        return STATUS_FULL;
    result = pool_name_acquire(pool, config->name, &name);
    if (result != STATUS_OK)
        return result;
    if (number == pool->member_bound)
        pool->member_bound++;
    pool->members[number] = (struct member){.name = name,
                                            .state = MEMBER_CONNECTING,
                                            .interval_ns = config->interval_ns,
                                            .lost_after_ns = config->lost_after_ns,
                                            .heard_ns = now_ns};
    *out = number;
    return STATUS_OK;
}

status pool_member_remove(struct pool *pool, uint32_t member)
{
    struct member *leaving = get(pool, member);

    leaving->is_leaving = true;
    leaving->is_listing = false;
    leaving->state = MEMBER_LOST;
    for (uint32_t i = 0; i < pool->columns.count && leaving->slice_count > 0; i++) {
        if (pool->columns.presence[i] == SLICE_PRESENT && pool->columns.member[i] == member)
            pool_slice_lose(pool, i);
    }
    if (leaving->slice_count > 0)
        return STATUS_AGAIN;
    pool_name_release(pool, leaving->name);
    *leaving = (struct member){0};
    return STATUS_OK;
}

uint32_t pool_member_find(const struct pool *pool, const char *name)
{
    uint32_t number = pool_name_find(pool, name);

    for (uint32_t i = 0; number != NAME_NONE && i < pool->member_bound; i++) {
        if (pool->members[i].name == number)
            return i;
    }
    return POOL_MEMBER_NONE;
}

uint32_t pool_member_bound(const struct pool *pool)
{
    return pool->member_bound;
}

bool pool_member_get(const struct pool *pool, uint32_t member, struct member_info *out)
{
    const struct member *found;

    if (member >= pool->member_bound || pool->members[member].name == NAME_NONE)
        return false;
    found = &pool->members[member];
    *out = (struct member_info){.name = pool_name_text(pool, found->name),
                                .state = found->state,
                                .heard_ns = found->heard_ns,
                                .synced_ns = found->synced_ns,
                                .slice_count = found->slice_count,
                                .is_listing = found->is_listing};
    return true;
}

void pool_member_heard(struct pool *pool, uint32_t member, uint64_t now_ns)
{
    struct member *heard = get(pool, member);

    if (heard->is_leaving)
        return;
    if (now_ns > heard->heard_ns)
        heard->heard_ns = now_ns;
    if (heard->state == MEMBER_STALE)
        heard->state = MEMBER_SYNCED;
    else if (heard->state == MEMBER_LOST)
        heard->state = MEMBER_CONNECTING;
}

void pool_member_resync(struct pool *pool, uint32_t member, uint64_t now_ns)
{
    struct member *gapped = get(pool, member);

    pool_member_heard(pool, member, now_ns);
    if (gapped->is_leaving)
        return;
    gapped->state = MEMBER_CONNECTING;
    gapped->is_listing = false;
}

void pool_list_begin(struct pool *pool, uint32_t member, uint64_t now_ns)
{
    struct member *listing = get(pool, member);

    pool_member_heard(pool, member, now_ns);
    if (listing->is_leaving)
        return;
    listing->listing++;
    listing->is_listing = true;
}

uint32_t pool_list_end(struct pool *pool, uint32_t member, uint64_t now_ns)
{
    struct member *listed = get(pool, member);
    uint32_t gone = 0;

    pool_member_heard(pool, member, now_ns);
    if (!listed->is_listing)
        return 0;
    for (uint32_t i = 0; i < pool->columns.count; i++) {
        if (pool->columns.presence[i] == SLICE_PRESENT && pool->columns.member[i] == member &&
            pool->slice_listing[i] != listed->listing) {
            pool_slice_lose(pool, i);
            gone++;
        }
    }
    listed->is_listing = false;
    listed->state = MEMBER_SYNCED;
    listed->synced_ns = now_ns;
    return gone;
}

/* The time at which its silence means more than it does now. */
static uint64_t due_ns(const struct member *member)
{
    if (member->state == MEMBER_LOST)
        return UINT64_MAX;
    return member->heard_ns + (member->state == MEMBER_SYNCED
                                   ? member->interval_ns * MEMBER_STALE_INTERVALS
                                   : member->lost_after_ns);
}

uint64_t pool_members_tick(struct pool *pool, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < pool->member_bound; i++) {
        struct member *member = &pool->members[i];

        if (member->name == NAME_NONE)
            continue;
        if (now_ns >= due_ns(member) && member->state == MEMBER_SYNCED)
            member->state = MEMBER_STALE;
        if (now_ns >= due_ns(member)) {
            member->state = MEMBER_LOST;
            member->is_listing = false;
        }
        if (due_ns(member) < next_ns)
            next_ns = due_ns(member);
    }
    return next_ns;
}
