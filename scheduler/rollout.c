/* Rollout of a version
 *
 *              change               time over, enough requests,         all replaced
 *   STEADY ------------> TRYING ------ not found bad ------> REPLACING ------------> WATCHING
 *     ^  |                  |                                 ^      |                  |  |
 *     |  +--- change (rolling: without a canary) -------------+      |                  |  |
 *     |                     |                                        |                  |  |
 *     |                     +-- starts fail, dies, not ready in time,|errors, slow, ----+  |
 *     |                     |   or taken back                        |                     |
 *     |                     v                                        v                     |
 *     +---------------- RETURNING <----------------------------------+                     |
 *     |  the old version's replicas are all ready again                                    |
 *     +---------------------- time over, was ready once, not found bad --------------------+
 *
 * One rule makes the steps of every phase. A version takes the place (`to`: the new one, or when it was given up the old one),
 * and all others give theirs (`from`):
 *   - A slot is wanted for `to` while fewer than its goal are wanted, and processes and wishes together stay within target + surge. A
 *     process that drains counts: its slice is not free.
 *   - A replica of `from` goes once one of `to` is ready, or where there is no other room for the first; one that is ready itself
 *     only while target - unavailable_max others are. So the floor holds whatever `to` turns out to be, and in a return as well,
 *     where the version that was given up serves until the other is back.
 *
 * A third version may come at any time. The one that was proven last stays the one to return to; what runs of the one in between
 * serves until it can go, since it counts as ready, but is not started again.
 *
 * It ends. Every phase but RETURNING has a deadline, of the wait for the next ready replica, of the canary, or of the watch (which a
 * model that nobody asks for, with a target of 0, only passes when a replica was ready once: a version that never ran is not proven).
 * RETURNING ends when the old version's replicas are ready, which they were before; there is nothing else to go to if they are
 * not.
 *
 * What it is judged by. Requests of the new version that failed, and streams that missed their target, beside those of the old version
 * in the same time: a bound on the rate alone would blame the version for a bad hour, and the comparison alone
 * for a difference that nobody minds (rollout_judge.h). */
#include "rollout.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "check.h"

static const char *const phase_names[ROLLOUT_PHASE_COUNT] = {"steady", "trying", "replacing",
                                                             "watching", "returning"};
static const char *const result_names[ROLLOUT_RESULT_COUNT] = {
    "not_yet", "done", "starts_failed", "died",      "not_ready",
    "errors",  "slow", "superseded",    "taken_back"};

const char *rollout_phase_name(enum rollout_phase phase)
{
    CHECK(phase < ROLLOUT_PHASE_COUNT);
    return phase_names[phase];
}

const char *rollout_result_name(enum rollout_result result)
{
    CHECK(result < ROLLOUT_RESULT_COUNT);
    return result_names[result];
}

/* --- phases --- */

static void enter(struct rollout *rollout, enum rollout_phase phase, uint64_t now_ns)
{
    rollout->phase = phase;
    rollout->since_ns = rollout->progress_ns = now_ns;
    rollout->ready_count = 0;
    rollout->has_news = true;
}

static void end_with(struct rollout *rollout, enum rollout_result result)
{
    rollout->result = result;
    rollout->result_version = rollout->fresh;
    rollout->has_news = true;
}

void rollout_init(struct rollout *rollout, uint32_t version, uint64_t now_ns)
{
    *rollout = (struct rollout){.phase = ROLLOUT_STEADY,
                                .stable = version,
                                .fresh = version,
                                .since_ns = now_ns,
                                .begun_ns = now_ns};
}

void rollout_change(struct rollout *rollout, const struct rollout_policy *policy, uint32_t version,
                    uint64_t now_ns)
{
    bool is_under_way = rollout_is_active(rollout) && rollout->phase != ROLLOUT_RETURNING;

    if (version == rollout->stable) {
        if (is_under_way) {
            end_with(rollout, ROLLOUT_TAKEN_BACK);
            enter(rollout, ROLLOUT_RETURNING, now_ns);
        }
        return;
    }
    if (is_under_way)
        end_with(rollout, ROLLOUT_SUPERSEDED);
    rollout->fresh = version;
    rollout->found = rollout->found_old = (struct rollout_outcomes){0};
    rollout->errors = rollout->slow = (struct rollout_judge){0};
    rollout->was_little = false;
    rollout->ready_ns = 0;
    rollout->begun_ns = now_ns;
    enter(rollout, policy->kind == ROLLOUT_CANARY ? ROLLOUT_TRYING : ROLLOUT_REPLACING, now_ns);
}

