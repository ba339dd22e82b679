/* WRAP: malloc calloc realloc aligned_alloc */
#include "replica_fleet_testing.h"

/* --- members that go --- */

static void a_silent_member_keeps_its_slices_and_its_replica_is_given_up(void **state)
{
    struct stage stage;
    const struct booking *kept;

    (void)state;
    stage_open(&stage, 2, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    list(&stage, 1, 1, 1);
    turn(&stage);
    stage.now_ns += STALE_NS + S;
    scripted_tell(&stage.members[1], tell_heard, NULL);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* silence ends nothing */
    scripted_hold_up(&stage.members[0]);          /* it does not answer the stop either */
    stop(&stage, 7, 0);
    want(&stage, 8);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NODE);
    kept = booking(&stage, 7);
    assert_non_null(kept);
    assert_int_equal(await(&stage, STARTED, 8)->member, stage.numbers[1]);
    /* It is back, has it still, and hears the stop. */
    list(&stage, 0, 1, 1);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_false(scripted_call_get(&stage.members[0], 1).is_start);
    assert_non_null(booking(&stage, 7));
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    turn(&stage);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    stage_close(&stage);
}

static void a_given_up_replica_that_runs_still_is_stopped_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stage.now_ns += STALE_NS + S;
    stop(&stage, 7, 0);
    await_backlog(&stage, 0); /* it has heard the stop, and lost it with its memory */
    assert_int_equal(count(&stage, ENDED, 7), 1);
    list(&stage, 0, 1, 1);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 3);
    assert_false(scripted_call_get(&stage.members[0], 2).is_start);
    stage_close(&stage);
}

static void a_replica_is_not_given_up_before_its_grace_is_over(void **state)
{
    struct stage stage;
    uint64_t next_ns;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stage.now_ns += STALE_NS + S;
    turn(&stage);
    stop(&stage, 7, 20 * S);
    next_ns = turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_true(next_ns <= stage.now_ns + 20 * S);
    stage.now_ns += 20 * S;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_non_null(booking(&stage, 7));
    stage_close(&stage);
}

static void the_trouble_of_a_member_is_told_until_it_has_listed(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]), "");
    scripted_break(&stage.members[0], STATUS_DENIED);
    turn(&stage);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]),
                        "denied: it broke off");
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]), "");
    stage_close(&stage);
}

static void a_list_without_a_replica_ends_it(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 7);
    run_one(&stage, 8);
    listed(&stage, 0); /* may have been made before they came up */
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    stage.now_ns += 31 * S;
    say(&stage, 0, 8, MEMBER_REPLICA_RUNNING);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NODE);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 8), 0);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 8), 1);
    stage_close(&stage);
}

static void a_list_that_is_older_than_the_order_ends_nothing(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    turn(&stage);
    stage.now_ns += 60 * S; /* it has waited for long before it was ordered */
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 50 * S);
    listed(&stage, 0);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_non_null(booking(&stage, 7));
    stage_close(&stage);
}

static void what_comes_after_a_sign_of_life_is_looked_at_in_the_same_turn(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 0, 1);
    want(&stage, 7);
    turn(&stage);
    scripted_tell(&stage.members[0], tell_heard, NULL);
    say_of_slice(&stage, 0, "n0/g0", SLICE_OK);
    turn(&stage);
    assert_int_equal(count(&stage, COMPOSED, 7), 1);
    stage_close(&stage);
}

/* --- strangers --- */

static struct member_replica stranger(struct member_part *part)
{
    *part = (struct member_part){"n0/g0", 10 * GIB, 1000};
    return (struct member_replica){.uid = 70,
                                   .phase = MEMBER_REPLICA_RUNNING,
                                   .handle = "job 70",
                                   .parts = part,
                                   .part_count = 1};
}

static void await_stop_of_70(struct stage *stage)
{
    turn(stage);
    scripted_await_calls(&stage->members[0], 1);
    assert_false(scripted_call_get(&stage->members[0], 0).is_start);
    assert_int_equal(scripted_call_get(&stage->members[0], 0).uid, 70);
}

static void a_replica_that_nobody_knows_is_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    await_stop_of_70(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1); /* its owner was asked */
    stage_close(&stage);
}

static void replicas_of_a_gateway_that_still_drains_are_let_be(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open_beside(&stage, 1, false, 1060 * S);
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    stage.now_ns = 1059 * S;
    scripted_tell(&stage.members[0], tell_heard, NULL);
    turn(&stage);
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage.now_ns = 1060 * S;
    scripted_tell(&stage.members[0], tell_heard, NULL);
    await_stop_of_70(&stage);
    stage_close(&stage);
}

static void one_without_parts_cannot_be_booked_and_is_stopped(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    say(&stage, 0, 70, MEMBER_REPLICA_RUNNING);
    await_stop_of_70(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 0);
    stage_close(&stage);
}

static void what_is_left_of_a_failed_stranger_is_stopped(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    say(&stage, 0, 71, MEMBER_REPLICA_ENDED);
    say(&stage, 0, 72, MEMBER_REPLICA_STOPPING);
    say(&stage, 0, 70, MEMBER_REPLICA_FAILED);
    await_stop_of_70(&stage);
    stage_close(&stage);
}

