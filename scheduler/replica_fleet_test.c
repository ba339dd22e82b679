/* WRAP: malloc calloc realloc aligned_alloc */
#include "replica_fleet_testing.h"

/* --- a replica's way --- */

static void a_replica_is_placed_ordered_followed_and_ended(void **state)
{
    struct stage stage;
    struct scripted_call call;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    turn(&stage);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 1);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), POOL_MEMBER_NONE);
    list(&stage, 0, 1, 1);
    assert_int_equal(await(&stage, STARTED, 7)->member, stage.numbers[0]);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 0);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), stage.numbers[0]);
    assert_int_equal(booking(&stage, 7)->phase, BOOKING_COMMITTED);
    call = scripted_call_get(&stage.members[0], 0);
    assert_true(call.is_start);
    assert_int_equal(call.uid, 7);
    assert_int_equal(call.part_count, 1);
    assert_string_equal(call.slice_id, "n0/g0");
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    assert_int_equal(await(&stage, TOLD, 7)->phase, MEMBER_REPLICA_RUNNING);
    stop(&stage, 7, 5 * S);
    await_backlog(&stage, 0);
    call = scripted_call_get(&stage.members[0], 1);
    assert_false(call.is_start);
    assert_int_equal(call.grace_ns, 5 * S);
    assert_int_equal(booking(&stage, 7)->phase, BOOKING_DRAINING);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    assert_int_equal(await(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NONE);
    assert_null(booking(&stage, 7));
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), POOL_MEMBER_NONE);
    stage_close(&stage);
}

static void a_replica_may_be_there_before_its_order_is_answered(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    assert_int_equal(count(&stage, STARTED, 7), 1);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(count(&stage, STARTED, 7), 1);
    stage_close(&stage);
}

static void what_is_refused_for_want_of_room_goes_elsewhere(void **state)
{
    struct stage stage;
    struct seen *refused;
    char first[64];

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 2);
    want(&stage, 7);
    (void)await(&stage, STARTED, 7);
    refused = find(&stage, REFUSED, 7);
    assert_non_null(refused);
    assert_int_equal(refused->result, STATUS_FULL);
    assert_string_equal(refused->text, "no room for 7");
    (void)snprintf(first, sizeof(first), "%s", scripted_call_get(&stage.members[0], 0).slice_id);
    assert_string_not_equal(first, scripted_call_get(&stage.members[0], 1).slice_id);
    assert_int_equal(placement_log_get(replica_fleet_log(stage.fleet), 0)->outcome,
                     PLACEMENT_PLACED);
    assert_string_equal(placement_log_get(replica_fleet_log(stage.fleet), 1)->why, "no room for 7");
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 1);
    stage_close(&stage);
}

static void a_slice_that_refused_is_asked_again_after_a_while(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    (void)await(&stage, REFUSED, 7);
    turn(&stage);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    assert_null(booking(&stage, 7));
    stage.now_ns += 11 * S;
    (void)await(&stage, STARTED, 7);
    stage_close(&stage);
}

static void a_refused_one_keeps_its_place_in_the_order(void **state)
{
    struct stage stage;
    struct placement_waiting waiting;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    stage.now_ns += S;
    want(&stage, 8);
    turn(&stage);
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, REFUSED, 7);
    assert_true(placement_queue_get(replica_fleet_queue(stage.fleet), 0, &waiting));
    assert_int_equal(waiting.request->uid, 7);
    stage_close(&stage);
}

static void an_order_that_a_member_will_not_have_keeps_the_model_off_it(void **state)
{
    struct stage stage;
    struct placement_request other = request_of(9);

    (void)state;
    stage_open(&stage, 2, false);
    scripted_answer_start(&stage.members[0], STATUS_INVALID);
    list(&stage, 0, 1, 2);
    want(&stage, 7);
    assert_int_equal(await(&stage, REFUSED, 7)->result, STATUS_INVALID);
    turn(&stage);
    assert_null(booking(&stage, 7));
    list(&stage, 1, 1, 1);
    assert_int_equal(await(&stage, STARTED, 7)->member, stage.numbers[1]);
    want(&stage, 8);
    turn(&stage);
    assert_null(booking(&stage, 8));
    other.model = 2; /* it has done nothing wrong */
    assert_int_equal(replica_fleet_want(stage.fleet, &other, stage.now_ns), STATUS_OK);
    assert_int_equal(await(&stage, STARTED, 9)->member, stage.numbers[0]);
    stage.now_ns += 61 * S;
    list(&stage, 0, 1, 2);
    assert_int_equal(await(&stage, STARTED, 8)->member, stage.numbers[0]);
    stage_close(&stage);
}