uint32_t rollout_version(const struct rollout *rollout)
{
    return rollout->phase == ROLLOUT_REPLACING || rollout->phase == ROLLOUT_WATCHING
               ? rollout->fresh
               : rollout->stable;
}

/* --- what there is --- */

/* The policy as far as there are slots for it. */
struct limits {
    uint32_t target, surge;
    uint32_t floor;        /* of ready replicas */
    uint32_t canary_count; /* of the replicas */
};

struct tally {
    uint32_t to; /* the version that takes the place */
    uint32_t to_goal, from_goal;
    uint32_t to_wanted, to_ready;
    uint32_t from_wanted;
    uint32_t ready; /* wanted and ready, of any version */
    uint32_t busy;  /* slots that are wanted, or have a process still */
};

static bool is_ready(const struct rollout_slot *slot)
{
    return slot->is_wanted && slot->state == REPLICA_READY;
}

static uint32_t above(uint32_t count, uint32_t goal)
{
    return count > goal ? count - goal : 0;
}

static struct limits limits_make(const struct rollout_policy *policy, uint32_t count,
                                 uint32_t target)
{
    struct limits limits = {.target = target < count ? target : count};
    uint32_t room = count - limits.target, lacking = policy->unavailable_max;
    double canaries = ceil(policy->canary_share * limits.target);

    limits.surge = policy->surge < room ? policy->surge : room;
    if (limits.surge == 0 && lacking == 0)
        lacking = 1; /* else nothing could ever be replaced */
    limits.floor = above(limits.target, lacking);
    limits.canary_count = canaries < 1               ? 1
                          : canaries > limits.target ? limits.target
                                                     : (uint32_t)canaries;
    if (limits.target == 0)
        limits.canary_count = 0;
    return limits;
}

static struct tally tally_make(const struct rollout *rollout, const struct limits *limits,
                               const struct rollout_slot *slots, uint32_t count)
{
    bool is_back = rollout->phase == ROLLOUT_RETURNING || rollout->phase == ROLLOUT_STEADY;
    struct tally tally = {.to = is_back ? rollout->stable : rollout->fresh,
                          .to_goal = limits->target};

    if (rollout->phase == ROLLOUT_TRYING) { /* the surge is for canaries, as far as it goes */
        uint32_t rest = limits->target + limits->surge - limits->canary_count;

        tally.to_goal = limits->canary_count;
        tally.from_goal = rest < limits->target ? rest : limits->target;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct rollout_slot *slot = &slots[i];
        bool is_to = slot->version == tally.to;

        tally.busy += slot->is_wanted || slot->state != REPLICA_STOPPED;
        tally.ready += is_ready(slot);
        tally.to_wanted += slot->is_wanted && is_to;
        tally.to_ready += is_ready(slot) && is_to;
        tally.from_wanted += slot->is_wanted && !is_to;
    }
    return tally;
}

static uint64_t later(uint64_t now_ns, uint64_t wait_ns)
{
    return wait_ns < UINT64_MAX - now_ns ? now_ns + wait_ns : UINT64_MAX;
}

/* Waiting for old ones to drain is not waiting for the version. */
static void progress_note(struct rollout *rollout, const struct tally *tally, uint64_t now_ns)
{
    if (tally->to_ready > rollout->ready_count || tally->to_ready == tally->to_wanted)
        rollout->progress_ns = now_ns;
    rollout->ready_count = tally->to_ready;
    if (rollout->ready_ns == 0 && tally->to_ready > 0 && tally->to == rollout->fresh)
        rollout->ready_ns = now_ns;
}

/* --- the verdict --- */

