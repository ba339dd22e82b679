/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "clock.h"
#include "fail_nth.h"
#include "member_runner.h"
#include "scripted_member.h"

#define TAKEN_MAX 256u

/* A runner with what it has told so far. */
struct stage {
    struct scripted_member member;
    struct scripted_bell bell;
    struct member_runner *runner;
    struct member_event *taken[TAKEN_MAX];
    uint32_t taken_count;
};

static void stage_open(struct stage *stage, uint32_t events_max)
{
    struct member_runner_options options = {.name = "m",
                                            .retry_first_ns = 1,
                                            .retry_max_ns = NS_PER_MS,
                                            .events_max = events_max,
                                            .wake = scripted_bell_ring};

    scripted_init(&stage->member);
    scripted_bell_init(&stage->bell);
    stage->taken_count = 0;
    options.driver = scripted_driver(&stage->member);
    options.context = &stage->bell;
    assert_int_equal(member_runner_create(&options, &stage->runner), STATUS_OK);
}

static void stage_close(struct stage *stage)
{
    member_runner_destroy(stage->runner);
    for (uint32_t i = 0; i < stage->taken_count; i++)
        member_event_free(stage->taken[i]);
    scripted_deinit(&stage->member);
    scripted_bell_deinit(&stage->bell);
}

static void take(struct stage *stage)
{
    for (struct member_event *event = member_runner_take(stage->runner); event != NULL;
         event = event->next) {
        assert_true(stage->taken_count < TAKEN_MAX);
        stage->taken[stage->taken_count++] = event;
    }
}

/* Takes until there were so many in all. */
static void await(struct stage *stage, uint32_t count)
{
    for (take(stage); stage->taken_count < count; take(stage))
        scripted_bell_await(&stage->bell);
}

static void order(struct stage *stage, uint64_t uid)
{
    const char *arguments[] = {"penstock", NULL};
    struct member_part part = {"s", 1, 1};
    struct member_order wanted = {
        .uid = uid, .arguments = arguments, .parts = &part, .part_count = 1};

    assert_int_equal(member_runner_start(stage->runner, &wanted), STATUS_OK);
}

static void assert_call(struct stage *stage, uint32_t i, bool is_start, uint64_t uid)
{
    struct scripted_call call = scripted_call_get(&stage->member, i);

    assert_int_equal(call.is_start, is_start);
    assert_int_equal(call.uid, uid);
}

static void assert_event(struct stage *stage, uint32_t i, enum member_event_kind kind, uint64_t uid,
                         status result)
{
    assert_true(i < stage->taken_count);
    assert_int_equal(stage->taken[i]->kind, kind);
    assert_int_equal(stage->taken[i]->uid, uid);
    assert_int_equal(stage->taken[i]->result, result);
}

/* --- what is told --- */

static void tell_everything(const struct member_sink *sink, void *context)
{
    struct slice_report slice = {.id = "n1/g0"};
    struct member_replica replica = {.uid = 9};

    (void)context;
    sink->list_begin(sink->context);
    sink->slice(sink->context, &slice);
    sink->list_end(sink->context);
    sink->replica(sink->context, &replica);
    sink->replicas_listed(sink->context);
    sink->heard(sink->context);
    sink->slice_gone(sink->context, "n1/g0");
    sink->resync(sink->context);
}

static void what_is_told_comes_in_its_order(void **state)
{
    static const enum member_event_kind kinds[] = {
        MEMBER_EVENT_LIST_BEGIN, MEMBER_EVENT_SLICE,           MEMBER_EVENT_LIST_END,
        MEMBER_EVENT_REPLICA,    MEMBER_EVENT_REPLICAS_LISTED, MEMBER_EVENT_HEARD,
        MEMBER_EVENT_SLICE_GONE, MEMBER_EVENT_RESYNC};
    struct stage stage;
    uint64_t before_ns = clock_now_ns();

    (void)state;
    stage_open(&stage, 100);
    scripted_tell(&stage.member, tell_everything, NULL);
    take(&stage);
    assert_int_equal(stage.taken_count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(stage.taken[i]->kind, kinds[i]);
        assert_true(stage.taken[i]->at_ns >= before_ns);
        before_ns = stage.taken[i]->at_ns;
    }
    assert_string_equal(stage.taken[1]->slice.id, "n1/g0");
    assert_int_equal(stage.taken[3]->replica.uid, 9);
    assert_string_equal(stage.taken[6]->text, "n1/g0");
    assert_null(member_runner_take(stage.runner));
    stage_close(&stage);
}

