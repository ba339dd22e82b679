/* The image of a weight, read by the words of weights.h, against the definition of the file's formats. */
#include "weight_pack.h"

#include "kernel_testing.h"
#include "unit_test.h"

static const enum tensor_type types[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_F8_E4M3, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,
    TENSOR_Q5_1, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K,    TENSOR_Q6_K, TENSOR_MXFP4};

struct image {
    struct weight_layout layout;
    uint8_t *bytes; /* of the image */
};

/* Pieces from the last to the first, as no order is promised, and each from a buffer of its exact size. */
static struct image image_create(const struct tensor_source *sources, uint32_t count, bool is_gated)
{
    struct image image;
    assert_int_equal(weight_layout_plan(sources, count, is_gated, &image.layout), STATUS_OK);
    image.bytes = aligned_alloc(64, image.layout.bytes);
    uint64_t covered = 0;
    for (uint32_t i = image.layout.piece_count; i-- > 0;) {
        struct weight_piece piece = weight_layout_piece(&image.layout, i);
        assert_true(piece.bytes > 0 && piece.bytes <= image.layout.piece_bytes_max);
        assert_int_equal(piece.offset + piece.bytes + covered, image.layout.bytes);
        covered += piece.bytes;
        uint8_t *staging = malloc(piece.bytes);
        memset(staging, 0xa5, piece.bytes);
        weight_piece_pack(&image.layout, sources, i, staging);
        memcpy(image.bytes + piece.offset, staging, piece.bytes);
        free(staging);
    }
    assert_int_equal(covered, image.layout.bytes);
    return image;
}

static uint32_t word_at(const uint8_t *at, uint32_t index)
{
    return load_u32(at + (size_t)4 * index);
}

/* The code of column `c` (of 64) of output `o` in a cell, as the essay of weights.h places it. */
static uint32_t cell_code(enum weight_form form, const uint8_t *cell, uint32_t o, uint32_t c)
{
    uint32_t group = c / 32, t = c % 32 / 8, e = c % 8, lane = 4 * (o % 8) + t, half = o / 8;
    uint32_t word = e / 4, b = e % 4, reg = half + 2 * word;
    if (form == WEIGHT_S8 || form == WEIGHT_F8)
        return word_at(cell + (size_t)512 * group + (size_t)16 * lane, reg) >> 8 * b & 0xff;
    uint32_t low = word_at(cell + (size_t)16 * lane, 2 * group + half);
    if (form == WEIGHT_E2M1)
        return low >> 4 * e & 15;
    uint32_t code = low >> (8 * b + 4 * word) & 15;
    if (form == WEIGHT_U5 || form == WEIGHT_U5M)
        code |= (word_at(cell + 512, lane) >> (8 * b + 4 * group + reg) & 1) << 4;
    if (form == WEIGHT_U6)
        code |= (word_at(cell + 512, 2 * lane + group) >> (8 * b + 2 * reg) & 3) << 4;
    return code;
}

static float cell_element(enum weight_form form, const uint8_t *cell, uint32_t o, uint32_t c)
{
    static const float e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    uint32_t code = cell_code(form, cell, o, c), group = c / 32;
    if (form == WEIGHT_F8)
        return f8_e4m3_to_f32((uint8_t)code);
    uint32_t bytes = weight_scale_bytes(form);
    const uint8_t *scales = cell + weight_scales_at(form) + (size_t)bytes * (o % 8) +
                            (size_t)bytes / 2 * group + (size_t)2 * (o / 8);
    bool is_second = form == WEIGHT_U6 && c % 32 >= 16;
    float scale = load_f16(scales + (is_second ? 4 : 0));
    float minimum = weight_form_has_minimums(form) ? load_f16(scales + 4) : 0;
    float value = form == WEIGHT_E2M1 ? e2m1[code]
                  : form == WEIGHT_S8 ? (float)(int8_t)code
                                      : (float)((int)code + weight_form_offset(form));
    return scale * value + minimum;
}

static float image_element(const struct weight_view *view, uint32_t output, uint32_t c)
{
    const struct weight_part *part = view->parts;
    while (output >= part->first_output + part->n_outputs)
        part++;
    uint32_t own = output - part->first_output, o = own % 16;
    const uint8_t *band = part->data + own / 16 * part->band_bytes;
    size_t at = (size_t)o * part->stride + c;
    if (part->form == WEIGHT_F32)
        return bits_to_f32(load_u32(band + 4 * at));
    if (weight_form_is_rows(part->form))
        return part->form == WEIGHT_F16 ? load_f16(band + 2 * at)
                                        : bf16_to_f32(load_u16(band + 2 * at));
    const uint8_t *cell = band + weight_band_units_bytes(part->form) +
                          (size_t)(c / 64) * weight_cell_bytes(part->form);
    float value = cell_element(part->form, cell, o, c % 64);
    if (part->form != WEIGHT_F8)
        return value * bits_to_f32(load_u32(band + (size_t)4 * o));
    uint32_t column = (uint32_t)((uint64_t)(c / 32) * part->scale_inverse >> 31);
    assert_int_equal(column, c / 32 / part->scale_groups);
    return value * part->scales[(size_t)(own / part->scale_outputs) * part->scale_stride + column];
}

