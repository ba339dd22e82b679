#include "latency_histogram.h"

#include <math.h>
#include <stdlib.h>

#include "unit_test.h"

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static void quantiles_are_near_those_of_sorted_values(void **state)
{
    enum { COUNT = 5000 };
    static double values[COUNT];
    struct latency_histogram all = {{0}}, half = {{0}}, sum = {{0}};
    unsigned seed = 7;

    (void)state;
    for (int i = 0; i < COUNT; i++) { /* from 1 ms to 100 s, evenly in logarithms */
        values[i] = 1e-3 * pow(1e5, (double)rand_r(&seed) / RAND_MAX);
        latency_histogram_note(i % 2 == 0 ? &all : &half, values[i]);
    }
    latency_histogram_add(&sum, &all);
    latency_histogram_add(&sum, &half);
    qsort(values, COUNT, sizeof(values[0]), by_size);
    assert_int_equal(latency_histogram_count(&sum), COUNT);
    for (double q = 0.05; q < 1; q += 0.05) {
        double exact = values[(int)(q * COUNT)], got = latency_histogram_quantile(&sum, q);

        assert_true(fabs(got / exact - 1) < 0.1);
    }
}

static void what_is_out_of_range_is_kept_at_the_ends(void **state)
{
    struct latency_histogram histogram = {{0}};

    (void)state;
    assert_true(latency_histogram_quantile(&histogram, 0.5) < 0);
    latency_histogram_note(&histogram, 0);
    latency_histogram_note(&histogram, NAN);
    latency_histogram_note(&histogram, -1);
    assert_int_equal(histogram.counts[0], 3);
    latency_histogram_note(&histogram, 1e9);
    latency_histogram_note(&histogram, INFINITY);
    assert_int_equal(histogram.counts[LATENCY_BUCKET_COUNT - 1], 2);
    assert_true(latency_histogram_quantile(&histogram, 0.5) <= 1e-4);
    assert_true(latency_histogram_quantile(&histogram, 1) > 1000);
}

static void what_is_taken_is_taken_once(void **state)
{
    static struct latency_counts counts;
    struct latency_histogram first = {{0}}, second = {{0}};

    (void)state;
    latency_counts_note(&counts, 0.2);
    latency_counts_note(&counts, 0.2);
    latency_counts_take(&counts, &first);
    latency_counts_take(&counts, &second);
    assert_int_equal(latency_histogram_count(&first), 2);
    assert_int_equal(latency_histogram_count(&second), 0);
    assert_true(fabs(latency_histogram_quantile(&first, 0.5) / 0.2 - 1) < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_near_those_of_sorted_values),
        cmocka_unit_test(what_is_out_of_range_is_kept_at_the_ends),
        cmocka_unit_test(what_is_taken_is_taken_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
