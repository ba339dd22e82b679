#include "unit_test.h"

#include "bench_samples.h"

static void percentiles_are_nearest_ranks(void **state)
{
    struct bench_samples samples = {NULL, 0, 0, 0};

    (void)state;
    assert_true(bench_samples_percentile(&samples, 0.5) == 0);
    for (int i = 2000; i >= 1; i--)
        assert_int_equal(bench_samples_add(&samples, i), STATUS_OK);
    assert_true(bench_samples_percentile(&samples, 0) == 1);
    assert_true(bench_samples_percentile(&samples, 0.5) == 1000);
    assert_true(bench_samples_percentile(&samples, 0.99) == 1980);
    assert_true(bench_samples_percentile(&samples, 0.9901) == 1981);
    assert_true(bench_samples_percentile(&samples, 1) == 2000);
    assert_true(bench_samples_mean(&samples) == 1000.5);
    bench_samples_deinit(&samples);
}

static void one_value_is_every_percentile(void **state)
{
    struct bench_samples samples = {NULL, 0, 0, 0};

    (void)state;
    assert_int_equal(bench_samples_add(&samples, 7), STATUS_OK);
    assert_true(bench_samples_percentile(&samples, 0.01) == 7);
    assert_true(bench_samples_percentile(&samples, 0.99) == 7);
    bench_samples_deinit(&samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_nearest_ranks),
        cmocka_unit_test(one_value_is_every_percentile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
