#include "unit_test.h"

#include <math.h>

#include "check.h"
#include "rollout_judge.h"

static void assert_near(double found, double expected)
{
    assert_true(fabs(found - expected) <= 1e-9 * expected + 1e-300);
}

/* Expected values here and below: the sums in rational numbers (Python's fractions and math.comb). */
static void the_tail_over_a_rate_is_the_binomial_one(void **state)
{
    static const struct {
        struct rollout_sample sample;
        double rate, expected;
    } rows[] = {
        {{20, 3}, 0.05, 0.07548367378849634},        {{40, 12}, 0.05, 3.652669918896119e-07},
        {{1000, 120}, 0.1, 0.02199614496579435},     {{5, 5}, 0.5, 0.03125},
        {{10000, 600}, 0.05, 4.509387117818215e-06},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_near(rollout_tail_over(&rows[i].sample, rows[i].rate), rows[i].expected);
    assert_true(rollout_tail_over(&(struct rollout_sample){50, 0}, 0.1) == 1);
    assert_true(rollout_tail_over(&(struct rollout_sample){50, 1}, 0) == 0);
    assert_true(rollout_tail_over(&(struct rollout_sample){50, 50}, 1) == 1);
}

static void the_tail_of_the_comparison_is_fishers(void **state)
{
    static const struct {
        struct rollout_sample fresh, old;
        double expected;
    } rows[] = {
        {{40, 12}, {200, 1}, 1.1169799748787889e-09},
        {{20, 3}, {20, 0}, 0.11538461538461539},
        {{100, 30}, {100, 28}, 0.43813097134850926},
        {{10000, 600}, {10000, 500}, 0.0010618877646731326},
        {{20, 1}, {20, 0}, 0.5},
        {{20, 0}, {20, 5}, 1.0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_near(rollout_tail_worse(&rows[i].fresh, &rows[i].old), rows[i].expected);
}

static void tails_of_large_counts_stay_between_0_and_1(void **state)
{
    const struct rollout_sample fresh = {1000000000000, 50000000000},
                                old = {1000000000000, 49999000000};

    (void)state;
    assert_true(rollout_tail_over(&fresh, 0.06) > 0.99);
    assert_true(rollout_tail_over(&fresh, 0.04) < 1e-9);
    assert_true(rollout_tail_worse(&fresh, &old) >= 0 && rollout_tail_worse(&fresh, &old) <= 1);
}

static const struct rollout_bound bound = {20, 0.05, false};
static const struct rollout_sample good_old = {1000, 5};

static bool look(const struct rollout_sample *fresh, const struct rollout_sample *old)
{
    struct rollout_judge judge = {0};

    return rollout_judge_look(&judge, &bound, fresh, old, false);
}

static void too_few_requests_are_no_ground(void **state)
{
    (void)state;
    assert_false(look(&(struct rollout_sample){19, 19}, &good_old));
    assert_true(look(&(struct rollout_sample){20, 19}, &good_old));
}

static void bad_is_what_is_over_the_bound_and_worse_than_the_old_one(void **state)
{
    (void)state;
    assert_true(look(&(struct rollout_sample){100, 20}, &good_old));
    assert_false(look(&(struct rollout_sample){100, 5}, &(struct rollout_sample){1000, 0}));
    assert_false(look(&(struct rollout_sample){100, 20}, &(struct rollout_sample){1000, 190}));
    assert_true(look(&(struct rollout_sample){100, 20}, &(struct rollout_sample){19, 19}));
    assert_false(rollout_judge_look(
        &(struct rollout_judge){0}, &(struct rollout_bound){20, 0.05, true},
        &(struct rollout_sample){100, 20}, &(struct rollout_sample){19, 0}, false));
}

static void it_looks_again_when_the_requests_have_doubled_and_asks_for_more_each_time(void **state)
{
    struct rollout_judge judge = {0};

    (void)state;
    assert_false(
        rollout_judge_look(&judge, &bound, &(struct rollout_sample){20, 0}, &good_old, false));
    assert_int_equal(judge.looks, 1);
    assert_false(
        rollout_judge_look(&judge, &bound, &(struct rollout_sample){39, 39}, &good_old, false));
    assert_int_equal(judge.looks, 1);
    assert_true(
        rollout_judge_look(&judge, &bound, &(struct rollout_sample){39, 39}, &good_old, true));
    assert_int_equal(judge.looks, 2);
    assert_false(
        rollout_judge_look(&judge, &bound, &(struct rollout_sample){79, 79}, &good_old, false));
    assert_true(
        rollout_judge_look(&judge, &bound, &(struct rollout_sample){80, 80}, &good_old, false));
}

static double uniform(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-53;
}

/* Of versions that are exactly as bad as they may be, looked at after each request, no more are found bad than there should be by
 * chance: half of them in the mean of many seeds would already be above it. */
static void a_good_version_is_rarely_found_bad_however_often_it_is_looked_at(void **state)
{
    uint64_t random = 88172645463325252ull;
    uint32_t found = 0, versions = 2000;

    (void)state;
    for (uint32_t i = 0; i < versions; i++) {
        struct rollout_sample fresh = {0, 0}, old = {0, 0};
        struct rollout_judge judge = {0};
        bool is_bad = false;

        for (uint32_t j = 0; j < 400 && !is_bad; j++) {
            fresh.count++;
            old.count++;
            fresh.bad += uniform(&random) < 0.05;
            old.bad += uniform(&random) < 0.05;
            is_bad = rollout_judge_look(&judge, &bound, &fresh, &old, false);
        }
        found += is_bad;
    }
    assert_true(found <= versions * ROLLOUT_ERROR_CHANCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tail_over_a_rate_is_the_binomial_one),
        cmocka_unit_test(the_tail_of_the_comparison_is_fishers),
        cmocka_unit_test(tails_of_large_counts_stay_between_0_and_1),
        cmocka_unit_test(too_few_requests_are_no_ground),
        cmocka_unit_test(bad_is_what_is_over_the_bound_and_worse_than_the_old_one),
        cmocka_unit_test(it_looks_again_when_the_requests_have_doubled_and_asks_for_more_each_time),
        cmocka_unit_test(a_good_version_is_rarely_found_bad_however_often_it_is_looked_at),
    };

    return cmocka_run_group_tests_name("rollout_judge", tests, NULL, NULL);
}