static void an_order_that_nobody_answers_is_tried_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_CLOSED);
    scripted_answer_start(&stage.members[0], STATUS_AGAIN);
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(scripted_call_count(&stage.members[0]), 3);
    assert_int_equal(count(&stage, COMPOSED, 7), 1);
    assert_int_equal(count(&stage, REFUSED, 7), 0);
    stage_close(&stage);
}

static void an_order_that_waits_long_keeps_its_slice(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    want(&stage, 8);
    turn(&stage);
    stage.now_ns += 3600 * S;
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_non_null(booking(&stage, 7));
    assert_null(booking(&stage, 8));
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, STARTED, 7);
    stage_close(&stage);
}

static void an_order_that_cannot_be_written_ends_the_replica(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    stage.compose_result = STATUS_TOO_LARGE;
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_REFUSED);
    assert_null(booking(&stage, 7));
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage_close(&stage);
}

static void a_failed_replica_is_stopped_so_that_nothing_of_it_is_left(void **state)
{
    struct stage stage;
    struct member_replica replica = {.uid = 7,
                                     .phase = MEMBER_REPLICA_FAILED,
                                     .cause = MEMBER_CAUSE_PROGRAM,
                                     .reason = "ended with code 3"};

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_PROGRAM);
    assert_string_equal(find(&stage, ENDED, 7)->text, "ended with code 3");
    scripted_await_calls(&stage.members[0], 2);
    assert_false(scripted_call_get(&stage.members[0], 1).is_start);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).uid, 7);
    stage_close(&stage);
}

/* --- slices that are to blame --- */

static void run_and_fail(struct stage *stage, uint64_t uid, enum member_cause cause)
{
    struct member_replica replica = {
        .uid = uid, .phase = MEMBER_REPLICA_FAILED, .cause = cause, .reason = "it fell over"};

    run_one(stage, uid);
    scripted_tell(&stage->members[0], tell_replica, &replica);
    (void)await(stage, ENDED, uid);
}

/* Its member is heard of all the while. */
static void pass(struct stage *stage, uint64_t time_ns)
{
    stage->now_ns += time_ns;
    scripted_tell(&stage->members[0], tell_heard, NULL);
    turn(stage);
}

static void a_slice_whose_device_fails_again_is_kept_empty_for_a_while(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_and_fail(&stage, 7, MEMBER_CAUSE_NODE);
    run_and_fail(&stage, 8, MEMBER_CAUSE_NODE);
    want(&stage, 9);
    turn(&stage);
    assert_null(find(&stage, COMPOSED, 9));
    list(&stage, 0, 1, 0); /* it goes, and comes back */
    turn(&stage);
    list(&stage, 0, 1, 1);
    turn(&stage);
    pass(&stage, SLICE_FAULT_FIRST_NS - 1 * S);
    assert_null(find(&stage, COMPOSED, 9));
    pass(&stage, 1 * S);
    (void)await(&stage, STARTED, 9);
    stage_close(&stage);
}

static void a_program_that_runs_elsewhere_is_held_against_the_slice(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 1);
    for (uint64_t uid = 2; uid < 6; uid++) /* the model may be broken */
        run_and_fail(&stage, uid, MEMBER_CAUSE_PROGRAM);
    pass(&stage, 61 * S);
    for (uint64_t uid = 6; uid < 9; uid++)
        run_and_fail(&stage, uid, MEMBER_CAUSE_PROGRAM);
    want(&stage, 9);
    turn(&stage);
    assert_null(find(&stage, COMPOSED, 9));
    stop(&stage, 9, 0);
    stage_close(&stage);
}

/* --- stopping --- */

static void what_waits_for_a_slice_ends_at_once(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    stop(&stage, 7, 10 * S);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* in a turn, not within the call */
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 0);
    stop(&stage, 7, 0);
    stop(&stage, 12345, 0);
    turn(&stage);
    stage_close(&stage);
}

static void what_is_stopped_before_it_is_begun_is_never_begun(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    want(&stage, 8);
    turn(&stage);
    assert_non_null(booking(&stage, 8));
    stop(&stage, 8, 10 * S);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 8), 1);
    assert_null(booking(&stage, 8));
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    stage_close(&stage);
}