static void the_owner_is_woken_once_for_all_that_has_gathered(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_tell(&stage.member, tell_everything, NULL);
    assert_int_equal(stage.bell.rung, 1);
    take(&stage);
    scripted_tell(&stage.member, tell_everything, NULL);
    assert_int_equal(stage.bell.rung, 2);
    stage_close(&stage);
}

static void tell_200(const struct member_sink *sink, void *context)
{
    (void)context;
    for (uint32_t i = 0; i < 200; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "%u", i);
        sink->slice_gone(sink->context, id);
    }
}

static void *tell_200_run(void *context)
{
    struct stage *stage = context;

    scripted_tell(&stage->member, tell_200, NULL);
    return NULL;
}

static void a_driver_that_tells_more_than_is_taken_waits(void **state)
{
    struct stage stage;
    pthread_t teller;

    (void)state;
    stage_open(&stage, 3);
    assert_int_equal(pthread_create(&teller, NULL, tell_200_run, &stage), 0);
    while (stage.taken_count < 200) {
        uint32_t before = stage.taken_count;

        scripted_bell_await(&stage.bell);
        take(&stage);
        assert_true(stage.taken_count - before <= 3);
    }
    assert_int_equal(pthread_join(teller, NULL), 0);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(strtoul(stage.taken[i]->text, NULL, 10), i);
    stage_close(&stage);
}

static void a_driver_that_waits_does_not_keep_the_runner_from_ending(void **state)
{
    struct stage stage;
    pthread_t teller;

    (void)state;
    stage_open(&stage, 3);
    assert_int_equal(pthread_create(&teller, NULL, tell_200_run, &stage), 0);
    scripted_bell_await(&stage.bell);
    member_runner_end(stage.runner);
    assert_int_equal(pthread_join(teller, NULL), 0);
    stage_close(&stage);
}

static void tell_without_memory(const struct member_sink *sink, void *context)
{
    struct slice_report slice = {.id = "n1/g0"};
    struct member_replica replica = {.uid = 9};
    bool *has_failed = context;

    fail_nth_begin(1);
    sink->slice(sink->context, &slice);
    *has_failed = fail_nth_end();
    fail_nth_begin(1);
    sink->replica(sink->context, &replica);
    *has_failed &= fail_nth_end();
    fail_nth_begin(1);
    sink->list_end(sink->context);
    *has_failed &= fail_nth_end();
}

static void what_is_told_without_memory_is_told_when_there_is_some(void **state)
{
    struct stage stage;
    bool has_failed = false;

    (void)state;
    stage_open(&stage, 100);
    scripted_tell(&stage.member, tell_without_memory, &has_failed);
    assert_true(has_failed);
    take(&stage);
    assert_int_equal(stage.taken_count, 3);
    assert_int_equal(stage.taken[0]->kind, MEMBER_EVENT_SLICE);
    assert_int_equal(stage.taken[1]->kind, MEMBER_EVENT_REPLICA);
    assert_int_equal(stage.taken[2]->kind, MEMBER_EVENT_LIST_END);
    stage_close(&stage);
}

static void a_broken_connection_is_told_and_made_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_break(&stage.member, STATUS_DENIED);
    scripted_break(&stage.member, STATUS_CLOSED);
    take(&stage);
    assert_int_equal(stage.taken_count, 2);
    assert_event(&stage, 0, MEMBER_EVENT_BROKEN, 0, STATUS_DENIED);
    assert_string_equal(stage.taken[0]->text, "it broke off");
    assert_event(&stage, 1, MEMBER_EVENT_BROKEN, 0, STATUS_CLOSED);
    stage_close(&stage);
}

