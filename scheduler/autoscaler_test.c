#include "unit_test.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "autoscaler.h"
#include "clock.h"

static bool is_near(double value, double expected, double difference)
{
    return fabs(value - expected) <= difference;
}

/* A world that needs no simulator: replicas are ready `start_s` after they are asked for, and carry 10 requests at once, each of which
 * takes 5 seconds: 2 a second. */

#define A_REPLICA     ((struct capacity){.requests_per_s = 2, .concurrency = 10})
#define A_REQUEST_S   5.0
#define STARTS_MAX    512
#define MONDAY_NOON_S (1767571200 + 12 * 3600)

struct world {
    struct autoscaler autoscaler;
    struct autoscaler_policy policy;
    struct forecast *forecast;
    uint64_t now_ns;
    uint32_t ready;
    double start_s, held, random_share;
    uint32_t starting_count;
    uint64_t starting_ns[STARTS_MAX];
    uint32_t up_count, down_count, count_least, count_most;
    uint64_t chance;
    struct autoscaler_decision last;
};

static void world_init(struct world *world, uint32_t count_min, uint32_t count_max, uint32_t ready)
{
    memset(world, 0, sizeof(*world));
    world->policy = autoscaler_policy_default();
    world->policy.spare_deviations = 1;
    world->policy.count_min = count_min;
    world->policy.count_max = count_max;
    world->now_ns = 1000 * NS_PER_SECOND;
    world->ready = ready;
    world->start_s = 20;
    world->chance = 1;
    world->count_least = UINT32_MAX;
    autoscaler_init(&world->autoscaler, &world->policy, NULL, world->now_ns);
}

static void world_restart(struct world *world)
{
    autoscaler_init(&world->autoscaler, &world->policy, world->forecast, world->now_ns);
}

static double unit(struct world *world)
{
    world->chance = world->chance * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(world->chance >> 11) * 0x1p-53;
}

static struct capacity times(uint32_t count)
{
    return (struct capacity){2.0 * count, 10.0 * count};
}

static struct autoscaler_observation world_observe(struct world *world, double arrivals)
{
    double running = fmin(arrivals / 2 * A_REQUEST_S, 10.0 * world->ready);

    return (struct autoscaler_observation){.local_s = MONDAY_NOON_S +
                                                      (int64_t)(world->now_ns / NS_PER_SECOND),
                                           .ready_count = world->ready,
                                           .starting_count = world->starting_count,
                                           .ready = times(world->ready),
                                           .starting = times(world->starting_count),
                                           .up = A_REPLICA,
                                           .down = A_REPLICA,
                                           .cold_start_s = world->start_s,
                                           .arrivals = arrivals,
                                           .running = running,
                                           .held = world->held};
}

static void world_apply(struct world *world, const struct autoscaler_decision *decision)
{
    uint32_t count = world->ready + world->starting_count;

    for (; count < decision->count; count++) {
        assert_true(world->starting_count < STARTS_MAX);
        world->starting_ns[world->starting_count++] =
            world->now_ns + (uint64_t)(world->start_s * 1e9);
        world->up_count++;
    }
    for (; count > decision->count; count--) {
        if (world->starting_count > 0)
            world->starting_count--;
        else
            world->ready--;
        world->down_count++;
    }
    world->count_least = count < world->count_least ? count : world->count_least;
    world->count_most = count > world->count_most ? count : world->count_most;
}

/* Two seconds with this many requests a second; what does not fit is held. */
static void tick(struct world *world, double rate)
{
    double arrivals = rate * 2 * (1 + world->random_share * (2 * unit(world) - 1));
    struct autoscaler_observation seen;

    world->now_ns += AUTOSCALER_TICK_NS;
    for (uint32_t i = 0; i < world->starting_count;) {
        if (world->starting_ns[i] <= world->now_ns) {
            world->starting_ns[i] = world->starting_ns[--world->starting_count];
            world->ready++;
        } else {
            i++;
        }
    }
    world->held = fmax(world->held + arrivals - 4.0 * world->ready, 0);
    seen = world_observe(world, arrivals);
    world->last = autoscaler_decide(&world->autoscaler, &seen, world->now_ns);
    assert_true(world->last.count >= world->last.count_min);
    assert_true(world->last.count <= world->last.count_max);
    assert_true(world->last.stop == 0 || world->last.start + world->last.wake == 0);
    world_apply(world, &world->last);
}

