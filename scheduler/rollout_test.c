#include "unit_test.h"

#include "rollout.h"

#define S         1000000000ull
#define SLOTS_MAX 12u

static const struct rollout_policy rolling = {
    .kind = ROLLOUT_ROLLING,
    .surge = 1,
    .canary_share = 0.25,
    .canary_ns = 60 * S,
    .canary_ns_max = 600 * S,
    .watch_ns = 30 * S,
    .progress_ns = 100 * S,
    .failures_max = 3,
    .requests_min = 20,
    .error_rate_max = 0.05,
    .slow_rate_max = 0.1,
};

static const struct rollout_outcomes none;

/* A model whose replicas start and end as they are told. */
struct world {
    struct rollout rollout;
    struct rollout_policy policy;
    struct rollout_slot slots[SLOTS_MAX];
    uint32_t count, target;
    struct rollout_outcomes fresh, old;
    uint64_t now_ns;
    struct rollout_decision last;
};

/* `target` ready replicas of version 1, and free slots up to `count`. */
static struct world world_of(const struct rollout_policy *policy, uint32_t count, uint32_t target)
{
    struct world world = {.policy = *policy, .count = count, .target = target, .now_ns = S};

    rollout_init(&world.rollout, 1, world.now_ns);
    for (uint32_t i = 0; i < target; i++)
        world.slots[i] = (struct rollout_slot){1, true, REPLICA_READY};
    return world;
}

static uint32_t ready_count(const struct world *world, uint32_t version)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < world->count; i++)
        count += world->slots[i].is_wanted && world->slots[i].state == REPLICA_READY &&
                 (version == 0 || world->slots[i].version == version);
    return count;
}

static uint32_t wanted_count(const struct world *world, uint32_t version)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < world->count; i++)
        count += world->slots[i].is_wanted && world->slots[i].version == version;
    return count;
}

static uint32_t busy_count(const struct world *world)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < world->count; i++)
        count += world->slots[i].is_wanted || world->slots[i].state != REPLICA_STOPPED;
    return count;
}

static void step(struct world *world)
{
    world->last = rollout_step(&world->rollout, &world->policy, world->slots, world->count,
                               world->target, &world->fresh, &world->old, world->now_ns);
}

static void change(struct world *world, uint32_t version)
{
    rollout_change(&world->rollout, &world->policy, version, world->now_ns);
    world->fresh = world->old = none;
}

/* What is wanted starts, what is not ends; a start takes two turns, so does an end. */
static void replicas_move(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        struct rollout_slot *slot = &world->slots[i];

        if (slot->is_wanted && slot->state == REPLICA_STOPPED)
            slot->state = REPLICA_STARTING;
        else if (slot->is_wanted && slot->state == REPLICA_STARTING)
            slot->state = REPLICA_READY;
        else if (!slot->is_wanted &&
                 (slot->state == REPLICA_READY || slot->state == REPLICA_STARTING))
            slot->state = REPLICA_DRAINING;
        else if (!slot->is_wanted)
            slot->state = REPLICA_STOPPED;
    }
}

/* Turns of a second until the phase is reached; the ready replicas never come below `floor`, the processes never above `busy_max`. */
static void run_until(struct world *world, enum rollout_phase phase, uint32_t floor,
                      uint32_t busy_max)
{
    for (uint32_t i = 0; i < 2000 && world->rollout.phase != phase; i++) {
        world->now_ns += S;
        step(world);
        assert_true(ready_count(world, 0) >= floor);
        assert_true(busy_count(world) <= busy_max);
        replicas_move(world);
    }
    assert_int_equal(world->rollout.phase, phase);
}

static const char *explained(const struct world *world)
{
    static char text[300];

    (void)rollout_explain(&world->rollout, text, sizeof(text));
    return text;
}

/* --- the way through --- */

static void a_rolling_update_replaces_one_after_the_other_and_keeps_the_floor(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 4, 5);
    assert_int_equal(ready_count(&world, 2), 4);
    assert_int_equal(wanted_count(&world, 1), 0);
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_int_equal(world.rollout.stable, 2);
    assert_int_equal(world.rollout.result, ROLLOUT_DONE);
    assert_string_equal(explained(&world),
                        "version 2 is in force, with too few requests for a judgement");
}

