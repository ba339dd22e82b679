#include "unit_test.h"

#include "replica.h"

#define S 1000000000ull

static const struct replica_policy policy = {.backoff_first_ns = S,
                                             .backoff_max_ns = 30 * S,
                                             .start_timeout_ns = 60 * S,
                                             .heartbeat_timeout_ns = 10 * S,
                                             .drain_timeout_ns = 20 * S};

static struct replica started(uint64_t now_ns)
{
    struct replica replica;

    replica_init(&replica, 7, now_ns);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_WANTED, now_ns), REPLICA_ACTION_START);
    assert_int_equal(replica.state, REPLICA_PLACING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_PLACED, now_ns), REPLICA_ACTION_NONE);
    return replica;
}

static struct replica ready(uint64_t now_ns)
{
    struct replica replica = started(now_ns);

    assert_int_equal(replica_step(&replica, &policy, REPLICA_ANSWERED, now_ns),
                     REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_READY);
    return replica;
}

/* Ends it and waits its back-off out; returns the wait. */
static uint64_t die_and_come_back(struct replica *replica, uint64_t *now_ns)
{
    uint64_t wait_ns;

    assert_int_equal(replica_step(replica, &policy, REPLICA_ENDED, *now_ns), REPLICA_ACTION_NONE);
    wait_ns = replica->deadline_ns - *now_ns;
    assert_int_equal(replica_step(replica, &policy, REPLICA_TICK, replica->deadline_ns - 1),
                     REPLICA_ACTION_NONE);
    *now_ns = replica->deadline_ns;
    assert_int_equal(replica_step(replica, &policy, REPLICA_TICK, *now_ns), REPLICA_ACTION_START);
    (void)replica_step(replica, &policy, REPLICA_PLACED, *now_ns);
    return wait_ns;
}

static void a_wanted_replica_starts_and_gets_ready_by_an_answer(void **state)
{
    struct replica replica = started(5);

    (void)state;
    assert_int_equal(replica.state, REPLICA_STARTING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_NOT_READY, 6), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_STARTING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_ANSWERED, 7), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_READY);
    assert_int_equal(replica.ready_since_ns, 7);
    assert_int_equal(replica.restart_count, 0);
}

static void when_a_replica_should_be_ready_is_reckoned_from_its_last_start(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica, 1, 0);
    assert_true(replica_expected_ns(&replica, 5) == UINT64_MAX);
    (void)replica_step(&replica, &policy, REPLICA_WANTED, 0);
    (void)replica_step(&replica, &policy, REPLICA_PLACED, 0);
    uint64_t guess_ns = replica_expected_ns(&replica, 0);
    assert_true(guess_ns > 0 && replica_expected_ns(&replica, 1) == guess_ns);
    assert_true(replica_expected_ns(&replica, guess_ns + S) == guess_ns + S); /* any moment */
    (void)replica_step(&replica, &policy, REPLICA_ANSWERED, 7 * S);
    assert_true(replica_expected_ns(&replica, 8 * S) == 8 * S);
    (void)replica_step(&replica, &policy, REPLICA_ENDED, 9 * S);
    assert_int_equal(replica.state, REPLICA_BACKING_OFF);
    assert_true(replica_expected_ns(&replica, 9 * S) == replica.deadline_ns + 7 * S);
    uint64_t again_ns = replica.deadline_ns;
    (void)replica_step(&replica, &policy, REPLICA_TICK, again_ns);
    assert_int_equal(replica.state, REPLICA_PLACING);
    (void)replica_step(&replica, &policy, REPLICA_PLACED, again_ns);
    assert_int_equal(replica.state, REPLICA_STARTING);
    assert_true(replica_expected_ns(&replica, again_ns + S) == again_ns + 7 * S);
    (void)replica_step(&replica, &policy, REPLICA_TICK, replica.deadline_ns);
    assert_int_equal(replica.state, REPLICA_STOPPING);
    assert_true(replica_expected_ns(&replica, 100 * S) == 107 * S);
    (void)replica_step(&replica, &policy, REPLICA_UNWANTED, 100 * S);
    assert_true(replica_expected_ns(&replica, 100 * S) == UINT64_MAX);
}

static void a_start_that_takes_too_long_is_killed(void **state)
{
    struct replica replica = started(0);

    (void)state;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, 60 * S - 1),
                     REPLICA_ACTION_NONE);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, 60 * S), REPLICA_ACTION_KILL);
    assert_int_equal(replica.state, REPLICA_STOPPING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_ANSWERED, 61 * S),
                     REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_STOPPING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_ENDED, 62 * S), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_BACKING_OFF);
}

