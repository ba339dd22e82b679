/* The definitions of the tensor formats against values made by the `gguf` Python package
 * (tests/data/tensor_types.txt), bit for bit; and the conversions of halves against their whole
 * range. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend.h"
#include "half.h"

#define LINE_BYTES_MAX (1 << 16)
#define ELEMENTS_MAX   512

static const enum tensor_type all_types[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1,  TENSOR_Q5_0,   TENSOR_Q5_1,
    TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_MXFP4, TENSOR_F8_E4M3};

static enum tensor_type type_of(const char *name)
{
    for (size_t i = 0; i < sizeof(all_types) / sizeof(all_types[0]); i++)
        if (strcmp(tensor_type_name(all_types[i]), name) == 0)
            return all_types[i];
    fail_msg("no type is called %s", name);
    return TENSOR_F32;
}

static size_t read_hex(const char *text, uint8_t *out)
{
    size_t count = strlen(text) / 2;
    for (size_t i = 0; i < count; i++) {
        unsigned byte;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return count;
}

static void check_vector(enum tensor_type type, const uint8_t *blocks, size_t block_bytes,
                         const uint8_t *values, size_t value_bytes)
{
    uint32_t elements, bytes;
    assert_true(tensor_type_block(type, &elements, &bytes));
    uint32_t count = (uint32_t)(value_bytes / 4);
    assert_int_equal(block_bytes / bytes * elements, count);
    static const float one = 1.0f;
    struct tensor_source source = {.type = type,
                                   .data = blocks,
                                   .n_outputs = 1,
                                   .n_cols = count,
                                   .scales = &one,
                                   .scale_outputs = 1,
                                   .scale_cols = count};
    float actual[ELEMENTS_MAX];
    tensor_dequantise(&source, 0, 0, count, actual);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t expected = (uint32_t)values[4 * i] << 24 | (uint32_t)values[4 * i + 1] << 16 |
                            (uint32_t)values[4 * i + 2] << 8 | values[4 * i + 3];
        if (f32_to_bits(actual[i]) != expected &&
            !(actual[i] == 0.0f && bits_to_f32(expected) == 0.0f))
            fail_msg("%s: element %u is %.9g, not %.9g", tensor_type_name(type), i,
                     (double)actual[i], (double)bits_to_f32(expected));
    }
    /* The second half alone. */
    float half[ELEMENTS_MAX];
    tensor_dequantise(&source, 0, count / 2, count / 2, half);
    assert_memory_equal(half, actual + count / 2, count / 2 * sizeof(float));
}

static void every_format_agrees_with_gguf(void **state)
{
    (void)state;
    static char line[LINE_BYTES_MAX], name[16], block_text[LINE_BYTES_MAX],
        value_text[LINE_BYTES_MAX];
    static uint8_t blocks[LINE_BYTES_MAX / 2], values[LINE_BYTES_MAX / 2];
    FILE *file = fopen("tests/data/tensor_types.txt", "r");
    assert_non_null(file);
    size_t seen = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%15s %65535s %65535s", name, block_text, value_text), 3);
        size_t block_bytes = read_hex(block_text, blocks),
               value_bytes = read_hex(value_text, values);
        check_vector(type_of(name), blocks, block_bytes, values, value_bytes);
        seen++;
    }
    (void)fclose(file);
    assert_int_equal(seen, sizeof(all_types) / sizeof(all_types[0]));
}

static void unknown_types_have_no_block(void **state)
{
    (void)state;
    uint32_t elements, bytes;
    assert_false(tensor_type_block((enum tensor_type)4, &elements, &bytes));
    assert_false(tensor_type_block((enum tensor_type)1000, &elements, &bytes));
    assert_string_equal(tensor_type_name((enum tensor_type)1000), "unknown");
}

static void every_half_survives_the_way_to_float_and_back(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits;
        float value = f16_to_f32(half);
        if (value != value)
            assert_true((f32_to_f16(value) & 0x7fff) > 0x7c00);
        else
            assert_int_equal(f32_to_f16(value), half);
    }
}

static void floats_between_two_halves_round_to_the_even_one(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = f16_to_f32((uint16_t)bits), high = f16_to_f32((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2; /* exact in f32 */
        uint16_t even = (uint16_t)((bits & 1) != 0 ? bits + 1 : bits);
        assert_int_equal(f32_to_f16(middle), even);
        assert_int_equal(f32_to_f16(bits_to_f32(f32_to_bits(middle) - 1)), bits);
        assert_int_equal(f32_to_f16(bits_to_f32(f32_to_bits(middle) + 1)), bits + 1);
    }
    assert_int_equal(f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_agrees_with_gguf),
        cmocka_unit_test(unknown_types_have_no_block),
        cmocka_unit_test(every_half_survives_the_way_to_float_and_back),
        cmocka_unit_test(floats_between_two_halves_round_to_the_even_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