static void a_single_replica_is_replaced_with_one_beside_it(void **state)
{
    struct world world = world_of(&rolling, 2, 1);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_STEADY, 1, 2);
    assert_int_equal(ready_count(&world, 2), 1);
}

static void without_a_surge_the_floor_is_one_lower_and_no_process_is_added(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.surge = 0;
    policy.unavailable_max = 1;
    struct world world = world_of(&policy, 4, 4);
    change(&world, 2);
    run_until(&world, ROLLOUT_STEADY, 3, 4);
    assert_int_equal(ready_count(&world, 2), 4);
    world = world_of(&policy, 1, 1);
    change(&world, 2);
    run_until(&world, ROLLOUT_STEADY, 0, 1);
    assert_int_equal(ready_count(&world, 2), 1);
}

static void a_surge_without_a_slot_for_it_counts_as_none(void **state)
{
    struct world world = world_of(&rolling, 3, 3);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_STEADY, 2, 3);
    assert_int_equal(ready_count(&world, 2), 3);
}

static void with_room_for_more_several_are_replaced_at_once(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.surge = 3;
    struct world world = world_of(&policy, 9, 6);
    change(&world, 2);
    step(&world);
    assert_int_equal(wanted_count(&world, 2), 3);
    assert_int_equal(wanted_count(&world, 1), 6);
    run_until(&world, ROLLOUT_STEADY, 6, 9);
}

static void a_canary_gets_its_share_and_the_rest_follows_when_its_time_is_over(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.kind = ROLLOUT_CANARY;
    policy.surge = 2;
    struct world world = world_of(&policy, 8, 6);
    change(&world, 2);
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_TRYING);
    assert_int_equal(world.last.fresh_count, 2); /* a quarter of six, and not less */
    assert_int_equal(world.last.old_count, 6);
    assert_true(world.last.fresh_share == 0.25);
    replicas_move(&world);
    replicas_move(&world);
    world.now_ns += S;
    step(&world);
    assert_true(world.last.next_ns == world.now_ns + policy.canary_ns);
    world.fresh.errors = (struct rollout_sample){100, 1};
    world.old.errors = (struct rollout_sample){300, 1};
    world.now_ns += policy.canary_ns - 1;
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_TRYING);
    world.now_ns += 1;
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_REPLACING);
    assert_true(world.last.has_changed);
    assert_true(world.last.fresh_share == ROLLOUT_BY_LOAD);
    run_until(&world, ROLLOUT_STEADY, 6, 8);
    assert_int_equal(world.rollout.result, ROLLOUT_DONE);
}

static void canaries_beyond_the_surge_take_the_place_of_old_ones(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.kind = ROLLOUT_CANARY;
    policy.canary_share = 0.5;
    struct world world = world_of(&policy, 5, 4);
    change(&world, 2);
    for (uint32_t i = 0; i < 20; i++) {
        world.now_ns += S;
        step(&world);
        assert_true(ready_count(&world, 0) >= 4);
        assert_true(busy_count(&world) <= 5);
        replicas_move(&world);
    }
    assert_int_equal(world.rollout.phase, ROLLOUT_TRYING);
    assert_int_equal(ready_count(&world, 2), 2);
    assert_int_equal(ready_count(&world, 1), 3);
}

static void with_too_little_traffic_a_canary_waits_longer_and_then_goes_on(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.kind = ROLLOUT_CANARY;
    struct world world = world_of(&policy, 5, 4);
    change(&world, 2);
    uint64_t begin_ns = world.now_ns;
    world.fresh.errors = (struct rollout_sample){policy.requests_min - 1, 19};
    run_until(&world, ROLLOUT_REPLACING, 4, 5);
    assert_true(world.now_ns - begin_ns >= policy.canary_ns_max);
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_string_equal(explained(&world),
                        "version 2 is in force, with too few requests for a judgement");
}

/* --- given up --- */

static void returned(struct world *world, enum rollout_result result, uint32_t floor,
                     uint32_t busy_max)
{
    run_until(world, ROLLOUT_RETURNING, floor, busy_max);
    assert_int_equal(world->rollout.result, result);
    assert_int_equal(world->rollout.result_version, 2);
    run_until(world, ROLLOUT_STEADY, floor, busy_max);
    assert_int_equal(world->rollout.stable, 1);
    assert_int_equal(ready_count(world, 1), world->target);
    assert_int_equal(wanted_count(world, 2), 0);
}