static void one_that_hangs_is_asked_again_with_less_grace(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stop(&stage, 7, 20 * S);
    await_backlog(&stage, 0);
    stage.now_ns += 21 * S;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* its member is there and has not said so */
    assert_non_null(booking(&stage, 7));
    stop(&stage, 7, 0);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_get(&stage.members[0], 2).grace_ns, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

static void one_that_is_stopped_while_it_is_ordered_is_not_told_as_started(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_count(&stage.members[0]), 2);
    assert_int_equal(count(&stage, STARTED, 7), 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

static void a_refusal_ends_what_was_stopped_meanwhile(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    assert_int_equal(await(&stage, ENDED, 7)->cause, MEMBER_CAUSE_REFUSED);
    assert_int_equal(count(&stage, REFUSED, 7), 0);
    assert_null(booking(&stage, 7));
    stage_close(&stage);
}

static void an_order_that_never_arrived_ends_when_its_member_has_heard_the_stop(void **state)
{
    struct stage stage;
    uint64_t next_ns;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_TIMEOUT);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_count(&stage.members[0]), 2);
    assert_non_null(booking(&stage, 7)); /* it may come up yet: the member is given some time */
    for (uint32_t i = 0; i < 3; i++) {
        stage.now_ns += INTERVAL_NS - 1;
        scripted_tell(&stage.members[0], tell_heard, NULL);
        next_ns = turn(&stage);
        assert_int_equal(count(&stage, ENDED, 7), 0);
    }
    assert_true(next_ns <= stage.now_ns + 3);
    stage.now_ns = next_ns;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_null(booking(&stage, 7));
    stage_close(&stage);
}

static void a_stop_that_has_no_memory_is_told_in_a_later_turn(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    fail_nth_begin(1);
    stop(&stage, 7, 20 * S);
    assert_true(fail_nth_end());
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 2);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).grace_ns, 20 * S);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

/* --- leaving --- */

static void a_notice_is_told_once_and_again_when_it_comes_nearer(void **state)
{
    struct stage stage;
    struct member_replica replica = {
        .uid = 7, .phase = MEMBER_REPLICA_RUNNING, .reason = "spot: taken back"};
    struct seen *leave;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    replica.ends_notice_ns = stage.now_ns + 100 * S;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    leave = find(&stage, LEAVE, 7);
    assert_int_equal(leave->by_ns, replica.ends_notice_ns);
    assert_string_equal(leave->text, "spot: taken back");
    replica.ends_notice_ns += 50 * S; /* later is no news */
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    replica.ends_notice_ns = stage.now_ns + 10 * S;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 2);
    stage_close(&stage);
}

static void all_on_a_slice_that_is_drained_or_broken_are_to_leave_once(void **state)
{
    static const enum slice_health health[] = {SLICE_DRAINING, SLICE_BAD};
    struct stage stage;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        stage_open(&stage, 1, false);
        list(&stage, 0, 1, 2);
        run_one(&stage, 7);
        run_one(&stage, 8);
        say_of_slice(&stage, 0, scripted_call_get(&stage.members[0], 0).slice_id, health[i]);
        say_of_slice(&stage, 0, scripted_call_get(&stage.members[0], 0).slice_id, health[i]);
        turn(&stage);
        assert_int_equal(count(&stage, LEAVE, 7), 1);
        assert_int_equal(find(&stage, LEAVE, 7)->by_ns, stage.now_ns + DRAIN_NS);
        assert_non_null(strstr(find(&stage, LEAVE, 7)->text, "xid 79"));
        assert_int_equal(count(&stage, LEAVE, 8), 0);
        stage_close(&stage);
    }
}

static void those_on_a_slice_that_is_gone_are_to_leave(void **state)
{
    struct stage stage;
    char id[64];

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 7);
    run_one(&stage, 8);
    (void)snprintf(id, sizeof(id), "%s", scripted_call_get(&stage.members[0], 0).slice_id);
    scripted_tell(&stage.members[0], tell_gone, id);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(count(&stage, LEAVE, 8), 0);
    list(&stage, 0, 0, 1); /* and now a list without any */
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(count(&stage, LEAVE, 8), 1);
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    say(&stage, 0, 8, MEMBER_REPLICA_FAILED);
    turn(&stage);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    stage_close(&stage);
}

static void leave_by_forgetting(struct stage *stage, uint64_t uid)
{
    replica_fleet_stop(stage->fleet, uid, 0, stage->now_ns);
    replica_fleet_forget(stage->fleet, uid + 1);
    want(stage, uid + 100);
}

