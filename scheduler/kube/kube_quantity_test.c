#include "unit_test.h"

#include "kube_quantity.h"

static int64_t milli(const char *text)
{
    int64_t value = -1;
    assert_int_equal(kube_quantity_milli(text, &value), STATUS_OK);
    return value;
}

static void quantities_of_the_api_are_read(void **state)
{
    (void)state;
    assert_int_equal(milli("64"), 64000);
    assert_int_equal(milli("500m"), 500);
    assert_int_equal(milli("1.5Gi"), 1610612736000);
    assert_int_equal(milli("100k"), 100000000);
    assert_int_equal(milli("2e3"), 2000000);
    assert_int_equal(milli("2E3"), 2000000);
    assert_int_equal(milli("5e-1"), 500);
    assert_int_equal(milli("0.1"), 100);
    assert_int_equal(milli("-2"), -2000);
    assert_int_equal(milli("+2"), 2000);
    assert_int_equal(milli("1T"), 1000000000000000);
    assert_int_equal(milli("1Ti"), 1099511627776000);
}

static void what_is_below_a_thousandth_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(milli("1n"), 1);
    assert_int_equal(milli("1001u"), 2);
    assert_int_equal(milli("1000u"), 1);
    assert_int_equal(milli("-1n"), -1);
}

static void what_is_no_quantity_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    ".",     "Gi",  "1 Gi", "1gi", "1e",   "1e+",
                                        "0x1", "1.2.3", "--1", "1mm",  "NaN", "1e99", "1e3Ki"};
    int64_t value;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(kube_quantity_milli(wrong[i], &value), STATUS_INVALID);
    assert_int_equal(kube_quantity_milli(NULL, &value), STATUS_INVALID);
}

static void the_largest_is_taken_and_one_more_is_too_large(void **state)
{
    (void)state;
    int64_t value;
    assert_int_equal(milli("9223372036854775807m"), INT64_MAX);
    assert_int_equal(kube_quantity_milli("9223372036854775808m", &value), STATUS_TOO_LARGE);
    assert_int_equal(kube_quantity_milli("10E", &value), STATUS_TOO_LARGE);
    assert_int_equal(kube_quantity_milli("8Ei", &value), STATUS_TOO_LARGE);
}

static void units_are_never_negative_and_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(kube_quantity_units("8"), 8);
    assert_int_equal(kube_quantity_units("1500m"), 2);
    assert_int_equal(kube_quantity_units("-3"), 0);
    assert_int_equal(kube_quantity_units("x"), 0);
    assert_int_equal(kube_quantity_units(NULL), 0);
    assert_true(kube_quantity_units("80Ei") > 1ull << 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities_of_the_api_are_read),
        cmocka_unit_test(what_is_below_a_thousandth_is_rounded_up),
        cmocka_unit_test(what_is_no_quantity_is_refused),
        cmocka_unit_test(the_largest_is_taken_and_one_more_is_too_large),
        cmocka_unit_test(units_are_never_negative_and_rounded_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
