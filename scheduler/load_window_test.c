#include "unit_test.h"

#include <math.h>
#include <stdbool.h>

#include "clock.h"
#include "load_window.h"

static bool is_near(double value, double expected, double difference)
{
    return fabs(value - expected) <= difference;
}

static void an_empty_window_has_no_mean(void **state)
{
    struct load_window window = {0};
    (void)state;

    assert_true(is_near(load_window_mean(&window, 5 * NS_PER_SECOND, 60), 0, 0));
    assert_true(is_near(load_window_variance(&window, 5 * NS_PER_SECOND, 60), 0, 0));
}

static void seconds_count_alike_however_many_samples_they_have(void **state)
{
    struct load_window window = {0};
    (void)state;

    /* A second with 10 and 20, one with none, one with 30: the mean of 15 and 30. */
    load_window_note(&window, 100 * NS_PER_SECOND, 10);
    load_window_note(&window, 100 * NS_PER_SECOND + 1, 20);
    load_window_note(&window, 102 * NS_PER_SECOND, 30);
    assert_true(is_near(load_window_mean(&window, 102 * NS_PER_SECOND, 60), 22.5, 1e-12));
    assert_true(is_near(load_window_mean(&window, 102 * NS_PER_SECOND, 1), 30, 1e-12));
    assert_true(is_near(load_window_variance(&window, 102 * NS_PER_SECOND, 60), 112.5, 1e-9));
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    struct load_window window = {0};
    (void)state;

    for (uint64_t s = 0; s < 500; s++)
        load_window_note(&window, s * NS_PER_SECOND, s < 480 ? 1000 : (double)s);
    assert_true(is_near(load_window_mean(&window, 499 * NS_PER_SECOND, 6), 496.5, 1e-9));
    assert_true(is_near(load_window_mean(&window, 499 * NS_PER_SECOND, 20), 489.5, 1e-9));
    assert_true(load_window_mean(&window, 499 * NS_PER_SECOND, 60) > 700);
    /* Nothing new for a while: the window empties by itself. */
    assert_true(is_near(load_window_mean(&window, 503 * NS_PER_SECOND, 6), 498.5, 1e-9));
    assert_true(is_near(load_window_mean(&window, 600 * NS_PER_SECOND, 60), 0, 0));
}

static void a_long_silence_leaves_nothing_behind(void **state)
{
    struct load_window window = {0};
    (void)state;

    load_window_note(&window, 10 * NS_PER_SECOND, 7);
    load_window_note(&window, 1000000 * NS_PER_SECOND, 9);
    assert_true(
        is_near(load_window_mean(&window, 1000000 * NS_PER_SECOND, LOAD_WINDOW_SECONDS), 9, 1e-12));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_window_has_no_mean),
        cmocka_unit_test(seconds_count_alike_however_many_samples_they_have),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(a_long_silence_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
