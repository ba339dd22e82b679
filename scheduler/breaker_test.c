#include "unit_test.h"

#include "breaker.h"

#define S 1000000000ull

static const struct breaker_policy policy = {.failures_max = 5,
                                             .share_max = 0.5,
                                             .window_requests = 20,
                                             .window_ns = 10 * S,
                                             .open_ns = S,
                                             .open_max_ns = 8 * S,
                                             .trial_count = 3};

static void end(struct breaker *breaker, enum breaker_outcome outcome, uint64_t now_ns)
{
    breaker_end(breaker, &policy, outcome, breaker->state == BREAKER_TRYING, now_ns);
}

static bool begin(struct breaker *breaker, uint64_t now_ns)
{
    bool is_trial, may = breaker_begin(breaker, now_ns, &is_trial);

    assert_int_equal(is_trial, may && breaker->state == BREAKER_TRYING);
    return may;
}

static void fail_times(struct breaker *breaker, uint32_t times, uint64_t now_ns)
{
    for (uint32_t i = 0; i < times; i++)
        end(breaker, BREAKER_FAILED, now_ns);
}

static void failures_in_a_row_open_it(void **state)
{
    struct breaker breaker = {0};

    (void)state;
    fail_times(&breaker, 4, S);
    assert_true(begin(&breaker, S));
    end(&breaker, BREAKER_GOOD, S);
    fail_times(&breaker, 4, S);
    assert_true(begin(&breaker, S));
    end(&breaker, BREAKER_UNKNOWN, S);
    assert_true(begin(&breaker, S));
    end(&breaker, BREAKER_FAILED, S);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_false(begin(&breaker, 2 * S - 1));
    assert_int_equal(breaker_open_until_ns(&breaker), 2 * S);
}

static void a_share_of_failures_opens_it_when_there_is_enough_to_go_by(void **state)
{
    struct breaker breaker = {0}, few = {0}, slow = {0};

    (void)state;
    for (uint32_t i = 0; i < 18; i++) /* F F G F F G ...: never five in a row */
        end(&few, i % 3 == 2 ? BREAKER_GOOD : BREAKER_FAILED, S);
    assert_int_equal(few.state, BREAKER_CLOSED);
    for (uint32_t i = 0; i < 20; i++)
        end(&breaker, i % 3 == 2 ? BREAKER_GOOD : BREAKER_FAILED, S);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    for (uint32_t i = 0; i < 100; i++) /* a window holds ten of them */
        end(&slow, i % 3 == 2 ? BREAKER_GOOD : BREAKER_FAILED, i * S);
    assert_int_equal(slow.state, BREAKER_CLOSED);
}

static void one_at_a_time_is_tried_until_it_closes(void **state)
{
    struct breaker breaker = {0};

    (void)state;
    fail_times(&breaker, 5, 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(begin(&breaker, S));
        assert_false(begin(&breaker, S));
        assert_int_equal(breaker_open_until_ns(&breaker), UINT64_MAX);
        end(&breaker, BREAKER_UNKNOWN, S); /* says nothing, but makes room for the next */
        assert_true(begin(&breaker, S));
        end(&breaker, BREAKER_GOOD, S);
    }
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_true(breaker_is_calm(&breaker, S));
    assert_true(begin(&breaker, S));
    assert_true(begin(&breaker, S));
}

static void it_stays_open_twice_as_long_each_time(void **state)
{
    struct breaker breaker = {0};
    uint64_t now_ns = 0, waits[] = {1, 2, 4, 8, 8};

    (void)state;
    fail_times(&breaker, 5, now_ns);
    for (uint32_t i = 0; i < 5; i++) {
        assert_false(begin(&breaker, now_ns + waits[i] * S - 1));
        now_ns += waits[i] * S;
        assert_true(begin(&breaker, now_ns));
        end(&breaker, BREAKER_FAILED, now_ns);
    }
    now_ns += 8 * S;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(begin(&breaker, now_ns));
        end(&breaker, BREAKER_GOOD, now_ns);
    }
    fail_times(&breaker, 5, now_ns); /* from the beginning again */
    assert_int_equal(breaker_open_until_ns(&breaker), now_ns + S);
}

static void what_was_sent_before_it_opened_changes_nothing(void **state)
{
    struct breaker breaker = {0};

    (void)state;
    fail_times(&breaker, 50, S);
    assert_int_equal(breaker_open_until_ns(&breaker), 2 * S);
    end(&breaker, BREAKER_GOOD, S);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_true(begin(&breaker, 2 * S));
    breaker_end(&breaker, &policy, BREAKER_FAILED, false, 2 * S);
    breaker_end(&breaker, &policy, BREAKER_GOOD, false, 2 * S);
    assert_int_equal(breaker.state, BREAKER_TRYING);
    assert_false(begin(&breaker, 2 * S)); /* the trial is still under way */
}

static void it_is_calm_when_failures_are_long_past(void **state)
{
    struct breaker breaker = {0};

    (void)state;
    assert_true(breaker_is_calm(&breaker, S));
    end(&breaker, BREAKER_FAILED, S);
    assert_false(breaker_is_calm(&breaker, S));
    end(&breaker, BREAKER_GOOD, 2 * S);
    assert_false(breaker_is_calm(&breaker, 2 * S));
    assert_true(breaker_is_calm(&breaker, 11 * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_it),
        cmocka_unit_test(a_share_of_failures_opens_it_when_there_is_enough_to_go_by),
        cmocka_unit_test(one_at_a_time_is_tried_until_it_closes),
        cmocka_unit_test(it_stays_open_twice_as_long_each_time),
        cmocka_unit_test(what_was_sent_before_it_opened_changes_nothing),
        cmocka_unit_test(it_is_calm_when_failures_are_long_past),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