/* --- orders --- */

static void orders_are_carried_out_one_after_the_other(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    for (uint64_t uid = 1; uid <= 20; uid++)
        order(&stage, uid);
    await(&stage, 20);
    for (uint32_t i = 0; i < 20; i++) {
        assert_call(&stage, i, true, i + 1);
        assert_event(&stage, i, MEMBER_EVENT_STARTED, i + 1, STATUS_OK);
    }
    assert_string_equal(scripted_call_get(&stage.member, 0).slice_id, "s");
    stage_close(&stage);
}

static void an_order_is_tried_until_it_is_known_what_became_of_it(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_answer_start(&stage.member, STATUS_CLOSED);
    scripted_answer_start(&stage.member, STATUS_TIMEOUT);
    scripted_answer_start(&stage.member, STATUS_AGAIN);
    order(&stage, 7);
    await(&stage, 1);
    assert_int_equal(scripted_call_count(&stage.member), 4);
    assert_int_equal(stage.taken_count, 1);
    assert_event(&stage, 0, MEMBER_EVENT_STARTED, 7, STATUS_OK);
    stage_close(&stage);
}

static void a_refusal_is_told_and_not_tried_again(void **state)
{
    static const status refusals[] = {STATUS_FULL, STATUS_DENIED, STATUS_INVALID};
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    for (uint32_t i = 0; i < 3; i++)
        scripted_answer_start(&stage.member, refusals[i]);
    for (uint32_t i = 0; i < 3; i++)
        order(&stage, i + 1);
    order(&stage, 4);
    await(&stage, 4);
    for (uint32_t i = 0; i < 3; i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "no room for %u", i + 1);
        assert_event(&stage, i, MEMBER_EVENT_STARTED, i + 1, refusals[i]);
        assert_string_equal(stage.taken[i]->text, text);
    }
    assert_int_equal(scripted_call_count(&stage.member), 4);
    stage_close(&stage);
}

static void one_that_is_tried_in_vain_keeps_no_other_waiting(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    scripted_answer_start(&stage.member, STATUS_TIMEOUT);
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    order(&stage, 2);
    scripted_let_go(&stage.member);
    await(&stage, 2);
    assert_event(&stage, 0, MEMBER_EVENT_STARTED, 2, STATUS_OK);
    assert_event(&stage, 1, MEMBER_EVENT_STARTED, 1, STATUS_OK);
    stage_close(&stage);
}

static void an_order_that_was_not_begun_is_forgotten(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    order(&stage, 2);
    order(&stage, 3);
    assert_int_equal(member_runner_backlog(stage.runner), 3);
    assert_int_equal(member_runner_stop(stage.runner, 2, 5), STATUS_NOT_FOUND);
    assert_int_equal(member_runner_backlog(stage.runner), 2);
    scripted_let_go(&stage.member);
    await(&stage, 2);
    assert_event(&stage, 0, MEMBER_EVENT_STARTED, 1, STATUS_OK);
    assert_event(&stage, 1, MEMBER_EVENT_STARTED, 3, STATUS_OK);
    assert_int_equal(scripted_call_count(&stage.member), 2);
    stage_close(&stage);
}

static void a_stop_comes_after_the_order_that_runs(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    assert_int_equal(member_runner_stop(stage.runner, 1, 5), STATUS_OK);
    scripted_let_go(&stage.member);
    await(&stage, 2);
    assert_event(&stage, 0, MEMBER_EVENT_STARTED, 1, STATUS_OK);
    assert_event(&stage, 1, MEMBER_EVENT_STOPPED, 1, STATUS_OK);
    assert_call(&stage, 1, false, 1);
    assert_int_equal(scripted_call_get(&stage.member, 1).grace_ns, 5);
    stage_close(&stage);
}