static void a_replica_from_before_is_adopted_with_its_parts(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    want(&stage, 8);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1);
    assert_int_equal(count(&stage, TOLD, 70), 1);
    assert_int_equal(booking(&stage, 70)->part_count, 1);
    assert_int_equal(booking(&stage, 70)->phase, BOOKING_COMMITTED);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 70), stage.numbers[0]);
    assert_null(booking(&stage, 8)); /* its slice is taken */
    stop(&stage, 70, 0);
    await_stop_of_70(&stage);
    say(&stage, 0, 70, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 70);
    (void)await(&stage, STARTED, 8);
    stage_close(&stage);
}

static void one_that_is_told_before_its_slices_is_adopted_when_they_are_known(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 0);
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1);
    assert_non_null(booking(&stage, 70));
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage_close(&stage);
}

static void one_whose_slices_are_not_in_the_list_is_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    part.slice_id = "n9/g9";
    scripted_tell(&stage.members[0], tell_replica, &replica);
    list(&stage, 0, 1, 1);
    await_stop_of_70(&stage);
    part.slice_id = "n8/g8"; /* and so is one that is told when the list is there */
    replica.uid = 71;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 2);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).uid, 71);
    stage_close(&stage);
}

static void one_that_ended_before_its_slices_were_known_is_not_adopted(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    replica.phase = MEMBER_REPLICA_ENDED;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_int_equal(stage.seen_count, 0);
    assert_null(booking(&stage, 70));
    stage_close(&stage);
}

static void an_adopted_one_that_cannot_be_booked_is_ended_and_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    part.compute_milli = 0; /* no replica has nothing */
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    await_stop_of_70(&stage);
    assert_int_equal(find(&stage, ENDED, 70)->cause, MEMBER_CAUSE_REFUSED);
    stage_close(&stage);
}

static void one_that_is_adopted_on_a_broken_slice_is_to_leave(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    say_of_slice(&stage, 0, "n0/g0", SLICE_BAD);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 70), 1);
    stage_close(&stage);
}

static void a_replica_that_another_member_has_is_stopped_there(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 2, false);
    list(&stage, 0, 1, 1);
    list(&stage, 1, 0, 1);
    run_one(&stage, 7);
    say(&stage, 1, 7, MEMBER_REPLICA_RUNNING);
    say(&stage, 1, 7, MEMBER_REPLICA_ENDED);
    turn(&stage);
    scripted_await_calls(&stage.members[1], 1);
    assert_false(scripted_call_get(&stage.members[1], 0).is_start);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    stage_close(&stage);
}

static void a_forgotten_replica_is_left_alone(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    replica_fleet_forget(stage.fleet, 7);
    stop(&stage, 7, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    say_of_slice(&stage, 0, "n0/g0", SLICE_DRAINING);
    turn(&stage);
    assert_non_null(booking(&stage, 7)); /* it runs, whoever has it */
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    turn(&stage);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_int_equal(count(&stage, LEAVE, 7), 0);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    stage_close(&stage);
}

static void one_that_is_handed_over_is_followed(void **state)
{
    struct stage stage;
    struct placement_request request = request_of(7);
    struct booking_part part = {.memory_bytes = 10 * GIB, .compute_milli = 1000};

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    turn(&stage);
    part.slice = pool_slice_find(replica_fleet_pool(stage.fleet), stage.numbers[0], "n0/g0");
    assert_int_equal(
        replica_fleet_adopt(stage.fleet, &request, stage.numbers[0], &part, stage.now_ns),
        STATUS_OK);
    assert_int_equal(
        replica_fleet_adopt(stage.fleet, &request, stage.numbers[0], &part, stage.now_ns),
        STATUS_INVALID);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    assert_int_equal(count(&stage, STARTED, 7), 0); /* its owner knows */
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_member_keeps_its_slices_and_its_replica_is_given_up),
        cmocka_unit_test(a_given_up_replica_that_runs_still_is_stopped_again),
        cmocka_unit_test(a_replica_is_not_given_up_before_its_grace_is_over),
        cmocka_unit_test(the_trouble_of_a_member_is_told_until_it_has_listed),
        cmocka_unit_test(a_list_without_a_replica_ends_it),
        cmocka_unit_test(a_list_that_is_older_than_the_order_ends_nothing),
        cmocka_unit_test(what_comes_after_a_sign_of_life_is_looked_at_in_the_same_turn),
        cmocka_unit_test(a_replica_that_nobody_knows_is_stopped),
        cmocka_unit_test(one_without_parts_cannot_be_booked_and_is_stopped),
        cmocka_unit_test(replicas_of_a_gateway_that_still_drains_are_let_be),
        cmocka_unit_test(what_is_left_of_a_failed_stranger_is_stopped),
        cmocka_unit_test(a_replica_from_before_is_adopted_with_its_parts),
        cmocka_unit_test(one_that_is_told_before_its_slices_is_adopted_when_they_are_known),
        cmocka_unit_test(one_whose_slices_are_not_in_the_list_is_stopped),
        cmocka_unit_test(one_that_ended_before_its_slices_were_known_is_not_adopted),
        cmocka_unit_test(an_adopted_one_that_cannot_be_booked_is_ended_and_stopped),
        cmocka_unit_test(one_that_is_adopted_on_a_broken_slice_is_to_leave),
        cmocka_unit_test(a_replica_that_another_member_has_is_stopped_there),
        cmocka_unit_test(a_forgotten_replica_is_left_alone),
        cmocka_unit_test(one_that_is_handed_over_is_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