static void run(struct world *world, double rate, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds / 2; i++)
        tick(world, rate);
}

/* --- the size --- */

static void steady_load_gets_what_it_needs_and_a_deviation(void **state)
{
    struct world world;
    (void)state;

    /* 20 a second for 5 seconds are 100 at once, and 10 by chance: 11 replicas of 10. */
    world_init(&world, 1, 100, 10);
    run(&world, 20, 300);
    assert_int_equal(world.ready, 11);
    assert_true(is_near(world.last.need_stable, 11, 1e-6));
    assert_true(is_near(world.last.arrivals_per_s, 20, 1e-9));
    assert_true(is_near(world.last.dispersion, 1, 1e-9));
}

static void planning_for_a_share_needs_more(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 100, 10);
    world.policy.load_max = 0.5;
    world_restart(&world);
    run(&world, 20, 300);
    assert_int_equal(world.ready, 22);
}

static void different_replicas_count_by_what_they_carry(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    struct autoscaler_decision decision;
    (void)state;

    /* Ten that carry 5 each, and what would come carries 20: 110 - 50 is three more, not six. */
    world_init(&world, 1, 100, 10);
    seen = world_observe(&world, 40);
    seen.ready = (struct capacity){10, 50};
    seen.running = 50;
    seen.up = (struct capacity){4, 20};
    decision = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + AUTOSCALER_TICK_NS);
    assert_true(is_near(decision.need_panic, 10 + (100 - 50) / 20.0, 1e-9));
}

/* --- bounds --- */

static void counts_never_leave_their_bounds(void **state)
{
    struct world world;
    (void)state;

    for (uint64_t seed = 1; seed <= 30; seed++) {
        world_init(&world, 2, 9, 5);
        world.chance = seed;
        for (uint32_t i = 0; i < 60; i++) {
            world.random_share = unit(&world);
            run(&world, unit(&world) < 0.2 ? 0 : 60 * unit(&world), 60);
        }
        assert_true(world.count_least >= 2 && world.count_most <= 9);
    }
}

static void more_than_max_is_ended_at_once_and_fewer_than_min_is_started_at_once(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 4, 9);
    tick(&world, 20);
    assert_int_equal(world.last.count, 4);
    assert_int_equal(world.last.stop, 5);
    assert_int_equal(world.last.reason, AUTOSCALER_BOUND_MAX);
    world_init(&world, 30, 100, 3);
    tick(&world, 0);
    assert_int_equal(world.last.count, 30);
    assert_int_equal(world.last.start, 27);
}

static void schedules_hold_in_their_hours_only(void **state)
{
    static const struct {
        int64_t local_s;
        uint32_t least;
    } cases[] = {
        {1767571200 + 8 * 3600 - 1, 1},          /* Monday, a second before eight */
        {1767571200 + 8 * 3600, 6},              /* eight */
        {1767571200 + 18 * 3600 - 1, 6},         /* to six */
        {1767571200 + 18 * 3600, 1},             /* from six */
        {1767571200 + 5 * 86400 + 9 * 3600, 1},  /* Saturday */
        {1767571200 + 5 * 86400 + 23 * 3600, 3}, /* Saturday's night */
        {1767571200 + 6 * 86400 + 3600, 3},      /* goes on into Sunday */
        {1767571200 + 6 * 86400 + 23 * 3600, 1}, /* but is not Sunday's */
        {-3 * 86400 + 9 * 3600, 6},              /* a Monday of 1969 */
    };
    struct autoscaler_observation seen = {.ready_count = 1,
                                          .ready = A_REPLICA,
                                          .up = A_REPLICA,
                                          .down = A_REPLICA,
                                          .arrivals = 1,
                                          .cold_start_s = 1};
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct autoscaler autoscaler;
        struct autoscaler_policy policy = autoscaler_policy_default();
        struct autoscaler_decision decision;

        policy.count_max = 10;
        policy.schedules[policy.schedule_count++] =
            (struct autoscaler_schedule){0x1F, 8 * 60, 18 * 60, 6, 0};
        policy.schedules[policy.schedule_count++] =
            (struct autoscaler_schedule){0x20, 22 * 60, 4 * 60, 3, 5};
        autoscaler_init(&autoscaler, &policy, NULL, 0);
        seen.local_s = cases[i].local_s;
        decision = autoscaler_decide(&autoscaler, &seen, NS_PER_SECOND);
        assert_int_equal(decision.count_min, cases[i].least);
        assert_int_equal(decision.count_max, cases[i].least == 3 ? 5 : 10);
        assert_true(decision.count >= cases[i].least);
    }
}