static void a_version_that_never_gets_ready_is_given_up_after_so_many_ends(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    step(&world);
    assert_int_equal(wanted_count(&world, 2), 1);
    for (uint32_t i = 4; i < 5; i++)
        world.slots[i].state = REPLICA_BACKING_OFF;
    world.fresh.failed_starts = 2;
    world.now_ns += S;
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_REPLACING);
    world.fresh.failed_starts = 3;
    returned(&world, ROLLOUT_STARTS_FAILED, 4, 5);
    assert_string_equal(explained(&world), "version 2 was given up: its replicas ended 3 times "
                                           "before they were ready");
}

static void a_version_whose_ready_replicas_die_is_given_up(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 4, 5);
    world.fresh.deaths = 3;
    returned(&world, ROLLOUT_DIED, 4, 5);
}

static void a_version_that_does_not_get_ready_in_time_is_given_up(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    step(&world);
    world.slots[4].state = REPLICA_STARTING;
    uint64_t begin_ns = world.now_ns;
    assert_true(world.last.next_ns == begin_ns + rolling.progress_ns);
    world.now_ns = begin_ns + rolling.progress_ns - 1;
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_REPLACING);
    world.now_ns++;
    returned(&world, ROLLOUT_NOT_READY, 4, 5);
}

static void a_wait_for_old_replicas_that_drain_is_not_the_versions_fault(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.surge = 0;
    policy.unavailable_max = 1;
    struct world world = world_of(&policy, 2, 2);
    change(&world, 2);
    step(&world);
    assert_int_equal(wanted_count(&world, 1), 1);
    world.slots[world.slots[0].is_wanted ? 1 : 0].state = REPLICA_DRAINING;
    for (uint32_t i = 0; i < 10; i++) {
        world.now_ns += policy.progress_ns;
        step(&world);
        assert_int_equal(wanted_count(&world, 1), 1);
        assert_int_equal(world.rollout.phase, ROLLOUT_REPLACING);
    }
    run_until(&world, ROLLOUT_STEADY, 1, 2);
    assert_int_equal(world.rollout.stable, 2);
}

static void errors_of_a_canary_take_it_back(void **state)
{
    struct rollout_policy policy = rolling;

    (void)state;
    policy.kind = ROLLOUT_CANARY;
    struct world world = world_of(&policy, 5, 4);
    change(&world, 2);
    for (uint32_t i = 0; i < 5; i++) {
        world.now_ns += S;
        step(&world);
        replicas_move(&world);
    }
    world.fresh.errors = (struct rollout_sample){40, 12};
    world.old.errors = (struct rollout_sample){200, 1};
    returned(&world, ROLLOUT_ERRORS, 4, 5);
    assert_string_equal(explained(&world),
                        "version 2 was given up: 12 of 40 requests failed (30.0 %), and with "
                        "version 1 1 of 200 (0.5 %)");
}

static void a_slower_version_is_given_up_also_when_it_has_taken_the_place(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 4, 5);
    world.fresh.errors = (struct rollout_sample){100, 0};
    world.fresh.slow = (struct rollout_sample){100, 60};
    world.old.slow = (struct rollout_sample){90, 5};
    returned(&world, ROLLOUT_SLOW, 4, 5);
}

static void a_version_that_is_no_worse_than_the_old_one_stays(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    world.fresh.errors = (struct rollout_sample){100, 30};
    world.old.errors = (struct rollout_sample){100, 28};
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_int_equal(world.rollout.result, ROLLOUT_DONE);
}

static void in_a_return_the_bad_version_serves_until_the_old_one_is_back(void **state)
{
    struct world world = world_of(&rolling, 2, 1);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 1, 2);
    for (uint32_t i = 0; i < 3; i++) /* the old one's process ends */
        replicas_move(&world);
    world.fresh.errors = (struct rollout_sample){50, 50};
    world.now_ns += S;
    step(&world);
    assert_int_equal(world.rollout.phase, ROLLOUT_RETURNING);
    assert_true(world.last.fresh_share == 0);
    assert_int_equal(ready_count(&world, 2), 1);
    assert_int_equal(wanted_count(&world, 1), 1);
    run_until(&world, ROLLOUT_STEADY, 1, 2);
    assert_int_equal(ready_count(&world, 1), 1);
}

