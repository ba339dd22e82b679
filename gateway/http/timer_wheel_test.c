#include "unit_test.h"

#include "check.h"
#include "clock.h"
#include "timer_wheel.h"

struct probe {
    struct http_timer timer;
    uint64_t ran_at_ns;
    unsigned run_count;
    struct http_timer *cancels; /* in its callback */
    bool sets_itself;
};

static uint64_t now_ns;
static struct timer_wheel wheel;

static void on_probe(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    probe->ran_at_ns = now_ns;
    probe->run_count++;
    if (probe->cancels != NULL)
        http_timer_cancel(probe->cancels);
    if (probe->sets_itself)
        timer_wheel_set(&wheel, timer, 0);
}

static int setup(void **state)
{
    (void)state;
    now_ns = 123456 * NS_PER_MS + 7;
    timer_wheel_init(&wheel, now_ns);
    return 0;
}

static void a_timer_runs_at_its_deadline_and_once(void **state)
{
    (void)state;
    struct probe probe = {.timer.run = on_probe};
    timer_wheel_set(&wheel, &probe.timer, now_ns + 5 * NS_PER_MS);
    uint64_t deadline_ns = now_ns + 5 * NS_PER_MS;
    while (now_ns < deadline_ns - 1) {
        timer_wheel_run(&wheel, now_ns, NULL);
        assert_int_equal(probe.run_count, 0);
        now_ns += NS_PER_MS / 2;
    }
    now_ns = deadline_ns + NS_PER_MS;
    timer_wheel_run(&wheel, now_ns, NULL);
    assert_int_equal(probe.run_count, 1);
    timer_wheel_run(&wheel, now_ns + NS_PER_SECOND, NULL);
    assert_int_equal(probe.run_count, 1);
    assert_true(timer_wheel_next_ns(&wheel) == UINT64_MAX);
}

static void a_past_deadline_runs_at_the_next_call(void **state)
{
    (void)state;
    struct probe probe = {.timer.run = on_probe};
    timer_wheel_set(&wheel, &probe.timer, 1);
    assert_true(timer_wheel_next_ns(&wheel) == 0);
    timer_wheel_run(&wheel, now_ns, NULL);
    assert_int_equal(probe.run_count, 1);
}

static void a_timer_that_sets_itself_does_not_keep_the_call_running(void **state)
{
    (void)state;
    struct probe probe = {.timer.run = on_probe, .sets_itself = true};
    timer_wheel_set(&wheel, &probe.timer, 1);
    timer_wheel_run(&wheel, now_ns, NULL);
    assert_int_equal(probe.run_count, 1);
    timer_wheel_run(&wheel, now_ns, NULL);
    assert_int_equal(probe.run_count, 2);
}

static void a_callback_may_cancel_a_timer_that_is_due_with_it(void **state)
{
    (void)state;
    struct probe one = {.timer.run = on_probe}, two = {.timer.run = on_probe};
    one.cancels = &two.timer;
    two.cancels = &one.timer;
    timer_wheel_set(&wheel, &one.timer, now_ns + NS_PER_MS);
    timer_wheel_set(&wheel, &two.timer, now_ns + NS_PER_MS);
    now_ns += NS_PER_SECOND;
    timer_wheel_run(&wheel, now_ns, NULL);
    assert_int_equal(one.run_count + two.run_count, 1);
}

static void setting_again_moves_a_timer(void **state)
{
    (void)state;
    struct probe probe = {.timer.run = on_probe};
    timer_wheel_set(&wheel, &probe.timer, now_ns + 10 * NS_PER_MS);
    timer_wheel_set(&wheel, &probe.timer, now_ns + 70 * NS_PER_MS);
    timer_wheel_run(&wheel, now_ns + 60 * NS_PER_MS, NULL);
    assert_int_equal(probe.run_count, 0);
    timer_wheel_run(&wheel, now_ns + 71 * NS_PER_MS, NULL);
    assert_int_equal(probe.run_count, 1);
}

/* Deadlines over all levels, time in steps of all sizes: never early, at most one tick late, and
 * the loop is always told to wake in time. */
static void no_timer_is_early_or_late_whatever_the_steps(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static struct probe probes[COUNT];
    uint64_t random = 88172645463325252ull, start_ns = now_ns, last_ns = now_ns;
    memset(probes, 0, sizeof probes);
    for (unsigned i = 0; i < COUNT; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        probes[i].timer.run = on_probe;
        uint64_t span_ns = (random >> 20) % (NS_PER_MS << (random % 27)) + 1;
        timer_wheel_set(&wheel, &probes[i].timer, start_ns + span_ns);
        if (start_ns + span_ns > last_ns)
            last_ns = start_ns + span_ns;
    }
    while (now_ns <= last_ns + NS_PER_MS) {
        uint64_t next_ns = timer_wheel_next_ns(&wheel);
        if (next_ns == UINT64_MAX)
            break;
        if (next_ns > now_ns)
            now_ns = next_ns;
        timer_wheel_run(&wheel, now_ns, NULL);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].run_count, 1);
        assert_true(probes[i].ran_at_ns >= probes[i].timer.deadline_ns);
        assert_true(probes[i].ran_at_ns < probes[i].timer.deadline_ns + NS_PER_MS);
    }
}

static void a_deadline_past_the_last_level_is_kept(void **state)
{
    (void)state;
    struct probe probe = {.timer.run = on_probe};
    timer_wheel_set(&wheel, &probe.timer, UINT64_MAX);
    timer_wheel_run(&wheel, now_ns + 3600 * NS_PER_SECOND, NULL);
    assert_int_equal(probe.run_count, 0);
    http_timer_cancel(&probe.timer);
    http_timer_cancel(&probe.timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_timer_runs_at_its_deadline_and_once, setup),
        cmocka_unit_test_setup(a_past_deadline_runs_at_the_next_call, setup),
        cmocka_unit_test_setup(a_timer_that_sets_itself_does_not_keep_the_call_running, setup),
        cmocka_unit_test_setup(a_callback_may_cancel_a_timer_that_is_due_with_it, setup),
        cmocka_unit_test_setup(setting_again_moves_a_timer, setup),
        cmocka_unit_test_setup(no_timer_is_early_or_late_whatever_the_steps, setup),
        cmocka_unit_test_setup(a_deadline_past_the_last_level_is_kept, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
