/* E4M3 as OCP defines it: every code, and every value between two of them. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "half.h"

static void every_code_comes_back(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 256; code++)
        if ((code & 0x7f) != 0x7f) /* not a number */
            assert_int_equal(f32_to_f8_e4m3(f8_e4m3_to_f32((uint8_t)code)), code);
    assert_true(f8_e4m3_to_f32(0x7e) == 448.0f && f8_e4m3_to_f32(0x01) == 0x1p-9f);
}

static void values_go_to_the_nearest_code_and_ties_to_the_even_one(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x7e; code++) {
        float low = f8_e4m3_to_f32((uint8_t)code), high = f8_e4m3_to_f32((uint8_t)(code + 1));
        float middle = low + (high - low) / 2; /* exact */
        unsigned even = code % 2 == 0 ? code : code + 1;
        for (int sign = 0; sign < 2; sign++) {
            float factor = sign ? -1.0f : 1.0f;
            unsigned bit = sign ? 0x80 : 0;
            assert_int_equal(f32_to_f8_e4m3(factor * middle), bit | even);
            assert_int_equal(f32_to_f8_e4m3(factor * nextafterf(middle, low)), bit | code);
            assert_int_equal(f32_to_f8_e4m3(factor * nextafterf(middle, high)), bit | (code + 1));
        }
    }
}

static void what_is_beyond_the_range_is_the_largest_there_is(void **state)
{
    (void)state;
    assert_int_equal(f32_to_f8_e4m3(1e9f), 0x7e);
    assert_int_equal(f32_to_f8_e4m3(-INFINITY), 0xfe);
    assert_int_equal(f32_to_f8_e4m3(NAN) & 0x7f, 0x7f);
    assert_int_equal(f32_to_f8_e4m3(1e-20f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(values_go_to_the_nearest_code_and_ties_to_the_even_one),
        cmocka_unit_test(what_is_beyond_the_range_is_the_largest_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