/* --- changes on the way --- */

static void a_third_version_supersedes_the_second_and_the_first_is_what_is_returned_to(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    for (uint32_t i = 0; i < 8; i++) {
        world.now_ns += S;
        step(&world);
        replicas_move(&world);
    }
    uint32_t second = ready_count(&world, 2);
    assert_true(second > 0 && second < 4);
    change(&world, 3);
    assert_int_equal(world.rollout.result, ROLLOUT_SUPERSEDED);
    assert_int_equal(world.rollout.result_version, 2);
    for (uint32_t i = 0; i < 200 && wanted_count(&world, 2) > 0; i++) {
        world.now_ns += S;
        step(&world);
        assert_true(ready_count(&world, 0) >= 4);
        replicas_move(&world);
    }
    assert_int_equal(wanted_count(&world, 2), 0);
    assert_true(wanted_count(&world, 1) > 0); /* the version in between goes first */
    world.fresh.failed_starts = 3;
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_int_equal(world.rollout.stable, 1);
    assert_int_equal(world.rollout.result_version, 3);
    assert_int_equal(ready_count(&world, 1), 4);
}

static void a_change_back_takes_the_rollout_back(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 4, 5);
    change(&world, 1);
    assert_int_equal(world.rollout.phase, ROLLOUT_RETURNING);
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_int_equal(world.rollout.result, ROLLOUT_TAKEN_BACK);
    assert_int_equal(ready_count(&world, 1), 4);
    change(&world, 1);
    assert_int_equal(world.rollout.phase, ROLLOUT_STEADY);
}

static void a_change_during_a_return_begins_anew(void **state)
{
    struct world world = world_of(&rolling, 5, 4);

    (void)state;
    change(&world, 2);
    run_until(&world, ROLLOUT_WATCHING, 4, 5);
    world.fresh.deaths = 3;
    run_until(&world, ROLLOUT_RETURNING, 4, 5);
    change(&world, 3);
    run_until(&world, ROLLOUT_STEADY, 4, 5);
    assert_int_equal(world.rollout.stable, 3);
    assert_int_equal(ready_count(&world, 3), 4);
}

static void a_model_at_zero_changes_when_it_is_next_asked_for(void **state)
{
    struct world world = world_of(&rolling, 3, 0);

    (void)state;
    change(&world, 2);
    for (uint32_t i = 0; i < 100; i++) {
        world.now_ns += 10 * S;
        step(&world);
        assert_int_equal(busy_count(&world), 0);
    }
    assert_int_equal(world.rollout.phase, ROLLOUT_WATCHING); /* it never ran */
    assert_int_equal(rollout_version(&world.rollout), 2);
    world.target = 2;
    run_until(&world, ROLLOUT_STEADY, 0, 3);
    assert_int_equal(world.rollout.stable, 2);
    assert_int_equal(world.rollout.result, ROLLOUT_DONE);
}

static void a_bad_version_of_a_model_at_zero_is_found_when_it_wakes(void **state)
{
    struct world world = world_of(&rolling, 3, 0);

    (void)state;
    change(&world, 2);
    world.now_ns += 10000 * S;
    step(&world);
    world.now_ns += 10000 * S;
    world.target = 1;
    step(&world);
    assert_int_equal(wanted_count(&world, 2), 1);
    world.fresh.failed_starts = 3;
    returned(&world, ROLLOUT_STARTS_FAILED, 0, 2);
}

static void the_target_may_move_on_the_way(void **state)
{
    struct world world = world_of(&rolling, 8, 2);

    (void)state;
    change(&world, 2);
    for (uint32_t i = 0; i < 3; i++) {
        world.now_ns += S;
        step(&world);
        replicas_move(&world);
    }
    world.target = 7;
    run_until(&world, ROLLOUT_WATCHING, 2, 8);
    assert_int_equal(ready_count(&world, 2), 7);
    world.target = 3;
    step(&world);
    assert_int_equal(ready_count(&world, 2), 3);
    change(&world, 3);
    step(&world);
    world.target = 0;
    step(&world);
    assert_int_equal(ready_count(&world, 0), 0);
}