static void silence_kills_and_answers_keep_alive(void **state)
{
    struct replica replica = ready(0);
    uint64_t now_ns = 0;

    (void)state;
    for (; now_ns < 100 * S; now_ns += 9 * S)
        assert_int_equal(replica_step(&replica, &policy, REPLICA_ANSWERED, now_ns),
                         REPLICA_ACTION_NONE);
    now_ns -= 9 * S;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_NOT_READY, now_ns + 10 * S - 1),
                     REPLICA_ACTION_NONE);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_NOT_READY, now_ns + 10 * S),
                     REPLICA_ACTION_KILL);
}

static void backoff_doubles_with_jitter_until_its_maximum(void **state)
{
    struct replica replica = ready(0);
    uint64_t now_ns = 1, full_ns = S;

    (void)state;
    for (unsigned i = 1; i < REPLICA_CRASH_LOOP_COUNT; i++, full_ns *= 2) {
        uint64_t wait_ns = die_and_come_back(&replica, &now_ns);

        assert_in_range(wait_ns, full_ns / 2, full_ns);
    }
    assert_in_range(die_and_come_back(&replica, &now_ns), 15 * S, 30 * S);
    assert_int_equal(replica.restart_count, REPLICA_CRASH_LOOP_COUNT);
}

static void replicas_of_different_seeds_do_not_start_in_step(void **state)
{
    uint64_t waits[8], same_count = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct replica replica;

        replica_init(&replica, (seed + 1) * 0x9e3779b97f4a7c15ull, 0);
        (void)replica_step(&replica, &policy, REPLICA_WANTED, 0);
        (void)replica_step(&replica, &policy, REPLICA_ENDED, 0);
        waits[seed] = replica.deadline_ns;
        for (uint64_t i = 0; i < seed; i++)
            same_count += waits[i] == waits[seed];
    }
    assert_int_equal(same_count, 0);
}

static void a_crash_loop_is_called_failed_but_still_tried(void **state)
{
    struct replica replica = started(0);
    uint64_t now_ns = 0;

    (void)state;
    for (unsigned i = 1; i < REPLICA_CRASH_LOOP_COUNT; i++)
        (void)die_and_come_back(&replica, &now_ns);
    (void)replica_step(&replica, &policy, REPLICA_START_FAILED, now_ns);
    assert_int_equal(replica.state, REPLICA_FAILED);
    now_ns = replica.deadline_ns;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, now_ns), REPLICA_ACTION_START);
    (void)replica_step(&replica, &policy, REPLICA_PLACED, now_ns);
    (void)replica_step(&replica, &policy, REPLICA_ANSWERED, now_ns);
    assert_int_equal(replica.state, REPLICA_READY);
}

static void a_long_life_forgives_earlier_ends(void **state)
{
    struct replica replica = started(0);
    uint64_t now_ns = 0;

    (void)state;
    for (unsigned i = 1; i < REPLICA_CRASH_LOOP_COUNT; i++)
        (void)die_and_come_back(&replica, &now_ns);
    (void)replica_step(&replica, &policy, REPLICA_ANSWERED, now_ns);
    now_ns += policy.backoff_max_ns;
    (void)replica_step(&replica, &policy, REPLICA_ANSWERED, now_ns);
    assert_in_range(die_and_come_back(&replica, &now_ns), S / 2, S);
}

static void an_unwanted_replica_drains_and_is_killed_when_it_takes_too_long(void **state)
{
    struct replica replica = ready(0);

    (void)state;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_UNWANTED, S), REPLICA_ACTION_DRAIN);
    assert_int_equal(replica.state, REPLICA_DRAINING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_UNWANTED, 2 * S), REPLICA_ACTION_NONE);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, 21 * S), REPLICA_ACTION_KILL);
    (void)replica_step(&replica, &policy, REPLICA_ENDED, 22 * S);
    assert_int_equal(replica.state, REPLICA_STOPPED);
    assert_int_equal(replica.deadline_ns, UINT64_MAX);
}

static void a_replica_wanted_again_while_it_drains_comes_back_after_its_end(void **state)
{
    struct replica replica = ready(0);

    (void)state;
    (void)replica_step(&replica, &policy, REPLICA_UNWANTED, 1);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_WANTED, 2), REPLICA_ACTION_NONE);
    (void)replica_step(&replica, &policy, REPLICA_ENDED, 3);
    assert_int_equal(replica.state, REPLICA_BACKING_OFF);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, replica.deadline_ns),
                     REPLICA_ACTION_START);
}

