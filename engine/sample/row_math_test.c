#include "unit_test.h"

#include <math.h>
#include <stdlib.h>

#include "row_math.h"

#define COUNT_MAX 70000u

static uint64_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33);
}

static void fill(float *row, uint32_t count, uint64_t seed)
{
    random_state = seed;
    for (uint32_t i = 0; i < count; i++) /* steps of 1/64: ties are common */
        row[i] = (float)(next_random() % 2048) / 64.0f - 20.0f;
}

static float row[COUNT_MAX];
static const uint32_t counts[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 255, 256, 257, 1000, 49152, 70000};

#define FOR_EACH_COUNT(i) for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)

static void the_maximum_is_found_wherever_it_is(void **state)
{
    (void)state;
    FOR_EACH_COUNT(c)
    {
        uint32_t count = counts[c];
        for (uint32_t where = 0; where < count; where += 1 + count / 50) {
            fill(row, count, where);
            row[where] = 100.0f;
            bool is_sound = false;
            assert_true(row_max(row, count, &is_sound) == 100.0f);
            assert_true(is_sound);
            assert_int_equal(row_find(row, count, 100.0f), where);
        }
    }
}

static void of_equal_values_the_first_is_found(void **state)
{
    (void)state;
    fill(row, 1000, 1);
    row[300] = row[301] = row[999] = 50.0f;
    assert_int_equal(row_find(row, 1000, 50.0f), 300);
}

static void a_nan_anywhere_is_seen(void **state)
{
    (void)state;
    FOR_EACH_COUNT(c)
    {
        uint32_t count = counts[c];
        for (uint32_t where = 0; where < count; where += 1 + count / 50) {
            fill(row, count, 3);
            row[where] = NAN;
            bool is_sound = true;
            (void)row_max(row, count, &is_sound);
            assert_false(is_sound);
        }
    }
}

static void the_exponential_is_that_of_libm(void **state)
{
    (void)state;
    for (float x = 0.0f; x > -87.0f; x -= 0.0137f) {
        double truth = exp((double)x);
        assert_true(fabs((double)row_exp(x) / truth - 1.0) < 2e-7);
    }
    assert_true(row_exp(0.0f) == 1.0f);
    assert_true(row_exp(-88.0f) == 0.0f);
    assert_true(row_exp(-INFINITY) == 0.0f);
}

static void sums_of_exponentials_match_double_arithmetic(void **state)
{
    (void)state;
    static float sums[ROW_CHUNKS_MAX];
    FOR_EACH_COUNT(c)
    {
        uint32_t count = counts[c];
        fill(row, count, 5);
        row[count / 2] = -INFINITY;
        bool is_sound;
        float max = row_max(row, count, &is_sound);
        if (max == -INFINITY)
            continue;
        const float thresholds[] = {-INFINITY, 3.0f};
        for (int t = 0; t < 2; t++) {
            double truth = 0.0;
            for (uint32_t i = 0; i < count; i++)
                truth += row[i] >= thresholds[t] ? exp(((double)row[i] - (double)max) * 0.7) : 0.0;
            double sum = row_exp_sums(row, count, max, 0.7f, thresholds[t], sums);
            assert_true(fabs(sum - truth) <= 1e-6 * truth + 1e-12);
            double of_chunks = 0.0;
            for (uint32_t i = 0; i * row_chunk_size(count) < count; i++)
                of_chunks += (double)sums[i];
            assert_true(fabs(of_chunks - sum) <= 1e-12 * sum);
        }
    }
}

static int compare_candidates(const void *left, const void *right)
{
    const struct row_candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->token < b->token ? -1 : 1;
}

static void selection_equals_a_full_sort(void **state)
{
    (void)state;
    static struct row_candidate sorted[COUNT_MAX];
    static struct row_candidate best[256];
    static const uint32_t ks[] = {1, 2, 20, 40, 255, 256};
    FOR_EACH_COUNT(c)
    {
        uint32_t count = counts[c];
        fill(row, count, 7);
        for (uint32_t i = 0; i < count; i++)
            sorted[i] = (struct row_candidate){row[i], i};
        qsort(sorted, count, sizeof sorted[0], compare_candidates);
        for (size_t k = 0; k < sizeof ks / sizeof ks[0]; k++) {
            uint32_t want = ks[k] < count ? ks[k] : count;
            assert_int_equal(row_select_top(row, count, ks[k], best), want);
            for (uint32_t i = 0; i < want; i++)
                assert_int_equal(best[i].token, sorted[i].token);
        }
    }
    assert_int_equal(row_select_top(row, 100, 0, best), 0);
}

static void banned_tokens_are_never_selected(void **state)
{
    (void)state;
    struct row_candidate best[20];
    for (uint32_t i = 0; i < 100; i++)
        row[i] = -INFINITY;
    row[42] = row[77] = -5.0f;
    assert_int_equal(row_select_top(row, 100, 20, best), 2);
    assert_int_equal(best[0].token, 42);
    assert_int_equal(best[1].token, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_maximum_is_found_wherever_it_is),
        cmocka_unit_test(of_equal_values_the_first_is_found),
        cmocka_unit_test(a_nan_anywhere_is_seen),
        cmocka_unit_test(the_exponential_is_that_of_libm),
        cmocka_unit_test(sums_of_exponentials_match_double_arithmetic),
        cmocka_unit_test(selection_equals_a_full_sort),
        cmocka_unit_test(banned_tokens_are_never_selected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