/* --- by chance --- */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint32_t below(uint64_t *state, uint32_t count)
{
    return (uint32_t)(random_next(state) >> 33) % count;
}

/* Something happens to a slot that its state allows. Replicas of versions with `fails` never get ready. */
static void slot_happen(struct world *world, struct rollout_slot *slot, bool fails,
                        uint64_t *random)
{
    bool is_fresh = slot->version == world->rollout.fresh;

    switch (slot->state) {
    case REPLICA_STOPPED:
    case REPLICA_BACKING_OFF:
    case REPLICA_FAILED:
        slot->state = slot->is_wanted ? REPLICA_STARTING : REPLICA_STOPPED;
        break;
    case REPLICA_STARTING:
        if (!slot->is_wanted) {
            slot->state = REPLICA_DRAINING;
        } else if (fails || below(random, 8) == 0) {
            world->fresh.failed_starts += is_fresh;
            slot->state = REPLICA_BACKING_OFF;
        } else {
            slot->state = REPLICA_READY;
        }
        break;
    case REPLICA_READY:
        if (!slot->is_wanted) {
            slot->state = REPLICA_DRAINING;
        } else if (below(random, 40) == 0) {
            world->fresh.deaths += is_fresh;
            slot->state = REPLICA_BACKING_OFF;
        }
        break;
    default:
        slot->state = slot->is_wanted ? REPLICA_BACKING_OFF : REPLICA_STOPPED;
        break;
    }
}

/* What a step may never do, whatever has come before. */
static void step_is_sound(struct world *world)
{
    uint32_t before = ready_count(world, 0), busy = busy_count(world);
    uint32_t surge = world->policy.surge, lacking = world->policy.unavailable_max;
    struct rollout_slot slots[SLOTS_MAX];

    memcpy(slots, world->slots, sizeof(slots));
    if (surge > world->count - world->target)
        surge = world->count - world->target;
    if (surge == 0 && lacking == 0)
        lacking = 1;
    step(world);
    uint32_t floor = world->target > lacking ? world->target - lacking : 0;
    assert_true(ready_count(world, 0) >= (before < floor ? before : floor));
    assert_true(busy_count(world) <= busy || busy_count(world) <= world->target + surge);
    for (uint32_t i = 0; i < world->count; i++) {
        assert_int_equal(world->slots[i].state, slots[i].state);
        if (world->slots[i].version != slots[i].version ||
            (world->slots[i].is_wanted && !slots[i].is_wanted))
            assert_true(slots[i].state == REPLICA_STOPPED && world->slots[i].is_wanted);
    }
}

static void calm_turn(struct world *world)
{
    world->now_ns += S;
    step_is_sound(world);
    replicas_move(world);
    for (uint32_t i = 0; i < world->count; i++) {
        struct rollout_slot *slot = &world->slots[i];

        if (slot->state == REPLICA_BACKING_OFF)
            slot->state = slot->is_wanted ? REPLICA_STARTING : REPLICA_STOPPED;
    }
}

static void settle(struct world *world)
{
    for (uint32_t i = 0; i < 3000 && rollout_is_active(&world->rollout); i++)
        calm_turn(world);
    assert_false(rollout_is_active(&world->rollout));
    for (uint32_t i = 0; i < 20; i++)
        calm_turn(world);
    assert_int_equal(ready_count(world, 0), world->target);
    assert_int_equal(ready_count(world, world->rollout.stable), world->target);
}

