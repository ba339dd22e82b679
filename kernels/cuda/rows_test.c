#include "rows.h"

#include <math.h>
#include <stdlib.h>

#include "backend.h"
#include "device_testing.h"
#include "encoder.h"
#include "half.h"
#include "reference/reference_private.h"

/* Norms, caps and activations against the reference backend, at widths that no tile divides. Every form of an activation is
 * asked for at once: the f32 one is compared with the reference, the others with the f32 one. */

#define ROWS_MAX 5u
#define D_MAX    5152u

struct rig {
    struct device_rig device;
    backend *reference;
    float x[ROWS_MAX * D_MAX], y[ROWS_MAX * D_MAX], gain[D_MAX], bias[D_MAX];
    float expected[ROWS_MAX * D_MAX], actual[ROWS_MAX * D_MAX];
};

static const uint32_t widths[] = {1, 3, 4, 31, 32, 33, 64, 100, 576, 1023, 1028, 2048, 4128, 5152};
#define WIDTH_COUNT (sizeof widths / sizeof widths[0])

static void fill(float *values, uint32_t count, uint64_t seed, float scale)
{
    for (uint32_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        values[i] = scale * ((float)((seed >> 40) & 0xffff) / 32768.0f - 1.0f);
    }
}

static void rig_fill(struct rig *rig, uint32_t d)
{
    fill(rig->x, ROWS_MAX * d, d + 1, 8.0f);
    fill(rig->y, ROWS_MAX * d, d + 2, 3.0f);
    fill(rig->gain, d, d + 3, 2.0f);
    fill(rig->bias, d, d + 4, 1.0f);
    for (uint32_t c = 0; c < d && c < 32; c++)
        rig->x[d + c] = 0.0f; /* a group of zeros */
}

static float *put_floats(struct rig *rig, const float *values, uint32_t count)
{
    return device_rig_put(&rig->device, values, count * sizeof *values);
}

static void assert_near(const float *actual, const float *expected, uint32_t count,
                        double tolerance)
{
    for (uint32_t i = 0; i < count; i++)
        if (!(fabs((double)actual[i] - (double)expected[i]) <=
              tolerance * (1.0 + fabs((double)expected[i]))))
            fail_msg("element %u of %u is %.9g, not %.9g", i, count, (double)actual[i],
                     (double)expected[i]);
}

/* --- forms of an activation --- */

static struct activation_view view_create(struct rig *rig, uint32_t n_rows, uint32_t n_cols)
{
    uint32_t count = n_rows * n_cols, groups = count / ACTIVATION_GROUP;
    struct activation_view view = {.n_cols = n_cols,
                                   .bf16 = device_rig_room(&rig->device, count * sizeof(uint16_t)),
                                   .f16 = device_rig_room(&rig->device, count * sizeof(uint16_t)),
                                   .f32 = device_rig_room(&rig->device, count * sizeof(float))};
    if (n_cols % ACTIVATION_GROUP == 0) {
        view.codes = device_rig_room(&rig->device, count);
        view.scales = device_rig_room(&rig->device, groups * sizeof(float));
        view.sums = device_rig_room(&rig->device, groups * sizeof(float));
    }
    return view;
}