static void an_unwanted_replica_that_waits_stops_at_once(void **state)
{
    struct replica replica = started(0);

    (void)state;
    (void)replica_step(&replica, &policy, REPLICA_ENDED, 1);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_UNWANTED, 2), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_STOPPED);
}

static void a_replica_waits_for_a_slice_as_long_as_that_takes(void **state)
{
    struct replica replica;

    (void)state;
    replica_init(&replica, 7, 0);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_WANTED, 0), REPLICA_ACTION_START);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, 3600 * S), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_PLACING);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_PLACED, 3600 * S),
                     REPLICA_ACTION_NONE);
    assert_int_equal(replica.deadline_ns, 3660 * S);
    replica_init(&replica, 7, 0);
    (void)replica_step(&replica, &policy, REPLICA_WANTED, 0);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_UNWANTED, 1), REPLICA_ACTION_KILL);
    (void)replica_step(&replica, &policy, REPLICA_ENDED, 2);
    assert_int_equal(replica.state, REPLICA_STOPPED);
}

static void one_that_has_lost_its_slice_looks_for_another_at_once(void **state)
{
    struct replica replica = ready(0);

    (void)state;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_LOST, 1), REPLICA_ACTION_START);
    assert_int_equal(replica.state, REPLICA_PLACING);
    assert_int_equal(replica.failure_count, 0);
    (void)replica_step(&replica, &policy, REPLICA_UNWANTED, 2);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_LOST, 3), REPLICA_ACTION_NONE);
    assert_int_equal(replica.state, REPLICA_STOPPED);
}

static void one_that_sleeps_lives_by_its_answers_and_is_ready_when_it_wakes(void **state)
{
    struct replica replica = ready(0);

    (void)state;
    assert_int_equal(replica_step(&replica, &policy, REPLICA_REST, S), REPLICA_ACTION_SLEEP);
    assert_int_equal(replica.state, REPLICA_ASLEEP);
    assert_false(replica.is_wanted);
    for (uint64_t now_ns = 5 * S; now_ns < 50 * S; now_ns += 5 * S)
        assert_int_equal(replica_step(&replica, &policy, REPLICA_NOT_READY, now_ns),
                         REPLICA_ACTION_NONE);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_WANTED, 50 * S), REPLICA_ACTION_WAKE);
    assert_int_equal(replica.state, REPLICA_STARTING);
    (void)replica_step(&replica, &policy, REPLICA_ANSWERED, 51 * S);
    assert_int_equal(replica.state, REPLICA_READY);
    assert_true(replica.start_took_ns == 0); /* no start took so short a time */
    assert_int_equal(replica.generation, 1);
    (void)replica_step(&replica, &policy, REPLICA_REST, 52 * S);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_UNWANTED, 53 * S),
                     REPLICA_ACTION_DRAIN);
    replica = ready(0);
    (void)replica_step(&replica, &policy, REPLICA_REST, S);
    assert_int_equal(replica_step(&replica, &policy, REPLICA_TICK, 11 * S), REPLICA_ACTION_KILL);
}

static void one_that_must_leave_drains_no_longer_than_it_may(void **state)
{
    struct replica replica = ready(0);

    (void)state;
    assert_int_equal(replica_leave(&replica, &policy, 5 * S, S), REPLICA_ACTION_DRAIN);
    assert_int_equal(replica.deadline_ns, 5 * S);
    replica = ready(0);
    assert_int_equal(replica_leave(&replica, &policy, 500 * S, S), REPLICA_ACTION_DRAIN);
    assert_int_equal(replica.deadline_ns, 21 * S);
}