static void what_is_stopped_while_it_is_ordered_is_not_ordered_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    scripted_answer_start(&stage.member, STATUS_TIMEOUT); /* the member may have it or not */
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    assert_int_equal(member_runner_stop(stage.runner, 1, 0), STATUS_OK);
    scripted_let_go(&stage.member);
    await(&stage, 1);
    order(&stage, 2); /* had the first been tried again, it would have been before this */
    await(&stage, 2);
    assert_event(&stage, 0, MEMBER_EVENT_STOPPED, 1, STATUS_OK);
    assert_event(&stage, 1, MEMBER_EVENT_STARTED, 2, STATUS_OK);
    assert_int_equal(scripted_call_count(&stage.member), 3);
    assert_int_equal(member_runner_backlog(stage.runner), 0);
    stage_close(&stage);
}

static void what_was_tried_in_vain_may_be_there_and_is_stopped(void **state)
{
    struct stage stage;
    struct member_runner_options options = {.name = "m",
                                            .retry_first_ns = 1000 * NS_PER_SECOND,
                                            .retry_max_ns = 1000 * NS_PER_SECOND,
                                            .events_max = 100,
                                            .wake = scripted_bell_ring};

    (void)state;
    scripted_init(&stage.member);
    scripted_bell_init(&stage.bell);
    stage.taken_count = 0;
    options.driver = scripted_driver(&stage.member);
    options.context = &stage.bell;
    assert_int_equal(member_runner_create(&options, &stage.runner), STATUS_OK);
    scripted_answer_start(&stage.member, STATUS_CLOSED);
    order(&stage, 1);
    scripted_await_calls(&stage.member, 1);
    assert_int_equal(member_runner_stop(stage.runner, 1, 5), STATUS_OK);
    await(&stage, 1);
    assert_event(&stage, 0, MEMBER_EVENT_STOPPED, 1, STATUS_OK);
    assert_int_equal(scripted_call_count(&stage.member), 2);
    assert_call(&stage, 1, false, 1);
    stage_close(&stage);
}

static void a_stop_is_told_until_it_is_heard(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_answer_stop(&stage.member, STATUS_CLOSED);
    scripted_answer_stop(&stage.member, STATUS_AGAIN);
    scripted_answer_stop(&stage.member, STATUS_DENIED);
    assert_int_equal(member_runner_stop(stage.runner, 1, 5), STATUS_OK);
    await(&stage, 1);
    assert_event(&stage, 0, MEMBER_EVENT_STOPPED, 1, STATUS_OK);
    assert_int_equal(scripted_call_count(&stage.member), 4);
    assert_int_equal(member_runner_backlog(stage.runner), 0);
    stage_close(&stage);
}

static void a_later_stop_takes_the_place_of_the_one_before(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    order(&stage, 9);
    scripted_await_inside(&stage.member);
    assert_int_equal(member_runner_stop(stage.runner, 1, 50), STATUS_OK);
    assert_int_equal(member_runner_stop(stage.runner, 1, 0), STATUS_OK);
    assert_int_equal(member_runner_backlog(stage.runner), 2);
    scripted_let_go(&stage.member);
    await(&stage, 2);
    assert_int_equal(scripted_call_count(&stage.member), 2);
    assert_int_equal(scripted_call_get(&stage.member, 1).grace_ns, 0);
    stage_close(&stage);
}

static void a_stop_that_hangs_is_followed_by_the_later_one_alone(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    scripted_answer_stop(&stage.member, STATUS_TIMEOUT);
    assert_int_equal(member_runner_stop(stage.runner, 1, 50), STATUS_OK);
    scripted_await_inside(&stage.member);
    assert_int_equal(member_runner_stop(stage.runner, 1, 0), STATUS_OK);
    scripted_let_go(&stage.member);
    await(&stage, 1);
    order(&stage, 2);
    await(&stage, 2);
    assert_int_equal(scripted_call_count(&stage.member), 3);
    assert_int_equal(scripted_call_get(&stage.member, 0).grace_ns, 50);
    assert_int_equal(scripted_call_get(&stage.member, 1).grace_ns, 0);
    assert_int_equal(member_runner_backlog(stage.runner), 0);
    stage_close(&stage);
}