static uint16_t bf16_of(float value)
{
    uint32_t bits = f32_to_bits(value);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void assert_halves(struct rig *rig, const struct activation_view *view, uint32_t count)
{
    uint16_t *halves = malloc(count * sizeof *halves);
    assert_non_null(halves);
    device_rig_get(&rig->device, halves, view->bf16, count * sizeof *halves);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(halves[i], bf16_of(rig->actual[i]));
    device_rig_get(&rig->device, halves, view->f16, count * sizeof *halves);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(halves[i], f32_to_f16(fminf(fmaxf(rig->actual[i], -65504.0f), 65504.0f)));
    free(halves);
}

static void assert_codes(struct rig *rig, const struct activation_view *view, uint32_t count)
{
    uint32_t groups = count / ACTIVATION_GROUP;
    int8_t *codes = malloc(count);
    float *scales = malloc(groups * sizeof *scales), *sums = malloc(groups * sizeof *sums);
    assert_true(codes != NULL && scales != NULL && sums != NULL);
    device_rig_get(&rig->device, codes, view->codes, count);
    device_rig_get(&rig->device, scales, view->scales, groups * sizeof *scales);
    device_rig_get(&rig->device, sums, view->sums, groups * sizeof *sums);
    for (uint32_t g = 0; g < groups; g++) {
        const float *group = rig->actual + g * ACTIVATION_GROUP;
        float magnitude = 0.0f;
        int sum = 0;
        for (uint32_t c = 0; c < ACTIVATION_GROUP; c++)
            magnitude = fmaxf(magnitude, fabsf(group[c]));
        assert_float_equal(scales[g], magnitude / 127.0f, magnitude * 1e-7f);
        for (uint32_t c = 0; c < ACTIVATION_GROUP; c++) {
            int code = codes[g * ACTIVATION_GROUP + c];
            sum += code;
            /* half a code, and a little for a product that lands on one */
            assert_true(fabsf(group[c] - scales[g] * (float)code) <= 0.5001f * scales[g]);
        }
        assert_float_equal(sums[g], scales[g] * (float)sum, magnitude * 1e-5f);
    }
    free(codes);
    free(scales);
    free(sums);
}

/* rig->expected says what all forms are to say. */
static void assert_view(struct rig *rig, const struct activation_view *view, uint32_t n_rows,
                        double tolerance)
{
    uint32_t count = n_rows * view->n_cols;
    device_rig_get(&rig->device, rig->actual, view->f32, count * sizeof(float));
    assert_near(rig->actual, rig->expected, count, tolerance);
    assert_halves(rig, view, count);
    if (view->codes != NULL)
        assert_codes(rig, view, count);
}

static struct activation expected_view(struct rig *rig, uint32_t n_cols)
{
    return (struct activation){n_cols, ROWS_MAX, rig->expected};
}

/* --- the operations --- */

static void rms_norm_takes_the_rows_it_is_told(void **state)
{
    struct rig *rig = *state;
    static const uint32_t rows[] = {4, 1, 1};
    for (size_t w = 0; w < WIDTH_COUNT; w++) {
        uint32_t d = widths[w];
        rig_fill(rig, d);
        rig->gain[0] = 1e6f; /* to what f16 does not have */
        for (int has_rows = 0; has_rows < 2; has_rows++) {
            uint32_t n_rows = has_rows ? 3 : ROWS_MAX;
            struct rms_norm_args args = {
                .x = put_floats(rig, rig->x, ROWS_MAX * d),
                .gain = put_floats(rig, rig->gain, d),
                .rows = has_rows ? device_rig_put(&rig->device, rows, sizeof rows) : NULL,
                .n_rows = n_rows,
                .d = d,
                .epsilon = 1e-5f,
                .out = view_create(rig, n_rows, d)};
            rms_norm_launch(rig->device.stream, &args);
            struct activation out = expected_view(rig, d);
            rig->reference->operations->rms_norm(rig->reference, rig->x, rig->gain, 1e-5f,
                                                 has_rows ? rows : NULL, n_rows, d, &out);
            assert_view(rig, &args.out, n_rows, 2e-6);
            device_rig_clear(&rig->device);
        }
    }
}

static void a_rows_norm_is_the_same_alone_and_among_others(void **state)
{
    struct rig *rig = *state;
    const uint32_t d = 1028;
    static float alone[D_MAX];
    rig_fill(rig, d);
    struct rms_norm_args args = {.x = put_floats(rig, rig->x, ROWS_MAX * d),
                                 .gain = put_floats(rig, rig->gain, d),
                                 .n_rows = ROWS_MAX,
                                 .d = d,
                                 .epsilon = 1e-6f,
                                 .out = {.n_cols = d}};
    args.out.f32 = device_rig_room(&rig->device, ROWS_MAX * d * sizeof(float));
    rms_norm_launch(rig->device.stream, &args);
    device_rig_get(&rig->device, rig->actual, args.out.f32, ROWS_MAX * d * sizeof(float));
    args.x += 3 * d;
    args.n_rows = 1;
    args.out.f32 = device_rig_room(&rig->device, d * sizeof(float));
    rms_norm_launch(rig->device.stream, &args);
    device_rig_get(&rig->device, alone, args.out.f32, d * sizeof(float));
    assert_memory_equal(alone, rig->actual + 3 * d, d * sizeof(float));
    device_rig_clear(&rig->device);
}

static void rms_norm_add_adds_the_normed_row(void **state)
{
    struct rig *rig = *state;
    for (size_t w = 0; w < WIDTH_COUNT; w++) {
        uint32_t d = widths[w], count = ROWS_MAX * d;
        rig_fill(rig, d);
        struct rms_norm_add_args args = {.y = put_floats(rig, rig->y, count),
                                         .gain = put_floats(rig, rig->gain, d),
                                         .x = put_floats(rig, rig->x, count),
                                         .n_rows = ROWS_MAX,
                                         .d = d,
                                         .epsilon = 1e-5f};
        rms_norm_add_launch(rig->device.stream, &args);
        device_rig_get(&rig->device, rig->actual, args.x, count * sizeof(float));
        rig->reference->operations->rms_norm_add(rig->reference, rig->y, rig->gain, 1e-5f, ROWS_MAX,
                                                 d, rig->x);
        assert_near(rig->actual, rig->x, count, 2e-6);
        device_rig_clear(&rig->device);
    }
}

static void a_cap_reaches_the_last_element(void **state)
{
    struct rig *rig = *state;
    for (size_t w = 0; w < WIDTH_COUNT; w++) {
        uint32_t count = ROWS_MAX * widths[w];
        rig_fill(rig, widths[w]);
        float *x = put_floats(rig, rig->x, count);
        soft_cap_launch(rig->device.stream, x, count, 5.0f);
        device_rig_get(&rig->device, rig->actual, x, count * sizeof(float));
        rig->reference->operations->soft_cap(rig->reference, rig->x, count, 5.0f);
        assert_near(rig->actual, rig->x, count, 1e-6);
        device_rig_clear(&rig->device);
    }
}

static void layer_norm_changes_the_rows_and_stores_them(void **state)
{
    struct rig *rig = *state;
    for (size_t w = 0; w < WIDTH_COUNT; w++) {
        uint32_t d = widths[w], count = ROWS_MAX * d;
        rig_fill(rig, d);
        for (uint32_t i = 0; i < count; i++)
            rig->x[i] += 100.0f; /* a mean far from zero */
        struct layer_norm_args args = {.x = put_floats(rig, rig->x, count),
                                       .gain = put_floats(rig, rig->gain, d),
                                       .bias = put_floats(rig, rig->bias, d),
                                       .n_rows = ROWS_MAX,
                                       .d = d,
                                       .epsilon = 1e-5f,
                                       .out = view_create(rig, ROWS_MAX, d)};
        layer_norm_launch(rig->device.stream, &args);
        struct activation out = expected_view(rig, d);
        rig->reference->operations->layer_norm(rig->reference, rig->x, rig->gain, rig->bias, 1e-5f,
                                               ROWS_MAX, d, &out);
        assert_view(rig, &args.out, ROWS_MAX, d > 1 ? 1e-4 : 1e-2);
        device_rig_get(&rig->device, rig->x, args.x, count * sizeof(float));
        assert_memory_equal(rig->x, rig->actual, count * sizeof(float));
        device_rig_clear(&rig->device);
    }
}

static void activations_are_the_references(void **state)
{
    struct rig *rig = *state;
    static const enum gate_kind kinds[] = {GATE_SILU, GATE_GELU_TANH, GATE_GELU_ERF};
    for (size_t w = 0; w < WIDTH_COUNT; w++) {
        uint32_t d = widths[w];
        rig_fill(rig, d);
        for (size_t k = 0; k < 3; k++) {
            struct activate_args args = {.y = put_floats(rig, rig->x, ROWS_MAX * d),
                                         .n_rows = ROWS_MAX,
                                         .kind = kinds[k],
                                         .out = view_create(rig, ROWS_MAX, d)};
            activate_launch(rig->device.stream, &args);
            struct activation out = expected_view(rig, d);
            rig->reference->operations->activate(rig->reference, rig->x, ROWS_MAX, kinds[k], &out);
            assert_view(rig, &args.out, ROWS_MAX, 2e-6);
            device_rig_clear(&rig->device);
        }
    }
}

static int open_rig(void **state)
{
    struct rig *rig = malloc(sizeof *rig);
    assert_non_null(rig);
    device_rig_open(&rig->device);
    struct backend_options options = {.path = BACKEND_REFERENCE, .threads = 1};
    struct error_note note;
    assert_int_equal(backend_open(&options, &rig->reference, &note), STATUS_OK);
    *state = rig;
    return 0;
}

static int close_rig(void **state)
{
    struct rig *rig = *state;
    backend_close(rig->reference);
    device_rig_close(&rig->device);
    free(rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_takes_the_rows_it_is_told),
        cmocka_unit_test(a_rows_norm_is_the_same_alone_and_among_others),
        cmocka_unit_test(rms_norm_add_adds_the_normed_row),
        cmocka_unit_test(a_cap_reaches_the_last_element),
        cmocka_unit_test(layer_norm_changes_the_rows_and_stores_them),
        cmocka_unit_test(activations_are_the_references),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
