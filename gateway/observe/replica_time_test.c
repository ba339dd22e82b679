#include "replica_time.h"

#include <math.h>

#include "check.h"
#include "unit_test.h"

static const struct replica_look up = {.life = LIFE_UP, .seconds = 1, .kv_free_share = 1};

static void expect(const struct replica_look *look, enum replica_time kind, double seconds)
{
    double out[TIME_COUNT] = {0}, sum = 0;

    replica_time_split(look, out);
    for (int i = 0; i < TIME_COUNT; i++) {
        assert_true(out[i] >= 0);
        sum += out[i];
    }
    assert_true(fabs(sum - look->seconds) < 1e-12);
    if (fabs(out[kind] - seconds) > 1e-12)
        fail_msg("%s: %g and not %g", replica_time_name(kind), out[kind], seconds);
}

static void what_has_no_slice_says_why(void **state)
{
    static const struct {
        enum slice_wait wait;
        enum replica_time kind;
    } cases[] = {{SLICE_WAIT_NEW, TIME_COLD_START},
                 {SLICE_WAIT_PIECES, TIME_FRAGMENTATION},
                 {SLICE_WAIT_LIMIT, TIME_HELD_BY_LIMITS},
                 {SLICE_WAIT_GONE, TIME_BROKEN}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct replica_look look = {LIFE_PLACING, .wait = cases[i].wait, .seconds = 2.5};

        expect(&look, cases[i].kind, 2.5);
    }
}

static void what_starts_or_failed_is_that_alone(void **state)
{
    struct replica_look look = up;

    (void)state;
    look.busy_seconds = 1; /* an old page's word */
    look.life = LIFE_STARTING;
    expect(&look, TIME_COLD_START, 1);
    look.life = LIFE_BROKEN;
    expect(&look, TIME_BROKEN, 1);
}

static void steps_are_busy_and_the_rest_is_idle(void **state)
{
    struct replica_look look = up;

    (void)state;
    expect(&look, TIME_IDLE, 1);
    look.busy_seconds = 0.6;
    look.prefill_seconds = 0.2;
    expect(&look, TIME_BUSY_PREFILL, 0.2);
    expect(&look, TIME_BUSY_DECODE, 0.4);
    expect(&look, TIME_IDLE, 0.4);
    look.prefill_seconds = 9; /* reckoned too high */
    expect(&look, TIME_BUSY_PREFILL, 0.6);
    look.busy_seconds = 3; /* of a step that began before the last look */
    expect(&look, TIME_IDLE, 0);
    look.prefill_seconds = NAN;
    expect(&look, TIME_BUSY_DECODE, 1);
}

static void a_step_without_an_end_is_busy_unless_it_is_stuck(void **state)
{
    struct replica_look look = up;

    (void)state;
    look.running = 1;
    expect(&look, TIME_BUSY_DECODE, 1);
    look.is_distrusted = true;
    expect(&look, TIME_BROKEN, 1);
}

static void rest_has_the_first_reason_that_holds(void **state)
{
    struct replica_look look = up;

    (void)state;
    look.busy_seconds = 0.5;
    look.refused = 3;
    expect(&look, TIME_HELD_BY_LIMITS, 0.5);
    look.refused = 0;
    look.held = 1;
    expect(&look, TIME_HELD_BY_LIMITS, 0.5);
    look.are_held_for_kv = true;
    expect(&look, TIME_WAITING_KV, 0.5);
    look.held = 0;
    expect(&look, TIME_IDLE, 0.5);
    look.waiting = 2;
    expect(&look, TIME_HELD_BY_LIMITS, 0.5);
    look.kv_free_share = 0.02;
    expect(&look, TIME_WAITING_KV, 0.5);
    look.is_distrusted = true;
    expect(&look, TIME_BROKEN, 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_no_slice_says_why),
        cmocka_unit_test(what_starts_or_failed_is_that_alone),
        cmocka_unit_test(steps_are_busy_and_the_rest_is_idle),
        cmocka_unit_test(a_step_without_an_end_is_busy_unless_it_is_stuck),
        cmocka_unit_test(rest_has_the_first_reason_that_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