/* Scales that are products of two are rounded to f16, 2^-11 of each of the two terms at most; all else is exact. */
static double element_tolerance(enum tensor_type type, double row_max)
{
    if (type == TENSOR_Q4_K || type == TENSOR_Q5_K)
        return 4 * row_max * 0x1p-11;
    return type == TENSOR_Q6_K ? row_max * 0x1p-11 : row_max * 0x1p-22;
}

static void check_image(const struct tensor_source *sources, uint32_t count, bool is_gated)
{
    struct image image = image_create(sources, count, is_gated);
    struct weight_view view = weight_layout_view(&image.layout, image.bytes);
    uint32_t n_cols = sources[0].n_cols, first = 0;
    float *row = malloc(n_cols * sizeof *row);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t o = 0; o < sources[i].n_outputs; o++) {
            tensor_dequantise(&sources[i], o, 0, n_cols, row);
            double row_max = 0;
            for (uint32_t c = 0; c < n_cols; c++)
                row_max = fmax(row_max, fabs((double)row[c]));
            for (uint32_t c = 0; c < n_cols; c++) {
                double actual = (double)image_element(&view, first + o, c);
                if (fabs(actual - (double)row[c]) > element_tolerance(sources[i].type, row_max))
                    fail_msg("%s, output %u, column %u: %g, not %g",
                             tensor_type_name(sources[i].type), o, c, actual, (double)row[c]);
            }
        }
        first += sources[i].n_outputs;
    }
    assert_int_equal(view.n_outputs, first);
    free(row);
    free(image.bytes);
}

static uint32_t block_cols(enum tensor_type type)
{
    uint32_t elements, bytes;
    assert_true(tensor_type_block(type, &elements, &bytes));
    return elements;
}

static void an_image_holds_every_element_of_every_type(void **state)
{
    (void)state;
    uint64_t seed = 1;
    static const uint32_t outputs[] = {1, 8, 15, 16, 17, 37};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        for (uint32_t k = 0; k < ARRAY_COUNT(outputs); k++) {
            uint32_t n_cols = block_cols(types[i]) * (1 + 2 * k);
            struct tensor_source source = random_tensor(types[i], outputs[k], n_cols, &seed);
            check_image(&source, 1, false);
            tensor_free(&source);
        }
}

static void stacked_sources_of_one_form_are_one_part(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct tensor_source sources[] = {
        random_tensor(TENSOR_Q4_K, 19, 512, &seed), random_tensor(TENSOR_Q4_1, 3, 512, &seed),
        random_tensor(TENSOR_Q6_K, 5, 512, &seed), random_tensor(TENSOR_F8_E4M3, 26, 512, &seed),
        random_tensor(TENSOR_F8_E4M3, 2, 512, &seed)};
    check_image(sources, 5, false);
    struct weight_layout layout;
    assert_int_equal(weight_layout_plan(sources, 5, false, &layout), STATUS_OK);
    assert_int_equal(layout.part_count, 4);
    assert_int_equal(layout.parts[0].part.n_outputs, 22);
    assert_int_equal(layout.parts[3].part.first_output, 53);
    for (uint32_t i = 0; i < 5; i++)
        tensor_free(&sources[i]);
}

static void a_gated_weight_keeps_its_two_halves_apart(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct tensor_source pair[] = {random_tensor(TENSOR_Q4_0, 21, 96, &seed),
                                   random_tensor(TENSOR_Q4_0, 21, 96, &seed)};
    check_image(pair, 2, true);
    struct weight_layout layout;
    assert_int_equal(weight_layout_plan(pair, 2, true, &layout), STATUS_OK);
    struct weight_view view = weight_layout_view(&layout, NULL);
    assert_true(weight_view_is_joined(&view));
    pair[1].type = TENSOR_F32;
    assert_int_equal(weight_layout_plan(pair, 2, true, &layout), STATUS_OK);
    view = weight_layout_view(&layout, NULL);
    assert_false(weight_view_is_joined(&view));
    assert_true(weight_view_reads(&view).codes && weight_view_reads(&view).f32);
    assert_false(weight_view_reads(&view).bf16 || weight_view_reads(&view).f16);
    pair[1].type = TENSOR_Q4_0;
    tensor_free(&pair[0]);
    tensor_free(&pair[1]);
}