static enum rollout_result verdict(struct rollout *rollout, const struct rollout_policy *policy,
                                   const struct rollout_outcomes *fresh,
                                   const struct rollout_outcomes *old, bool is_last,
                                   uint64_t now_ns)
{
    const struct rollout_bound errors = {policy->requests_min, policy->error_rate_max, false};
    /* A target that this machine cannot meet is no fault of the version. */
    const struct rollout_bound slow = {policy->requests_min, policy->slow_rate_max, true};

    if (fresh->failed_starts >= policy->failures_max)
        return ROLLOUT_STARTS_FAILED;
    if (fresh->deaths >= policy->failures_max)
        return ROLLOUT_DIED;
    if (now_ns >= later(rollout->progress_ns, policy->progress_ns))
        return ROLLOUT_NOT_READY;
    if (rollout_judge_look(&rollout->errors, &errors, &fresh->errors, &old->errors, is_last))
        return ROLLOUT_ERRORS;
    if (rollout_judge_look(&rollout->slow, &slow, &fresh->slow, &old->slow, is_last))
        return ROLLOUT_SLOW;
    return ROLLOUT_NOT_YET;
}

/* Whether the phase's time is over, and what it waits for beside it has come. */
static bool is_through(const struct rollout *rollout, const struct rollout_policy *policy,
                       const struct tally *tally, uint32_t target,
                       const struct rollout_outcomes *fresh, uint64_t now_ns)
{
    switch (rollout->phase) {
    case ROLLOUT_TRYING:
        return target == 0 ||
               (rollout->ready_ns > 0 && now_ns >= later(rollout->ready_ns, policy->canary_ns) &&
                (fresh->errors.count >= policy->requests_min ||
                 now_ns >= later(rollout->ready_ns, policy->canary_ns_max)));
    case ROLLOUT_REPLACING:
    case ROLLOUT_RETURNING:
        return tally->to_ready >= target && tally->from_wanted == 0;
    case ROLLOUT_WATCHING:
        return rollout->ready_ns > 0 && now_ns >= later(rollout->since_ns, policy->watch_ns);
    default:
        return false;
    }
}

static void pass(struct rollout *rollout, const struct rollout_policy *policy,
                 const struct rollout_outcomes *fresh, uint64_t now_ns)
{
    switch (rollout->phase) {
    case ROLLOUT_TRYING:
        enter(rollout, ROLLOUT_REPLACING, now_ns);
        break;
    case ROLLOUT_REPLACING:
        enter(rollout, ROLLOUT_WATCHING, now_ns);
        break;
    case ROLLOUT_WATCHING:
        end_with(rollout, ROLLOUT_DONE);
        rollout->was_little = fresh->errors.count < policy->requests_min;
        rollout->stable = rollout->fresh;
        enter(rollout, ROLLOUT_STEADY, now_ns);
        break;
    default:
        enter(rollout, ROLLOUT_STEADY, now_ns);
        break;
    }
}

static void phase_step(struct rollout *rollout, const struct rollout_policy *policy,
                       const struct tally *tally, uint32_t target,
                       const struct rollout_outcomes *fresh, const struct rollout_outcomes *old,
                       uint64_t now_ns)
{
    bool is_through_now = is_through(rollout, policy, tally, target, fresh, now_ns);
    enum rollout_result result = ROLLOUT_NOT_YET;

    if (rollout->phase != ROLLOUT_RETURNING) {
        result = verdict(rollout, policy, fresh, old, is_through_now, now_ns);
        rollout->found = *fresh;
        rollout->found_old = *old;
    }
    if (result != ROLLOUT_NOT_YET) {
        end_with(rollout, result);
        enter(rollout, ROLLOUT_RETURNING, now_ns);
    } else if (is_through_now) {
        pass(rollout, policy, fresh, now_ns);
    }
}

/* --- the slots --- */

/* The slot that goes first: one that is not ready, of the version in between before the stable one, the last of equal ones. */
static struct rollout_slot *worst(const struct rollout *rollout, struct rollout_slot *slots,
                                  uint32_t count, uint32_t version, bool is_of_version,
                                  bool may_be_ready)
{
    struct rollout_slot *found = NULL;
    unsigned found_rank = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct rollout_slot *slot = &slots[i];
        unsigned rank = 1 + 2u * !is_ready(slot) + (slot->version != rollout->stable);

        if (slot->is_wanted && (slot->version == version) == is_of_version &&
            (may_be_ready || !is_ready(slot)) && rank >= found_rank) {
            found = slot;
            found_rank = rank;
        }
    }
    return found;
}