static void an_owner_may_change_everything_when_it_is_told_to_leave(void **state)
{
    struct stage stage;
    struct slice_report report = gpu("n0/g0", "n0");

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 0, 1);
    report.step_milli = 100;
    report.tenants_max = 10;
    scripted_tell(&stage.members[0], tell_slice, &report);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 6; uid++) {
        struct placement_request request = request_of(uid);

        request.shape.compute_milli = 100;
        request.shape.memory_bytes = GIB;
        assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_OK);
        (void)await(&stage, STARTED, uid);
    }
    stage.on_leave = leave_by_forgetting;
    report.health = SLICE_DRAINING;
    scripted_tell(&stage.members[0], tell_slice, &report);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 6; uid++)
        assert_true(count(&stage, LEAVE, uid) <= 1);
    for (uint64_t uid = 1; uid <= 6; uid++) { /* each is told, or forgotten */
        if (count(&stage, LEAVE, uid) == 0)
            assert_int_equal(count(&stage, LEAVE, uid - 1), 1);
    }
    stage_close(&stage);
}

/* --- the more important, and gangs --- */

static void stop_at_once(struct stage *stage, uint64_t uid)
{
    replica_fleet_stop(stage->fleet, uid, 0, stage->now_ns);
}

static void a_more_important_one_takes_the_place_of_another(void **state)
{
    struct stage stage;
    struct placement_request low = request_of(7), high = request_of(8);

    (void)state;
    stage_open(&stage, 1, true);
    stage.on_leave = stop_at_once;
    list(&stage, 0, 1, 1);
    low.is_preemptible = true;
    low.tenant = high.tenant = 0;
    high.priority = 10;
    assert_int_equal(replica_fleet_want(stage.fleet, &low, stage.now_ns), STATUS_OK);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(replica_fleet_want(stage.fleet, &high, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(find(&stage, LEAVE, 7)->by_ns, stage.now_ns + DRAIN_NS);
    assert_null(booking(&stage, 8));
    await_backlog(&stage, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, STARTED, 8);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(placement_log_total(replica_fleet_log(stage.fleet), PLACEMENT_PREEMPTED), 1);
    stage_close(&stage);
}

static void nobody_is_preempted_where_that_is_not_allowed(void **state)
{
    struct stage stage;
    struct placement_request low = request_of(7), high = request_of(8);

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    low.is_preemptible = true;
    high.priority = 10;
    assert_int_equal(replica_fleet_want(stage.fleet, &low, stage.now_ns), STATUS_OK);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(replica_fleet_want(stage.fleet, &high, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 0);
    stage_close(&stage);
}

static void a_gang_has_all_its_slices_or_none(void **state)
{
    struct stage stage;
    struct placement_request gang = request_of(7);

    (void)state;
    stage_open(&stage, 1, false);
    gang.part_count = 4;
    list(&stage, 0, 1, 3);
    assert_int_equal(replica_fleet_want(stage.fleet, &gang, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    list(&stage, 0, 1, 4);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(booking(&stage, 7)->part_count, 4);
    assert_int_equal(find(&stage, COMPOSED, 7)->part_count, 4);
    assert_int_equal(scripted_call_get(&stage.members[0], 0).part_count, 4);
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    (void)await(&stage, ENDED, 7);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    stage_close(&stage);
}

static void others_are_moved_to_make_room_for_a_gang(void **state)
{
    struct stage stage;
    struct placement_request gang = request_of(70);
    uint32_t moved_count = 0;
    uint64_t moved = 0;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 2, 2); /* one on each node: no node has two */
    for (uint64_t uid = 1; uid <= 2; uid++) {
        struct placement_request single = request_of(uid);
        struct booking_part part = {.memory_bytes = 10 * GIB, .compute_milli = 1000};

        turn(&stage);
        single.is_movable = true;
        part.slice = pool_slice_find(replica_fleet_pool(stage.fleet), stage.numbers[0],
                                     uid == 1 ? "n0/g0" : "n1/g0");
        assert_int_equal(
            replica_fleet_adopt(stage.fleet, &single, stage.numbers[0], &part, stage.now_ns),
            STATUS_OK);
    }
    gang.part_count = 2;
    assert_int_equal(replica_fleet_want(stage.fleet, &gang, stage.now_ns), STATUS_OK);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 2; uid++) {
        if (count(&stage, LEAVE, uid) > 0) {
            moved_count++;
            moved = uid;
        }
    }
    assert_int_equal(moved_count, 1);
    /* Another is started first; it does not take what is kept for the gang. */
    want(&stage, 71);
    (void)await(&stage, STARTED, 71);
    stop(&stage, moved, 0);
    say(&stage, 0, moved, MEMBER_REPLICA_ENDED);
    (void)await(&stage, STARTED, 70);
    assert_int_equal(booking(&stage, 70)->part_count, 2);
    stage_close(&stage);
}

/* --- want of memory and room --- */

static void there_is_room_for_as_many_as_were_agreed(void **state)
{
    struct stage stage;
    struct placement_request request = request_of(1);

    (void)state;
    stage_open(&stage, 1, false);
    for (uint64_t uid = 1; uid <= 32; uid++)
        want(&stage, uid);
    request.uid = 33;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_FULL);
    request.uid = 5;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_INVALID);
    request.uid = 0;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_INVALID);
    stage_close(&stage);
}