/* --- up --- */

static void a_step_is_answered_within_a_panic_window(void **state)
{
    struct world world;
    uint64_t step_ns;
    (void)state;

    world_init(&world, 1, 200, 11);
    run(&world, 20, 300);
    step_ns = world.now_ns;
    while (!world.last.is_panicking || world.last.start == 0)
        tick(&world, 80);
    assert_true(world.now_ns - step_ns <= 6 * NS_PER_SECOND);
    /* Fourfold load is no more than twice the replicas in 15 seconds, then the rest. */
    run(&world, 80, 40);
    assert_true(world.ready + world.starting_count >= 40);
}

static void what_is_starting_is_not_asked_for_again(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 500, 11);
    run(&world, 20, 300);
    world.start_s = 120;
    run(&world, 40, 118);
    /* 200 at once, 14 by chance, and a backlog of two minutes that is to be gone in four. */
    assert_true(world.count_most >= 22 && world.count_most <= 36);
    assert_true(world.ready == 11);
}

static void a_burst_of_starts_is_limited_to_twofold_or_four_in_fifteen_seconds(void **state)
{
    struct world world;
    uint32_t before;
    (void)state;

    world_init(&world, 1, 1000, 1);
    tick(&world, 400);
    assert_int_equal(world.last.count, 5);
    assert_int_equal(world.last.reason, AUTOSCALER_RATE);
    for (uint32_t i = 0; i < 10; i++) {
        before = world.ready + world.starting_count;
        run(&world, 400, 16);
        assert_true(world.last.count <= 2 * before || world.last.count <= before + 4);
    }
}

static void the_first_decision_never_takes_away(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 100, 40);
    tick(&world, 1);
    assert_int_equal(world.last.count, 40);
    assert_true(world.last.is_panicking);
    run(&world, 1, 58);
    assert_int_equal(world.ready, 40);
    run(&world, 1, 3600);
    assert_true(world.ready <= 2);
}

static void panic_never_goes_down_until_a_stable_window_has_passed(void **state)
{
    struct world world;
    uint32_t most;
    uint64_t last_panic_ns = 0;
    (void)state;

    world_init(&world, 1, 200, 11);
    run(&world, 20, 300);
    run(&world, 80, 30);
    most = world.ready + world.starting_count;
    for (uint32_t i = 0; i < 25; i++) {
        tick(&world, 5);
        if (!world.last.is_panicking)
            break;
        last_panic_ns = world.now_ns;
        assert_true(world.last.count >= most);
    }
    assert_true(last_panic_ns > 0);
}

/* --- down --- */

static void noise_about_a_constant_load_makes_nothing_flap(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world world;

        world_init(&world, 1, 100, 11);
        world.chance = seed;
        world.random_share = 0.25;
        run(&world, 20, 600);
        world.up_count = world.down_count = 0;
        run(&world, 20, 3600);
        assert_true(world.up_count <= 4 && world.down_count <= 4);
        assert_true(world.ready >= 10 && world.ready <= 13);
    }
}

