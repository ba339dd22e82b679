#include "unit_test.h"

#include "check.h"
#include "request_wishes.h"

static void the_body_says_its_priority_by_number_or_tier(void **state)
{
    static const struct {
        const char *priority, *tier;
        int32_t expected;
    } rows[] = {
        {"", "", 0},
        {"-3", "", -3},
        {"4", "\"flex\"", 4},
        {"", "\"flex\"", 1},
        {"", "\"priority\"", -1},
        {"", "\"fast\"", -1},
        {"", "\"default\"", 0},
        /* wrong kinds and ranges are the replica's to refuse */
        {"\"1\"", "", 0},
        {"2147483648", "flex", 0},
        {"1.5", "1", 0},
        {"[1]", "null", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        int32_t got =
            request_priority_read(text_slice_of(rows[i].priority), text_slice_of(rows[i].tier));

        if (got != rows[i].expected)
            fail_msg("%s %s: %d", rows[i].priority, rows[i].tier, got);
    }
    assert_int_equal(
        request_priority_read((struct text_slice){NULL, 0}, (struct text_slice){NULL, 0}), 0);
}

static void numbers_are_decimal_and_bounded(void **state)
{
    static const char *const bad[] = {"", "-", "+1", "1 ", " 1", "0x1", "1e3", "11", "-4", "1.0"};
    int64_t number = 99;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (request_number_read(text_slice_of(bad[i]), -3, 10, &number))
            fail_msg("'%s' was read", bad[i]);
    }
    assert_false(request_number_read((struct text_slice){NULL, 0}, -3, 10, &number));
    assert_int_equal(number, 99);
    assert_true(request_number_read(text_slice_of("10"), -3, 10, &number));
    assert_int_equal(number, 10);
    assert_true(request_number_read(text_slice_of("-3"), -3, 10, &number));
    assert_int_equal(number, -3);
    assert_true(request_number_read(text_slice_of("999999999999999999"), 0, INT64_MAX, &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_says_its_priority_by_number_or_tier),
        cmocka_unit_test(numbers_are_decimal_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
