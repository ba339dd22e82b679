#include "unit_test.h"

#include "decimal.h"

static void digits_are_taken_and_the_rest_stays(void **state)
{
    struct text_slice text = text_slice_of("0012 34x");
    uint64_t number = 7;

    (void)state;
    assert_true(decimal_take(&text, 100, &number));
    assert_int_equal(number, 12);
    assert_true(text_slice_is(text, " 34x"));
    assert_false(decimal_take(&text, 100, &number));
    assert_true(text_slice_skip(&text, " "));
    assert_true(decimal_take(&text, 34, &number));
    assert_int_equal(number, 34);
    assert_false(decimal_take(&text, 34, &number));
    assert_true(text_slice_is(text, "x"));
}

static void nothing_but_digits_is_a_number(void **state)
{
    static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "a"};
    uint64_t number = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(decimal_read(text_slice_of(wrong[i]), UINT64_MAX, &number));
    assert_false(decimal_read((struct text_slice){NULL, 0}, UINT64_MAX, &number));
    assert_int_equal(number, 7);
    assert_true(decimal_read(text_slice_of("0"), 0, &number));
    assert_int_equal(number, 0);
}

static void a_number_is_at_most_the_largest(void **state)
{
    uint64_t number = 0;

    (void)state;
    assert_true(decimal_read(text_slice_of("65535"), 65535, &number));
    assert_int_equal(number, 65535);
    assert_false(decimal_read(text_slice_of("65536"), 65535, &number));
    assert_false(decimal_read(text_slice_of("5"), 4, &number));
    assert_true(decimal_read(text_slice_of("18446744073709551615"), UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_false(decimal_read(text_slice_of("18446744073709551616"), UINT64_MAX, &number));
    assert_false(decimal_read(text_slice_of("99999999999999999999"), UINT64_MAX, &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_taken_and_the_rest_stays),
        cmocka_unit_test(nothing_but_digits_is_a_number),
        cmocka_unit_test(a_number_is_at_most_the_largest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