static void down_waits_for_the_window_and_then_goes_by_tenths(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 200, 80);
    world.policy.down_ns = 300 * NS_PER_SECOND;
    world_restart(&world);
    run(&world, 153, 400); /* 765 at once, 28 by chance */
    assert_int_equal(world.ready, 80);
    run(&world, 20, 290);
    assert_int_equal(world.ready, 80);
    assert_int_equal(world.last.reason, AUTOSCALER_STABILISING);
    run(&world, 20, 120);
    assert_true(world.ready < 80 && world.ready >= 80 - 3 * 8);
    /* 11 are needed to the last place; the twelfth would go only if a quarter of one were to spare. */
    run(&world, 20, 3600);
    assert_int_equal(world.ready, 12);
}

static void nothing_goes_while_one_fewer_would_fill_the_caches(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    (void)state;

    world_init(&world, 1, 100, 20);
    run(&world, 20, 60);
    for (uint32_t i = 0; i < 300; i++) {
        world.now_ns += AUTOSCALER_TICK_NS;
        seen = world_observe(&world, 40);
        seen.spare = (struct spare){.kv_share = 0.11, .queued = 5, .count = 20};
        seen.spare_with_one_fewer = (struct spare){.kv_share = 0.09, .queued = 5, .count = 20};
        world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns);
        assert_int_equal(world.last.count, 20);
    }
}

/* --- zero --- */

static void idle_goes_to_zero_after_ten_cold_starts_and_comes_back_at_once(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 0, 10, 1);
    world.start_s = 60;
    run(&world, 1, 60);
    run(&world, 0, 598);
    assert_int_equal(world.ready, 1);
    tick(&world, 0);
    assert_int_equal(world.ready, 0);
    assert_int_equal(world.last.reason, AUTOSCALER_IDLE);
    run(&world, 0, 600);
    assert_int_equal(world.ready + world.starting_count, 0);
    world.held = 1;
    tick(&world, 0);
    assert_int_equal(world.last.count, 1);
    assert_int_equal(world.last.start, 1);
    assert_int_equal(world.last.reason, AUTOSCALER_HELD);
}

static void the_first_request_of_all_starts_one_replica(void **state)
{
    struct autoscaler_observation seen = {
        .arrivals = 1, .held = 1, .up = A_REPLICA, .down = A_REPLICA, .cold_start_s = 2};
    struct world world;

    (void)state;
    world_init(&world, 0, 8, 0);
    world.now_ns += 100 * NS_PER_MS;
    assert_int_equal(autoscaler_decide(&world.autoscaler, &seen, world.now_ns).count, 1);
}

static void a_minimum_of_one_never_goes_to_zero(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 10, 3);
    run(&world, 0, 7200);
    assert_int_equal(world.ready, 1);
}

/* --- the guard --- */

static void spare_is_the_mean_of_what_is_not_full(void **state)
{
    static const struct replica_load loads[] = {{0.5, 1}, {0.7, 3}, {0.9, 0}, {0.1, 6}};
    struct spare spare = spare_of(loads, 4);
    (void)state;

    assert_int_equal(spare.full_count, 2);
    assert_true(is_near(spare.kv_share, (0.3 + 0.1) / 2, 1e-12));
    assert_true(is_near(spare.queued, (4.0 + 2.0) / 2, 1e-12));
    assert_true(spare_is_enough(&spare));
    /* Of two, one takes the other's load: 0.5 and 0.7 become 1.0 and 1.4. */
    spare = spare_with_one_fewer(loads, 2);
    assert_int_equal(spare.full_count, 2);
    assert_false(spare_is_enough(&spare));
    spare = spare_with_one_fewer(loads, 1);
    assert_false(spare_is_enough(&spare));
}