/* --- the end, and want of memory --- */

static void the_end_wakes_the_driver_and_drops_what_waits(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    order(&stage, 2);
    member_runner_end(stage.runner);
    assert_true(stage.member.is_woken);
    scripted_let_go(&stage.member);
    member_runner_destroy(stage.runner);
    assert_true(stage.member.is_destroyed);
    assert_int_equal(stage.member.call_count, 1);
    scripted_deinit(&stage.member);
    scripted_bell_deinit(&stage.bell);
    member_runner_destroy(NULL);
}

static void without_memory_nothing_changes(void **state)
{
    const char *arguments[] = {"penstock", NULL};
    struct member_order wanted = {.uid = 2, .arguments = arguments};
    struct stage stage;
    status result;

    (void)state;
    stage_open(&stage, 100);
    scripted_hold_up(&stage.member);
    order(&stage, 1);
    scripted_await_inside(&stage.member);
    for (unsigned long n = 1;; n++) {
        fail_nth_begin(n);
        result = member_runner_start(stage.runner, &wanted);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_NO_MEMORY);
        assert_int_equal(member_runner_backlog(stage.runner), 1);
    }
    assert_int_equal(result, STATUS_OK);
    fail_nth_begin(1);
    result = member_runner_stop(stage.runner, 1, 0);
    assert_true(fail_nth_end());
    assert_int_equal(result, STATUS_NO_MEMORY);
    assert_int_equal(member_runner_backlog(stage.runner), 2);
    scripted_let_go(&stage.member);
    await(&stage, 2);
    assert_event(&stage, 0, MEMBER_EVENT_STARTED, 1, STATUS_OK);
    assert_event(&stage, 1, MEMBER_EVENT_STARTED, 2, STATUS_OK);
    stage_close(&stage);
}

static void a_runner_that_cannot_be_made_ends_its_driver(void **state)
{
    struct scripted_member member;
    struct member_runner_options options = {
        .name = "m", .retry_first_ns = 1, .retry_max_ns = 1, .events_max = 1};
    struct member_runner *runner = NULL;

    (void)state;
    scripted_init(&member);
    options.driver = scripted_driver(&member);
    fail_nth_begin(1);
    assert_int_equal(member_runner_create(&options, &runner), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
    assert_null(runner);
    scripted_deinit(&member);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_comes_in_its_order),
        cmocka_unit_test(the_owner_is_woken_once_for_all_that_has_gathered),
        cmocka_unit_test(a_driver_that_tells_more_than_is_taken_waits),
        cmocka_unit_test(a_driver_that_waits_does_not_keep_the_runner_from_ending),
        cmocka_unit_test(what_is_told_without_memory_is_told_when_there_is_some),
        cmocka_unit_test(a_broken_connection_is_told_and_made_again),
        cmocka_unit_test(orders_are_carried_out_one_after_the_other),
        cmocka_unit_test(an_order_is_tried_until_it_is_known_what_became_of_it),
        cmocka_unit_test(a_refusal_is_told_and_not_tried_again),
        cmocka_unit_test(one_that_is_tried_in_vain_keeps_no_other_waiting),
        cmocka_unit_test(an_order_that_was_not_begun_is_forgotten),
        cmocka_unit_test(a_stop_comes_after_the_order_that_runs),
        cmocka_unit_test(what_is_stopped_while_it_is_ordered_is_not_ordered_again),
        cmocka_unit_test(what_was_tried_in_vain_may_be_there_and_is_stopped),
        cmocka_unit_test(a_stop_is_told_until_it_is_heard),
        cmocka_unit_test(a_later_stop_takes_the_place_of_the_one_before),
        cmocka_unit_test(a_stop_that_hangs_is_followed_by_the_later_one_alone),
        cmocka_unit_test(the_end_wakes_the_driver_and_drops_what_waits),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(a_runner_that_cannot_be_made_ends_its_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