static uint64_t xorshift(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* A process beside the machine that obeys its actions, and the rules that must hold after each
 * event. */
static void check_one_history(uint64_t seed)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1, now_ns = 0;
    bool has_process = false, is_wanted = false;
    struct replica replica;

    replica_init(&replica, seed, 0);
    for (int i = 0; i < 300; i++) {
        enum replica_event event = (enum replica_event)(xorshift(&random) % REPLICA_EVENT_COUNT);
        uint32_t generation = replica.generation, actions;

        now_ns += xorshift(&random) % (xorshift(&random) % 4 == 0 ? 40 * S : S / 10);
        if (event == REPLICA_WANTED || event == REPLICA_UNWANTED)
            is_wanted = event == REPLICA_WANTED;
        if (event == REPLICA_REST && replica.state == REPLICA_READY)
            is_wanted = false;
        if (event == REPLICA_ENDED || event == REPLICA_START_FAILED || event == REPLICA_LOST)
            has_process = false;
        actions = replica_step(&replica, &policy, event, now_ns);
        if (actions & REPLICA_ACTION_START) {
            if (has_process || !is_wanted || replica.generation != generation + 1)
                fail_msg("seed %llu step %d: bad start", (unsigned long long)seed, i);
            has_process = true;
        }
        if ((actions & (REPLICA_ACTION_KILL | REPLICA_ACTION_DRAIN)) && !has_process)
            fail_msg("seed %llu step %d: signal to nothing", (unsigned long long)seed, i);
        if (replica_has_process(&replica) != has_process || replica.is_wanted != is_wanted)
            fail_msg("seed %llu step %d: state %s", (unsigned long long)seed, i,
                     replica_state_name(replica.state));
        if (replica.state == REPLICA_READY && replica.ready_since_ns == 0)
            fail_msg("seed %llu step %d: ready without an answer", (unsigned long long)seed, i);
        if (event == REPLICA_TICK && replica.deadline_ns <= now_ns)
            fail_msg("seed %llu step %d: deadline has passed unheard", (unsigned long long)seed, i);
        if ((replica.deadline_ns == UINT64_MAX) !=
            (replica.state == REPLICA_STOPPED || replica.state == REPLICA_STOPPING ||
             replica.state == REPLICA_PLACING))
            fail_msg("seed %llu step %d: %s has no deadline", (unsigned long long)seed, i,
                     replica_state_name(replica.state));
    }
    /* Left in peace, a wanted replica gets ready and an unwanted one stops. */
    for (int i = 0; i < 10 && replica.state != (is_wanted ? REPLICA_READY : REPLICA_STOPPED); i++) {
        uint32_t actions;

        now_ns = replica.deadline_ns != UINT64_MAX ? replica.deadline_ns : now_ns;
        actions =
            replica_step(&replica, &policy, is_wanted ? REPLICA_ANSWERED : REPLICA_TICK, now_ns);
        if (!is_wanted && replica.state == REPLICA_ASLEEP)
            (void)replica_step(&replica, &policy, REPLICA_UNWANTED, now_ns);
        if (actions & REPLICA_ACTION_KILL || replica.state == REPLICA_STOPPING ||
            replica.state == REPLICA_DRAINING)
            (void)replica_step(&replica, &policy, REPLICA_ENDED, now_ns);
        if (replica.state == REPLICA_PLACING)
            (void)replica_step(&replica, &policy, REPLICA_PLACED, now_ns);
        if (is_wanted && replica.state == REPLICA_STOPPED)
            (void)replica_step(&replica, &policy, REPLICA_WANTED, now_ns);
    }
    if (replica.state != (is_wanted ? REPLICA_READY : REPLICA_STOPPED))
        fail_msg("seed %llu: stuck in %s", (unsigned long long)seed,
                 replica_state_name(replica.state));
}

static void any_order_of_events_keeps_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++)
        check_one_history(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_a_replica_should_be_ready_is_reckoned_from_its_last_start),
        cmocka_unit_test(a_wanted_replica_starts_and_gets_ready_by_an_answer),
        cmocka_unit_test(a_start_that_takes_too_long_is_killed),
        cmocka_unit_test(silence_kills_and_answers_keep_alive),
        cmocka_unit_test(backoff_doubles_with_jitter_until_its_maximum),
        cmocka_unit_test(replicas_of_different_seeds_do_not_start_in_step),
        cmocka_unit_test(a_crash_loop_is_called_failed_but_still_tried),
        cmocka_unit_test(a_long_life_forgives_earlier_ends),
        cmocka_unit_test(an_unwanted_replica_drains_and_is_killed_when_it_takes_too_long),
        cmocka_unit_test(a_replica_wanted_again_while_it_drains_comes_back_after_its_end),
        cmocka_unit_test(an_unwanted_replica_that_waits_stops_at_once),
        cmocka_unit_test(a_replica_waits_for_a_slice_as_long_as_that_takes),
        cmocka_unit_test(one_that_has_lost_its_slice_looks_for_another_at_once),
        cmocka_unit_test(one_that_sleeps_lives_by_its_answers_and_is_ready_when_it_wakes),
        cmocka_unit_test(one_that_must_leave_drains_no_longer_than_it_may),
        cmocka_unit_test(any_order_of_events_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