static void full_caches_get_one_more_but_not_while_one_starts(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    (void)state;

    world_init(&world, 1, 100, 11);
    run(&world, 20, 200);
    seen = world_observe(&world, 40);
    seen.spare = (struct spare){.kv_share = 0.05, .queued = 5, .count = 11};
    world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + AUTOSCALER_TICK_NS);
    assert_int_equal(world.last.count, 12);
    assert_int_equal(world.last.reason, AUTOSCALER_SPARE);
    seen.starting_count = 1;
    seen.starting = A_REPLICA;
    world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + 2 * AUTOSCALER_TICK_NS);
    assert_int_equal(world.last.count, 12);
}

/* --- forecast --- */

static void what_the_hour_brings_is_started_before_it_comes(void **state)
{
    static struct forecast forecast;
    struct world world;
    int64_t local_s;
    (void)state;

    /* Two weeks in which the load jumps from 10 to 60 at one o'clock. */
    forecast_init(&forecast);
    for (int64_t s = -14 * 86400; s < 0; s += 60)
        forecast_note(&forecast, MONDAY_NOON_S - 43200 + s,
                      (s % 86400 + 86400) % 86400 >= 13 * 3600 ? 60 : 10);
    world_init(&world, 1, 100, 7);
    world.forecast = &forecast;
    world.start_s = 120;
    world.now_ns = 0;
    world_restart(&world);
    run(&world, 10, 3600 - 300);
    assert_true(world.count_most <= 8);
    do {
        tick(&world, 10);
        local_s = (int64_t)(world.now_ns / NS_PER_SECOND);
    } while (world.last.reason != AUTOSCALER_FORECAST && local_s < 3600);
    assert_int_equal(world.last.reason, AUTOSCALER_FORECAST);
    assert_true(local_s < 3600);
}

/* --- where --- */

static void spot_has_a_floor_extras_and_a_fallback(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    (void)state;

    world_init(&world, 1, 100, 11);
    world.policy.on_demand_share = 0.25;
    world_restart(&world);
    /* 11: a floor of 3 and 8 on spot with 2 extra. None of those is ready: all on demand meanwhile. */
    seen = world_observe(&world, 40);
    world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + AUTOSCALER_TICK_NS);
    assert_int_equal(world.last.count, 11);
    assert_int_equal(world.last.on_demand, 11);
    assert_int_equal(world.last.spot, 10);
    /* All ten are ready: the floor is enough. The extra two are not taken for capacity. */
    seen.ready_count = 13;
    seen.ready = times(13);
    seen.spot_ready_count = 10;
    for (uint64_t i = 2; i < 200; i++)
        world.last =
            autoscaler_decide(&world.autoscaler, &seen, world.now_ns + i * AUTOSCALER_TICK_NS);
    assert_int_equal(world.last.count, 11);
    assert_int_equal(world.last.on_demand, 3);
    assert_int_equal(world.last.spot, 10);
}

static void a_notice_that_is_longer_than_a_start_needs_no_extras(void **state)
{
    static const uint64_t notices_s[] = {19, 20};
    (void)state;

    for (uint32_t i = 0; i < 2; i++) {
        struct world world;
        struct autoscaler_observation seen;

        world_init(&world, 1, 100, 11);
        world.policy.on_demand_share = 0.25;
        world.policy.spot_notice_ns = notices_s[i] * NS_PER_SECOND;
        world_restart(&world);
        seen = world_observe(&world, 40);
        world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + AUTOSCALER_TICK_NS);
        assert_int_equal(world.last.spot, i == 0 ? 10 : 8);
        assert_int_equal(world.last.on_demand, 11);
    }
}

static void sleepers_are_woken_first_and_put_to_sleep_instead_of_ended(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    (void)state;

    world_init(&world, 1, 100, 5);
    world.policy.sleeping_count = 2;
    world_restart(&world);
    seen = world_observe(&world, 40);
    seen.sleeping_count = 2;
    world.last = autoscaler_decide(&world.autoscaler, &seen, world.now_ns + AUTOSCALER_TICK_NS);
    assert_int_equal(world.last.count, 10);
    assert_int_equal(world.last.wake, 2);
    assert_int_equal(world.last.start, 3);
    world_init(&world, 1, 4, 9);
    world.policy.sleeping_count = 2;
    world_restart(&world);
    tick(&world, 2);
    assert_int_equal(world.last.stop, 5);
    assert_int_equal(world.last.sleep, 2);
}