static void play(uint64_t seed)
{
    uint64_t random = seed * 0x9E3779B97F4A7C15ull | 1;
    struct rollout_policy policy = rolling;
    uint32_t version = 1, count = 1 + below(&random, SLOTS_MAX);

    policy.kind = (enum rollout_kind)below(&random, 2);
    policy.surge = below(&random, 4);
    policy.unavailable_max = below(&random, 3);
    policy.canary_share = (1 + below(&random, 10)) / 10.0;
    struct world world = world_of(&policy, count, below(&random, count + 1));
    bool fails = false;
    for (uint32_t i = 0; i < 300; i++) {
        world.now_ns += random_next(&random) % (20 * S);
        if (below(&random, 30) == 0) {
            change(&world, below(&random, 4) == 0 ? world.rollout.stable : ++version);
            fails = below(&random, 3) == 0;
        }
        if (below(&random, 25) == 0)
            world.target = below(&random, count + 1);
        if (below(&random, 10) == 0) {
            uint32_t requests = below(&random, 50);

            world.fresh.errors.count += requests;
            world.fresh.errors.bad += below(&random, requests + 1) / (1 + below(&random, 40));
            world.old.errors.count += requests;
        }
        for (uint32_t j = 0; j < count; j++) {
            struct rollout_slot *slot = &world.slots[j];

            if (below(&random, 3) == 0)
                slot_happen(&world, slot, fails && slot->version == world.rollout.fresh, &random);
        }
        step_is_sound(&world);
    }
    if (world.target == 0) /* a version that nobody asks for stays on watch */
        world.target = 1;
    settle(&world);
}

static void no_order_of_events_breaks_the_floor_or_keeps_it_from_ending(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++)
        play(seed);
}

static void names_and_texts_are_whole(void **state)
{
    struct world world = world_of(&rolling, 5, 4);
    char small[8];

    (void)state;
    for (unsigned i = 0; i < ROLLOUT_PHASE_COUNT; i++)
        assert_true(strlen(rollout_phase_name((enum rollout_phase)i)) > 0);
    for (unsigned i = 0; i < ROLLOUT_RESULT_COUNT; i++)
        assert_true(strlen(rollout_result_name((enum rollout_result)i)) > 0);
    assert_string_equal(explained(&world), "version 1 is in force");
    assert_int_equal(rollout_explain(&world.rollout, small, sizeof(small)), 7);
    assert_string_equal(small, "version");
    change(&world, 2);
    assert_string_equal(explained(&world), "version 2 takes the place of version 1");
    change(&world, 1);
    assert_string_equal(explained(&world),
                        "version 2 was taken back; version 1 takes its place back");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rolling_update_replaces_one_after_the_other_and_keeps_the_floor),
        cmocka_unit_test(a_single_replica_is_replaced_with_one_beside_it),
        cmocka_unit_test(without_a_surge_the_floor_is_one_lower_and_no_process_is_added),
        cmocka_unit_test(a_surge_without_a_slot_for_it_counts_as_none),
        cmocka_unit_test(with_room_for_more_several_are_replaced_at_once),
        cmocka_unit_test(a_canary_gets_its_share_and_the_rest_follows_when_its_time_is_over),
        cmocka_unit_test(canaries_beyond_the_surge_take_the_place_of_old_ones),
        cmocka_unit_test(with_too_little_traffic_a_canary_waits_longer_and_then_goes_on),
        cmocka_unit_test(a_version_that_never_gets_ready_is_given_up_after_so_many_ends),
        cmocka_unit_test(a_version_whose_ready_replicas_die_is_given_up),
        cmocka_unit_test(a_version_that_does_not_get_ready_in_time_is_given_up),
        cmocka_unit_test(a_wait_for_old_replicas_that_drain_is_not_the_versions_fault),
        cmocka_unit_test(errors_of_a_canary_take_it_back),
        cmocka_unit_test(a_slower_version_is_given_up_also_when_it_has_taken_the_place),
        cmocka_unit_test(a_version_that_is_no_worse_than_the_old_one_stays),
        cmocka_unit_test(in_a_return_the_bad_version_serves_until_the_old_one_is_back),
        cmocka_unit_test(
            a_third_version_supersedes_the_second_and_the_first_is_what_is_returned_to),
        cmocka_unit_test(a_change_back_takes_the_rollout_back),
        cmocka_unit_test(a_change_during_a_return_begins_anew),
        cmocka_unit_test(a_model_at_zero_changes_when_it_is_next_asked_for),
        cmocka_unit_test(a_bad_version_of_a_model_at_zero_is_found_when_it_wakes),
        cmocka_unit_test(the_target_may_move_on_the_way),
        cmocka_unit_test(no_order_of_events_breaks_the_floor_or_keeps_it_from_ending),
        cmocka_unit_test(names_and_texts_are_whole),
    };

    return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