static void a_fleet_is_made_with_all_its_memory_or_not_at_all(void **state)
{
    struct replica_fleet_options options = {
        .limits = {
            .members_max = 2, .slices_max = 4, .bookings_max = 4, .parts_max = 8, .names_max = 64}};
    struct replica_fleet *fleet = NULL;
    unsigned long n = 1;
    status result;

    (void)state;
    for (;; n++) {
        struct quota_tree *quota;

        assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
        options.quota = quota;
        fail_nth_begin(n);
        result = replica_fleet_create(&options, &fleet);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
    assert_int_equal(result, STATUS_OK);
    assert_true(n > 5);
    replica_fleet_destroy(fleet);
    replica_fleet_destroy(NULL);
}

static void a_member_that_cannot_be_followed_is_not_in_the_pool(void **state)
{
    struct stage stage;
    struct scripted_member driver;
    struct replica_fleet_member member = {
        .config = {.name = "late", .interval_ns = INTERVAL_NS, .lost_after_ns = 100 * S}};
    uint32_t number;

    (void)state;
    stage_open(&stage, 1, false);
    for (unsigned long n = 1;; n++) {
        status result;

        scripted_init(&driver);
        member.driver = scripted_driver(&driver);
        fail_nth_begin(n);
        result = replica_fleet_member_add(stage.fleet, &member, stage.now_ns, &number);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            break;
        }
        assert_int_not_equal(result, STATUS_OK);
        assert_true(driver.is_destroyed);
        assert_int_equal(pool_member_find(replica_fleet_pool(stage.fleet), "late"),
                         POOL_MEMBER_NONE);
        scripted_deinit(&driver);
    }
    turn(&stage);
    stage_close(&stage);
    scripted_deinit(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_is_placed_ordered_followed_and_ended),
        cmocka_unit_test(a_replica_may_be_there_before_its_order_is_answered),
        cmocka_unit_test(what_is_refused_for_want_of_room_goes_elsewhere),
        cmocka_unit_test(a_slice_that_refused_is_asked_again_after_a_while),
        cmocka_unit_test(a_refused_one_keeps_its_place_in_the_order),
        cmocka_unit_test(an_order_that_a_member_will_not_have_keeps_the_model_off_it),
        cmocka_unit_test(an_order_that_nobody_answers_is_tried_again),
        cmocka_unit_test(an_order_that_waits_long_keeps_its_slice),
        cmocka_unit_test(an_order_that_cannot_be_written_ends_the_replica),
        cmocka_unit_test(a_failed_replica_is_stopped_so_that_nothing_of_it_is_left),
        cmocka_unit_test(a_slice_whose_device_fails_again_is_kept_empty_for_a_while),
        cmocka_unit_test(a_program_that_runs_elsewhere_is_held_against_the_slice),
        cmocka_unit_test(what_waits_for_a_slice_ends_at_once),
        cmocka_unit_test(what_is_stopped_before_it_is_begun_is_never_begun),
        cmocka_unit_test(one_that_hangs_is_asked_again_with_less_grace),
        cmocka_unit_test(one_that_is_stopped_while_it_is_ordered_is_not_told_as_started),
        cmocka_unit_test(a_refusal_ends_what_was_stopped_meanwhile),
        cmocka_unit_test(an_order_that_never_arrived_ends_when_its_member_has_heard_the_stop),
        cmocka_unit_test(a_stop_that_has_no_memory_is_told_in_a_later_turn),
        cmocka_unit_test(a_notice_is_told_once_and_again_when_it_comes_nearer),
        cmocka_unit_test(all_on_a_slice_that_is_drained_or_broken_are_to_leave_once),
        cmocka_unit_test(those_on_a_slice_that_is_gone_are_to_leave),
        cmocka_unit_test(an_owner_may_change_everything_when_it_is_told_to_leave),
        cmocka_unit_test(a_more_important_one_takes_the_place_of_another),
        cmocka_unit_test(nobody_is_preempted_where_that_is_not_allowed),
        cmocka_unit_test(a_gang_has_all_its_slices_or_none),
        cmocka_unit_test(others_are_moved_to_make_room_for_a_gang),
        cmocka_unit_test(there_is_room_for_as_many_as_were_agreed),
        cmocka_unit_test(a_fleet_is_made_with_all_its_memory_or_not_at_all),
        cmocka_unit_test(a_member_that_cannot_be_followed_is_not_in_the_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
