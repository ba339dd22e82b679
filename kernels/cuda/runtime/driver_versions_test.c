#include "driver_versions.h"

#include <string.h>

#include "unit_test.h"

static void drivers_run_their_major_version_and_those_before(void **state)
{
    (void)state;
    struct error_note note = {""};
    assert_int_equal(driver_versions_check(13000, 13000, &note), STATUS_OK);
    assert_int_equal(driver_versions_check(12020, 12080, &note), STATUS_OK);
    assert_int_equal(driver_versions_check(13010, 12080, &note), STATUS_OK);
    assert_string_equal(note.text, "");
}

static void a_driver_that_is_too_old_is_told_with_both_versions(void **state)
{
    (void)state;
    struct error_note note = {""};
    assert_int_equal(driver_versions_check(11080, 12040, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "driver is too old: it knows CUDA 11.8"));
    assert_non_null(strstr(note.text, "built with CUDA 12.4; install a driver of CUDA 12"));
}

static void no_driver_is_told(void **state)
{
    (void)state;
    struct error_note note = {""};
    assert_int_equal(driver_versions_check(0, 12040, &note), STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "driver is missing: install it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_run_their_major_version_and_those_before),
        cmocka_unit_test(a_driver_that_is_too_old_is_told_with_both_versions),
        cmocka_unit_test(no_driver_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
