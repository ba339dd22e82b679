#include "unit_test.h"

#include "capacity_window.h"

static void note(struct capacity_window *window, uint64_t number)
{
    const struct capacity_sums sums = {
        .at_ns = number * 10, .arrivals = (double)number, .ttft_s = (double)number * 2};

    capacity_window_note(window, &sums);
}

static void two_samples_make_a_difference(void **state)
{
    struct capacity_window window = {.count = 0};

    (void)state;
    assert_int_equal(capacity_window_difference(&window).at_ns, 0);
    note(&window, 5);
    assert_int_equal(capacity_window_difference(&window).at_ns, 0);
    note(&window, 7);
    assert_int_equal(capacity_window_difference(&window).at_ns, 20);
    assert_true(capacity_window_difference(&window).arrivals == 2);
    assert_true(capacity_window_difference(&window).ttft_s == 4);
}

static void old_samples_are_forgotten(void **state)
{
    struct capacity_window window = {.count = 0};

    (void)state;
    for (uint64_t i = 0; i < 3 * CAPACITY_WINDOW_SAMPLES + 7; i++) {
        note(&window, i);
        assert_int_equal(capacity_window_difference(&window).at_ns,
                         10 * (i < CAPACITY_WINDOW_SAMPLES ? i : CAPACITY_WINDOW_SAMPLES - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_samples_make_a_difference),
        cmocka_unit_test(old_samples_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