static bool slot_take(struct rollout_slot *slots, uint32_t count, uint32_t version)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i].is_wanted || slots[i].state != REPLICA_STOPPED)
            continue;
        slots[i].version = version;
        slots[i].is_wanted = true;
        return true;
    }
    return false;
}

/* At most `most` of them go, not ready ones first, without the ready ones of all versions coming below the floor. */
static void let_go(const struct rollout *rollout, struct rollout_slot *slots, uint32_t count,
                   struct tally *tally, bool is_of_to, uint32_t most, uint32_t floor)
{
    while (most > 0) {
        struct rollout_slot *slot =
            worst(rollout, slots, count, tally->to, is_of_to, tally->ready > floor);

        if (slot == NULL)
            return;
        tally->ready -= is_ready(slot);
        if (is_of_to)
            tally->to_wanted--;
        else
            tally->from_wanted--;
        tally->busy -= slot->state == REPLICA_STOPPED;
        slot->is_wanted = false;
        most--;
    }
}

/* How many of the versions that give their place stay, as long as those that are ready allow it. Before one of the other is ready,
 * all but the one in whose place it starts. */
static uint32_t keep_count(const struct rollout *rollout, const struct tally *tally,
                           uint32_t target, uint32_t busy_max)
{
    uint32_t room = above(busy_max, tally->to_wanted > 0 ? tally->to_wanted : 1);

    if (rollout->phase == ROLLOUT_TRYING)
        return tally->from_goal;
    if (tally->to_ready > 0 || tally->to_goal == 0 || rollout->phase == ROLLOUT_RETURNING)
        return 0;
    return room < target ? room : target;
}

static void slots_step(const struct rollout *rollout, const struct limits *limits,
                       struct rollout_slot *slots, uint32_t count)
{
    struct tally tally = tally_make(rollout, limits, slots, count);
    uint32_t busy_max = limits->target + limits->surge;
    uint32_t keep = keep_count(rollout, &tally, limits->target, busy_max);

    let_go(rollout, slots, count, &tally, true, above(tally.to_wanted, tally.to_goal),
           limits->floor);
    let_go(rollout, slots, count, &tally, false, above(tally.from_wanted, keep), limits->floor);
    while (tally.to_wanted < tally.to_goal && tally.busy < busy_max &&
           slot_take(slots, count, tally.to)) {
        tally.to_wanted++;
        tally.busy++;
    }
    while (tally.from_wanted < tally.from_goal && tally.busy < busy_max &&
           slot_take(slots, count, rollout->stable)) {
        tally.from_wanted++;
        tally.busy++;
    }
}

/* --- the whole --- */

static uint64_t next_of(const struct rollout *rollout, const struct rollout_policy *policy,
                        uint64_t now_ns)
{
    uint64_t next_ns = later(rollout->progress_ns, policy->progress_ns);
    uint64_t phase_ns = UINT64_MAX;

    if (rollout->phase == ROLLOUT_STEADY || rollout->phase == ROLLOUT_RETURNING)
        return UINT64_MAX;
    if (rollout->phase == ROLLOUT_TRYING && rollout->ready_ns > 0) {
        phase_ns = later(rollout->ready_ns, policy->canary_ns);
        if (phase_ns <= now_ns)
            phase_ns = later(rollout->ready_ns, policy->canary_ns_max);
    } else if (rollout->phase == ROLLOUT_WATCHING) {
        phase_ns = later(rollout->since_ns, policy->watch_ns);
    }
    if (phase_ns > now_ns && phase_ns < next_ns)
        next_ns = phase_ns;
    return next_ns;
}

static double share_of(const struct rollout *rollout, const struct rollout_policy *policy)
{
    switch (rollout->phase) {
    case ROLLOUT_TRYING:
        return policy->canary_share;
    case ROLLOUT_RETURNING:
        return 0;
    default:
        return ROLLOUT_BY_LOAD;
    }
}