/* Scales near both ends of what a block can hold: f16's subnormals, and all of E8M0. */
static void scales_of_any_magnitude_survive(void **state)
{
    (void)state;
    uint64_t seed = 4;
    static const uint8_t exponents[] = {1, 20, 127, 200, 250};
    for (size_t i = 0; i < ARRAY_COUNT(exponents); i++) {
        struct tensor_source source = random_tensor(TENSOR_MXFP4, 16, 64, &seed);
        uint8_t *data = (uint8_t *)(uintptr_t)source.data;
        for (uint32_t b = 0; b < 32; b++)
            data[17 * b] = (uint8_t)(exponents[i] + b % 4);
        check_image(&source, 1, false);
        tensor_free(&source);
    }
    static const uint16_t halves[] = {0, 0x0001, 0x0203, 0x8007, 0x7bff, 0xfbff};
    for (size_t i = 0; i < ARRAY_COUNT(halves); i++) {
        struct tensor_source source = random_tensor(TENSOR_Q8_0, 3, 32, &seed);
        uint8_t *data = (uint8_t *)(uintptr_t)source.data;
        for (uint32_t b = 0; b < 3; b++)
            memcpy(data + (size_t)34 * b, &halves[i], 2);
        check_image(&source, 1, false);
        tensor_free(&source);
    }
}

/* image_create checks that the pieces make the whole. */
static void a_large_weight_goes_in_pieces(void **state)
{
    (void)state;
    uint64_t seed = 5;
    struct tensor_source source = random_tensor(TENSOR_F32, 3000, 1024, &seed);
    struct weight_layout layout;
    assert_int_equal(weight_layout_plan(&source, 1, false, &layout), STATUS_OK);
    assert_true(layout.piece_count > 2 && layout.piece_bytes_max <= WEIGHT_PIECE_BYTES);
    check_image(&source, 1, false);
    tensor_free(&source);
}

static void bad_sources_are_refused(void **state)
{
    (void)state;
    struct tensor_source sources[WEIGHT_PART_MAX + 1];
    for (uint32_t i = 0; i <= WEIGHT_PART_MAX; i++)
        sources[i] = (struct tensor_source){.type = TENSOR_F16, .n_outputs = 1, .n_cols = 1u << 20};
    struct weight_layout layout;
    assert_int_equal(weight_layout_plan(sources, WEIGHT_PART_MAX, false, &layout), STATUS_OK);
    assert_int_equal(weight_layout_plan(sources, WEIGHT_PART_MAX + 1, false, &layout),
                     STATUS_INVALID);
    assert_int_equal(weight_layout_plan(sources, 0, false, &layout), STATUS_INVALID);
    assert_int_equal(weight_layout_plan(sources, 3, true, &layout), STATUS_INVALID);
    sources[1].n_outputs = 2;
    assert_int_equal(weight_layout_plan(sources, 2, true, &layout), STATUS_INVALID);
    sources[1].n_cols = 5;
    assert_int_equal(weight_layout_plan(sources, 2, false, &layout), STATUS_INVALID);
    sources[0].n_cols = (1u << 20) + 1;
    assert_int_equal(weight_layout_plan(sources, 1, false, &layout), STATUS_UNSUPPORTED);
    sources[0] = (struct tensor_source){.type = TENSOR_Q4_0, .n_outputs = 1, .n_cols = 40};
    assert_int_equal(weight_layout_plan(sources, 1, false, &layout), STATUS_INVALID);
    sources[0] = (struct tensor_source){.type = (enum tensor_type)5, .n_outputs = 1, .n_cols = 32};
    assert_int_equal(weight_layout_plan(sources, 1, false, &layout), STATUS_INVALID);
    sources[0] = (struct tensor_source){
        .type = TENSOR_F8_E4M3, .n_outputs = 1, .n_cols = 96, .scale_outputs = 1, .scale_cols = 40};
    assert_int_equal(weight_layout_plan(sources, 1, false, &layout), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_holds_every_element_of_every_type),
        cmocka_unit_test(stacked_sources_of_one_form_are_one_part),
        cmocka_unit_test(a_gated_weight_keeps_its_two_halves_apart),
        cmocka_unit_test(scales_of_any_magnitude_survive),
        cmocka_unit_test(a_large_weight_goes_in_pieces),
        cmocka_unit_test(bad_sources_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
