#include "unit_test.h"

#include "terminal.h"

static void keys_are_found_one_after_the_other(void **state)
{
    static const char text[] = "m\033[A\033OB x\033[5~q";
    static const enum key keys[] = {KEY_NEXT, KEY_PREVIOUS, KEY_NEXT, KEY_PAUSE, KEY_NONE};
    size_t at = 0, taken;

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++, at += taken)
        assert_int_equal(terminal_key(text + at, strlen(text) - at, &taken), keys[i]);
    /* What is not known is passed over, a byte at a time. */
    while (terminal_key(text + at, strlen(text) - at, &taken) == KEY_NONE)
        at += taken;
    assert_string_equal(text + at, "q");
}

static void half_an_arrow_is_no_key(void **state)
{
    size_t taken;

    (void)state;
    assert_int_equal(terminal_key("\033[", 2, &taken), KEY_NONE);
    assert_int_equal(taken, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_one_after_the_other),
        cmocka_unit_test(half_an_arrow_is_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