struct rollout_decision rollout_step(struct rollout *rollout, const struct rollout_policy *policy,
                                     struct rollout_slot *slots, uint32_t count, uint32_t target,
                                     const struct rollout_outcomes *fresh,
                                     const struct rollout_outcomes *old, uint64_t now_ns)
{
    struct limits limits = limits_make(policy, count, target);
    struct rollout_decision decision = {0};

    if (rollout_is_active(rollout)) {
        struct tally tally = tally_make(rollout, &limits, slots, count);

        progress_note(rollout, &tally, now_ns);
        phase_step(rollout, policy, &tally, limits.target, fresh, old, now_ns);
    }
    slots_step(rollout, &limits, slots, count);
    for (uint32_t i = 0; i < count; i++) {
        bool is_stable = slots[i].version == rollout->stable;

        decision.old_count += slots[i].is_wanted && is_stable;
        decision.fresh_count +=
            slots[i].is_wanted && !is_stable && slots[i].version == rollout->fresh;
    }
    decision.fresh_share = share_of(rollout, policy);
    decision.next_ns = next_of(rollout, policy, now_ns);
    decision.has_changed = rollout->has_news;
    rollout->has_news = false;
    return decision;
}

/* --- words --- */

static double percent(const struct rollout_sample *sample)
{
    return sample->count > 0 ? 100 * (double)sample->bad / (double)sample->count : 0;
}

static int sample_write(char *text, size_t bytes, const struct rollout *rollout,
                        const struct rollout_sample *fresh, const struct rollout_sample *old,
                        const char *what)
{
    return snprintf(text, bytes,
                    "version %u was given up: %" PRIu64 " of %" PRIu64
                    " %s (%.1f %%), and with version %u %" PRIu64 " of %" PRIu64 " (%.1f %%)",
                    rollout->result_version, fresh->bad, fresh->count, what, percent(fresh),
                    rollout->stable, old->bad, old->count, percent(old));
}

static int result_write(const struct rollout *rollout, char *text, size_t bytes)
{
    uint32_t version = rollout->result_version;
    const struct rollout_outcomes *found = &rollout->found, *old = &rollout->found_old;

    switch (rollout->result) {
    case ROLLOUT_DONE:
        return snprintf(text, bytes, "version %u is in force%s", version,
                        rollout->was_little ? ", with too few requests for a judgement" : "");
    case ROLLOUT_STARTS_FAILED:
        return snprintf(text, bytes,
                        "version %u was given up: its replicas ended %u times before they were "
                        "ready",
                        version, found->failed_starts);
    case ROLLOUT_DIED:
        return snprintf(text, bytes, "version %u was given up: ready replicas of it ended %u times",
                        version, found->deaths);
    case ROLLOUT_NOT_READY:
        return snprintf(text, bytes,
                        "version %u was given up: for too long no further replica of it got ready",
                        version);
    case ROLLOUT_ERRORS:
        return sample_write(text, bytes, rollout, &found->errors, &old->errors, "requests failed");
    case ROLLOUT_SLOW:
        return sample_write(text, bytes, rollout, &found->slow, &old->slow,
                            "streams missed their latency target");
    case ROLLOUT_SUPERSEDED:
        return snprintf(text, bytes, "version %u was given up for version %u", version,
                        rollout->fresh);
    case ROLLOUT_TAKEN_BACK:
        return snprintf(text, bytes, "version %u was taken back", version);
    default:
        return snprintf(text, bytes, "version %u is in force", rollout->stable);
    }
}

size_t rollout_explain(const struct rollout *rollout, char *text, size_t bytes)
{
    char result[256];
    int length;

    (void)result_write(rollout, result, sizeof(result));
    switch (rollout->phase) {
    case ROLLOUT_TRYING:
        length = snprintf(text, bytes, "version %u is tried beside version %u", rollout->fresh,
                          rollout->stable);
        break;
    case ROLLOUT_REPLACING:
        length = snprintf(text, bytes, "version %u takes the place of version %u", rollout->fresh,
                          rollout->stable);
        break;
    case ROLLOUT_WATCHING:
        length =
            snprintf(text, bytes, "version %u has taken the place of version %u, and is watched",
                     rollout->fresh, rollout->stable);
        break;
    case ROLLOUT_RETURNING:
        length =
            snprintf(text, bytes, "%s; version %u takes its place back", result, rollout->stable);
        break;
    default:
        length = snprintf(text, bytes, "%s", result);
        break;
    }
    return length > 0 && (size_t)length < bytes ? (size_t)length : bytes > 0 ? bytes - 1 : 0;
}
