#include "unit_test.h"

#include "quantile_tracker.h"

/* Any numbers. */
static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void the_share_below_is_the_wanted_one(void **state)
{
    static const double quantiles[] = {0.5, 0.9, 0.95};

    (void)state;
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        struct quantile_tracker tracker = {0};
        uint64_t random = 7, below = 0, count = 100000;

        for (uint64_t j = 0; j < count; j++) {
            uint64_t value = 1000000 + next(&random) % 1000000;

            if (j >= count / 2)
                below += value <= quantile_tracker_get(&tracker);
            quantile_tracker_note(&tracker, quantiles[i], value);
        }
        assert_true((double)below / ((double)count / 2) > quantiles[i] - 0.02);
        assert_true((double)below / ((double)count / 2) < quantiles[i] + 0.02);
    }
}

static void it_follows_a_change(void **state)
{
    struct quantile_tracker tracker = {0};

    (void)state;
    assert_int_equal(quantile_tracker_get(&tracker), 0);
    for (int i = 0; i < 500; i++)
        quantile_tracker_note(&tracker, 0.95, 1000);
    assert_in_range(quantile_tracker_get(&tracker), 950, 1050);
    for (int i = 0; i < 500; i++)
        quantile_tracker_note(&tracker, 0.95, 50000);
    assert_in_range(quantile_tracker_get(&tracker), 45000, 55000);
}

static void it_never_becomes_unknown_again(void **state)
{
    struct quantile_tracker tracker = {0};

    (void)state;
    for (int i = 0; i < 10000; i++)
        quantile_tracker_note(&tracker, 0.0, 0);
    assert_int_equal(quantile_tracker_get(&tracker), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_below_is_the_wanted_one),
        cmocka_unit_test(it_follows_a_change),
        cmocka_unit_test(it_never_becomes_unknown_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