static void warm_spares_come_on_top(void **state)
{
    struct world world;
    (void)state;

    world_init(&world, 1, 100, 11);
    world.policy.warm_spares = 3;
    world_restart(&world);
    run(&world, 20, 600);
    assert_int_equal(world.ready, 14);
}

/* --- why --- */

static void every_term_of_a_decision_is_told(void **state)
{
    struct world world;
    struct autoscaler_observation seen;
    char text[1024], little[16];
    size_t length;
    (void)state;

    world_init(&world, 1, 100, 11);
    run(&world, 20, 300);
    seen = world_observe(&world, 40);
    length = autoscaler_explain(&world.last, &seen, text, sizeof(text));
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "11 -> 11 (steady)"));
    assert_non_null(strstr(text, "stable 11.00"));
    assert_non_null(strstr(text, "bounds 1..100"));
    assert_int_equal(autoscaler_explain(&world.last, &seen, little, sizeof(little)), 15);
    for (int i = 0; i < AUTOSCALER_REASON_COUNT; i++)
        assert_true(strlen(autoscaler_reason_name((enum autoscaler_reason)i)) > 0);
}

static void the_same_measurements_give_the_same_decisions(void **state)
{
    struct world left, right;
    (void)state;

    world_init(&left, 0, 50, 3);
    world_init(&right, 0, 50, 3);
    left.random_share = right.random_share = 0.9;
    for (uint32_t i = 0; i < 500; i++) {
        tick(&left, i % 100 < 50 ? 30 : 0);
        tick(&right, i % 100 < 50 ? 30 : 0);
        assert_memory_equal(&left.last, &right.last, sizeof(left.last));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_load_gets_what_it_needs_and_a_deviation),
        cmocka_unit_test(planning_for_a_share_needs_more),
        cmocka_unit_test(different_replicas_count_by_what_they_carry),
        cmocka_unit_test(counts_never_leave_their_bounds),
        cmocka_unit_test(more_than_max_is_ended_at_once_and_fewer_than_min_is_started_at_once),
        cmocka_unit_test(schedules_hold_in_their_hours_only),
        cmocka_unit_test(a_step_is_answered_within_a_panic_window),
        cmocka_unit_test(what_is_starting_is_not_asked_for_again),
        cmocka_unit_test(a_burst_of_starts_is_limited_to_twofold_or_four_in_fifteen_seconds),
        cmocka_unit_test(the_first_decision_never_takes_away),
        cmocka_unit_test(panic_never_goes_down_until_a_stable_window_has_passed),
        cmocka_unit_test(noise_about_a_constant_load_makes_nothing_flap),
        cmocka_unit_test(down_waits_for_the_window_and_then_goes_by_tenths),
        cmocka_unit_test(nothing_goes_while_one_fewer_would_fill_the_caches),
        cmocka_unit_test(idle_goes_to_zero_after_ten_cold_starts_and_comes_back_at_once),
        cmocka_unit_test(the_first_request_of_all_starts_one_replica),
        cmocka_unit_test(a_minimum_of_one_never_goes_to_zero),
        cmocka_unit_test(spare_is_the_mean_of_what_is_not_full),
        cmocka_unit_test(full_caches_get_one_more_but_not_while_one_starts),
        cmocka_unit_test(what_the_hour_brings_is_started_before_it_comes),
        cmocka_unit_test(spot_has_a_floor_extras_and_a_fallback),
        cmocka_unit_test(a_notice_that_is_longer_than_a_start_needs_no_extras),
        cmocka_unit_test(sleepers_are_woken_first_and_put_to_sleep_instead_of_ended),
        cmocka_unit_test(warm_spares_come_on_top),
        cmocka_unit_test(every_term_of_a_decision_is_told),
        cmocka_unit_test(the_same_measurements_give_the_same_decisions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
