/* Conversions of device.h against kernels/half.h, which is other code for the same formats, and against their definition. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include <cmocka.h>
}

#include "device.h"
#include "half.h"

static void assert_same(float a, float b)
{
    if (a != a || b != b)
        assert_true(a != a && b != b);
    else
        assert_int_equal(k_float_bits(a), k_float_bits(b));
}

static void every_pattern_means_what_the_oracle_says(void **)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = static_cast<uint16_t>(bits);
        assert_same(k_f16_to_float(half), f16_to_f32(half));
        assert_same(k_bf16_to_float(half), bf16_to_f32(half));
    }
    for (uint32_t bits = 0; bits < 0x100; bits++)
        assert_same(k_e4m3_to_float(static_cast<uint8_t>(bits)),
                    f8_e4m3_to_f32(static_cast<uint8_t>(bits)));
}

/* A number between two neighbours of a format goes to the nearer one, in the middle to the even one. */
template <class T> static void check_rounding(T to_bits(float), float to_float(T), uint32_t count)
{
    for (uint32_t bits = 0; bits + 1 < count; bits++) {
        T low_bits = static_cast<T>(bits), high_bits = static_cast<T>(bits + 1);
        float low = to_float(low_bits), high = to_float(high_bits), middle = low + (high - low) / 2;
        T even = bits % 2 == 0 ? low_bits : high_bits;
        assert_int_equal(to_bits(low), low_bits);
        assert_int_equal(to_bits(middle), even);
        assert_int_equal(to_bits(nextafterf(middle, low)), low_bits);
        assert_int_equal(to_bits(nextafterf(middle, high)), high_bits);
        T sign = static_cast<T>(1u << (8 * sizeof(T) - 1));
        assert_int_equal(to_bits(-middle), static_cast<T>(even | sign));
    }
}

static void numbers_go_to_the_nearest_and_in_the_middle_to_the_even(void **)
{
    check_rounding<uint16_t>(k_float_to_f16, k_f16_to_float, 0x7c00);
    check_rounding<uint16_t>(k_float_to_bf16, k_bf16_to_float, 0x7f80);
    check_rounding<uint8_t>(k_float_to_e4m3, k_e4m3_to_float, 0x7f);
}

static void what_is_too_large_becomes_the_largest_and_no_number_stays_none(void **)
{
    for (float f : {65504.0f, 65519.0f, 65520.0f, 1e30f, INFINITY}) {
        assert_int_equal(k_float_to_f16(f), 0x7bff);
        assert_int_equal(k_float_to_f16(-f), 0xfbff);
    }
    for (float f : {448.0f, 464.0f, 465.0f, 1e30f, INFINITY}) {
        assert_int_equal(k_float_to_e4m3(f), 0x7e);
        assert_int_equal(k_float_to_e4m3(-f), 0xfe);
    }
    assert_same(k_bf16_to_float(k_float_to_bf16(INFINITY)), INFINITY);
    assert_same(k_f16_to_float(k_float_to_f16(NAN)), NAN);
    assert_same(k_bf16_to_float(k_float_to_bf16(NAN)), NAN);
    assert_same(k_e4m3_to_float(k_float_to_e4m3(NAN)), NAN);
}

static void pairs_hold_the_first_in_the_lower_half(void **)
{
    assert_int_equal(k_pack_f16(1.0f, -2.0f), 0xc0003c00u);
    assert_int_equal(k_pack_bf16(1.0f, -2.0f), 0xc0003f80u);
    assert_int_equal(k_sub_f16x2(0xc0003c00u, 0x3c003800u), 0xc2003800u); /* -2 - 1, 1 - 0.5 */
    assert_int_equal(k_sub_f16x2(0x00007bffu, 0x0000fbffu), 0x00007c00u);
}

static void words_of_bits_do_as_their_instructions(void **)
{
    assert_int_equal(k_byte_permute(0x33221100u, 0x77665544u, 0x7160u), 0x77116600u);
    assert_int_equal(k_byte_permute(0x00008000u, 0x00000000u, 0x0098u), 0x0000ff00u);
    assert_int_equal(k_popc(0xf0f00001u), 9);
    assert_int_equal(k_dp4a(0x7f80ff01, 0x7f7f0202, 5), 5 + 127 * 127 - 128 * 127 - 2 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_means_what_the_oracle_says),
        cmocka_unit_test(numbers_go_to_the_nearest_and_in_the_middle_to_the_even),
        cmocka_unit_test(what_is_too_large_becomes_the_largest_and_no_number_stays_none),
        cmocka_unit_test(pairs_hold_the_first_in_the_lower_half),
        cmocka_unit_test(words_of_bits_do_as_their_instructions),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
