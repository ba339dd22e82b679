/* Tensor-core products of every form against the definition of the file's formats and sums in double: of shapes that fit
 * nothing, of any number of rows, and each row's bits the same whatever is beside it. */
#include "tile_product.h"

#include "tile_testing.h"

static struct device_rig rig;

static const uint32_t row_counts[] = {1, 8, 9, 15, 16, 17, 31, 33, 64, 65, 257};

static void *workspace_of(const struct weight_view *w, uint32_t n_rows)
{
    uint64_t bytes = tile_workspace_bytes(w, n_rows);
    return bytes > 0 ? device_rig_room(&rig, bytes) : NULL;
}

/* bias and first: host, or NULL. */
static float *run_product(const struct weight_view *w, const struct activation_view *a,
                          uint32_t n_rows, const float *bias, const float *first)
{
    size_t bytes = (size_t)n_rows * w->n_outputs * sizeof(float);
    struct tile_product_args args = {
        .w = *w,
        .a = *a,
        .n_rows = n_rows,
        .bias = bias != NULL ? device_rig_put(&rig, bias, w->n_outputs * sizeof(float)) : NULL,
        .accumulate = first != NULL,
        .y = first != NULL ? device_rig_put(&rig, first, bytes) : device_rig_room(&rig, bytes),
        .workspace = workspace_of(w, n_rows)};
    tile_product_launch(rig.stream, &args);
    float *y = malloc(bytes);
    device_rig_get(&rig, y, args.y, bytes);
    return y;
}

static void check_value(float value, struct expected e, const char *what, uint32_t output,
                        uint32_t row, uint32_t n_rows)
{
    if (!(fabs((double)value - e.value) <= e.tolerance + 2e-7 * fabs(e.value) + 4e-7))
        fail_msg("%s, output %u, row %u of %u: %g, not %g (within %g)", what, output, row, n_rows,
                 (double)value, e.value, e.tolerance);
}

/* --- one weight, all numbers of rows --- */

/* The rows of `y` are, bit for bit, the first of those of all rows. */
static void check_same_rows(const float *y, const float *all, uint32_t n_rows, uint32_t n_outputs,
                            enum tensor_type type)
{
    if (memcmp(y, all, (size_t)n_rows * n_outputs * sizeof(float)) != 0)
        fail_msg("%s: %u rows are not what they are among more", tensor_type_name(type), n_rows);
}

/* The largest product is compared with what it should be, all smaller ones with it. */
static void check_all_row_counts(struct tensor_source *source, uint64_t *seed)
{
    enum { MOST = 257 };
    struct weight_view w = weight_put(&rig, source, 1, false);
    assert_true(tile_product_takes(&w));
    struct host_rows rows = host_rows_create(MOST, w.n_cols, seed);
    struct activation_view a = tile_rows_put(&rig, &rows, 0, MOST);
    float *all = run_product(&w, &a, MOST, NULL, NULL);
    for (uint32_t r = 0; r < MOST; r += r < 64 ? 7 : 31)
        for (uint32_t o = 0; o < w.n_outputs; o++)
            check_value(all[(size_t)r * w.n_outputs + o], tile_expected(source, o, &rows, r),
                        tensor_type_name(source->type), o, r, MOST);
    for (size_t i = 0; i + 1 < ARRAY_COUNT(row_counts); i++) {
        struct activation_view few = tile_rows_put(&rig, &rows, 0, row_counts[i]);
        float *y = run_product(&w, &few, row_counts[i], NULL, NULL);
        check_same_rows(y, all, row_counts[i], w.n_outputs, source->type);
        free(y);
    }
    struct activation_view last = tile_rows_put(&rig, &rows, MOST - 1, 1);
    float *y = run_product(&w, &last, 1, NULL, NULL);
    check_same_rows(y, all + (size_t)(MOST - 1) * w.n_outputs, 1, w.n_outputs, source->type);
    free(y);
    free(all);
    host_rows_free(&rows);
    device_rig_clear(&rig);
}

static void every_type_multiplies_any_number_of_rows(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < TILE_TYPE_COUNT; i++) {
        enum tensor_type type = tile_type(i);
        struct tensor_source source = random_tensor(type, 67, tile_cols(type, 96), &seed);
        check_all_row_counts(&source, &seed);
        tensor_free(&source);
    }
}

/* --- shapes --- */

static void check_product(struct tensor_source *sources, uint32_t count, uint32_t n_rows,
                          bool is_plain, uint64_t *seed)
{
    struct weight_view w = weight_put(&rig, sources, count, false);
    struct host_rows rows = host_rows_create(n_rows, w.n_cols, seed);
    struct activation_view a = tile_rows_put(&rig, &rows, 0, n_rows);
    float *bias = random_floats(w.n_outputs, seed);
    float *first = random_floats((size_t)n_rows * w.n_outputs, seed);
    float *y = run_product(&w, &a, n_rows, is_plain ? NULL : bias, is_plain ? NULL : first);
    for (uint32_t i = 0, base = 0; i < count; base += sources[i++].n_outputs)
        for (uint32_t o = 0; o < sources[i].n_outputs; o++)
            for (uint32_t r = 0; r < n_rows; r++) {
                size_t at = (size_t)r * w.n_outputs + base + o;
                struct expected e = tile_expected(&sources[i], o, &rows, r);
                if (!is_plain)
                    e.value += (double)bias[base + o] + (double)first[at];
                check_value(y[at], e, tensor_type_name(sources[i].type), base + o, r, n_rows);
            }
    free(bias);
    free(first);
    free(y);
    host_rows_free(&rows);
    for (uint32_t i = 0; i < count; i++)
        tensor_free(&sources[i]);
    device_rig_clear(&rig);
}

static void shapes_need_not_fit_tiles(void **state)
{
    (void)state;
    static const uint32_t outputs[] = {1, 15, 16, 33, 64, 130};
    static const uint32_t columns[] = {8, 32, 64, 160, 384, 544};
    uint64_t seed = 2;
    for (size_t i = 0; i < ARRAY_COUNT(outputs); i++)
        for (size_t type = i % 3; type < TILE_TYPE_COUNT; type += 3) {
            struct tensor_source source = random_tensor(
                tile_type(type), outputs[i], tile_cols(tile_type(type), columns[i]), &seed);
            check_product(&source, 1, 3 + (uint32_t)i, i % 2 == 0, &seed);
        }
}

static void sources_of_different_types_are_stacked(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct tensor_source sources[] = {
        random_tensor(TENSOR_Q4_K, 70, 512, &seed), random_tensor(TENSOR_F16, 33, 512, &seed),
        random_tensor(TENSOR_Q6_K, 129, 512, &seed), random_tensor(TENSOR_BF16, 5, 512, &seed),
        random_tensor(TENSOR_F8_E4M3, 30, 512, &seed)};
    check_product(sources, 5, 19, false, &seed);
}

/* Few outputs and many columns: blocks share the columns of a tile. */
static void columns_are_split_over_blocks(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct tensor_source source = random_tensor(TENSOR_Q4_0, 75, 1376, &seed);
    struct weight_view w = weight_put(&rig, &source, 1, false);
    assert_true(tile_workspace_bytes(&w, 1) >= 2 * sizeof(float) * 75);
    device_rig_clear(&rig);
    check_all_row_counts(&source, &seed);
    check_product(&source, 1, 21, false, &seed);
    source = random_tensor(TENSOR_BF16, 20, 1160, &seed);
    check_product(&source, 1, 5, false, &seed);
}

/* --- gates --- */

static double gate_of(enum gate_kind kind, double g, double u)
{
    switch (kind) {
    case GATE_SILU:
        return g / (1 + exp(-g)) * u;
    case GATE_GELU_TANH:
        return 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * u;
    case GATE_GELU_ERF:
        return 0.5 * g * (1 + erf(g * 0.7071067811865476)) * u;
    case GATE_SILU_CLAMPED:
        g = fmin(g, (double)GATE_CLAMP);
        u = fmin(fmax(u, -(double)GATE_CLAMP), (double)GATE_CLAMP);
        return g / (1 + exp(-(double)GATE_ALPHA * g)) * (u + 1);
    }
    return 0;
}

/* Gates have no slope above 1.13 (GATE_SILU_CLAMPED: of its u + 1, 8). */
static struct expected gated_expected(enum gate_kind kind, struct expected g, struct expected u)
{
    double value = gate_of(kind, g.value, u.value);
    double slope = 1.13 * g.tolerance * (fabs(u.value) + u.tolerance + 1) +
                   (fabs(g.value) + g.tolerance) * u.tolerance;
    return (struct expected){value, slope + 4e-6 * fabs(value)};
}

struct gated_run {
    float *f32;
    uint16_t *bf16, *f16;
};

static struct gated_run run_gated(const struct weight_view *w, const struct activation_view *a,
                                  uint32_t n_rows, const struct gated_terms *terms,
                                  enum gate_kind gate)
{
    uint32_t width = w->n_outputs / 2;
    size_t count = (size_t)n_rows * width;
    bool is_coded = width % ACTIVATION_GROUP == 0;
    struct gated_run run = {malloc(4 * count), malloc(2 * count), malloc(2 * count)};
    struct tile_gated_args args = {.w = *w,
                                   .a = *a,
                                   .n_rows = n_rows,
                                   .terms = *terms,
                                   .gate = gate,
                                   .out = {.n_cols = width,
                                           .f32 = device_rig_room(&rig, 4 * count),
                                           .bf16 = device_rig_room(&rig, 2 * count),
                                           .f16 = device_rig_room(&rig, 2 * count)},
                                   .workspace = workspace_of(w, n_rows)};
    if (is_coded) {
        args.out.codes = device_rig_room(&rig, count);
        args.out.scales = device_rig_room(&rig, count / 32 * sizeof(float));
        args.out.sums = device_rig_room(&rig, count / 32 * sizeof(float));
    }
    tile_gated_launch(rig.stream, &args);
    device_rig_get(&rig, run.f32, args.out.f32, 4 * count);
    device_rig_get(&rig, run.bf16, args.out.bf16, 2 * count);
    device_rig_get(&rig, run.f16, args.out.f16, 2 * count);
    for (size_t i = 0; is_coded && i < count; i++) {
        int8_t code;
        float scale;
        if (i % 61 != 0)
            continue;
        device_rig_get(&rig, &code, args.out.codes + i, 1);
        device_rig_get(&rig, &scale, args.out.scales + i / 32, sizeof scale);
        assert_true(fabsf(run.f32[i] - scale * (float)code) <= 0.51f * scale);
    }
    return run;
}

static void gated_run_free(struct gated_run *run)
{
    free(run->f32);
    free(run->bf16);
    free(run->f16);
}

static void check_gated(struct tensor_source sources[2], uint32_t n_rows, enum gate_kind gate,
                        bool has_terms, uint64_t *seed)
{
    struct weight_view w = weight_put(&rig, sources, 2, true);
    uint32_t width = sources[0].n_outputs;
    struct host_rows rows = host_rows_create(n_rows, w.n_cols, seed);
    struct activation_view a = tile_rows_put(&rig, &rows, 0, n_rows);
    float *bias = random_floats(2 * (size_t)width, seed);
    float *more = random_floats((size_t)n_rows * 2 * width, seed);
    struct gated_terms terms = {NULL, NULL};
    if (has_terms) {
        terms.bias = device_rig_put(&rig, bias, 2 * width * sizeof(float));
        terms.rows = device_rig_put(&rig, more, (size_t)n_rows * 2 * width * sizeof(float));
    }
    struct gated_run run = run_gated(&w, &a, n_rows, &terms, gate);
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t o = 0; o < width; o++) {
            struct expected both[2];
            for (uint32_t i = 0; i < 2; i++) {
                both[i] = tile_expected(&sources[i], o, &rows, r);
                if (has_terms)
                    both[i].value +=
                        (double)bias[i * width + o] + (double)more[((size_t)2 * r + i) * width + o];
            }
            size_t at = (size_t)r * width + o;
            check_value(run.f32[at], gated_expected(gate, both[0], both[1]),
                        tensor_type_name(sources[0].type), o, r, n_rows);
            assert_int_equal(run.bf16[at], bf16_of(run.f32[at]));
            assert_int_equal(run.f16[at], f32_to_f16(run.f32[at]));
        }
    gated_run_free(&run);
    free(bias);
    free(more);
    host_rows_free(&rows);
    tensor_free(&sources[0]);
    tensor_free(&sources[1]);
    device_rig_clear(&rig);
}

static void gates_join_the_halves_of_every_type(void **state)
{
    (void)state;
    static const uint32_t widths[] = {32, 41, 96};
    uint64_t seed = 5;
    for (uint32_t i = 0; i < TILE_TYPE_COUNT; i++) {
        enum tensor_type type = tile_type(i);
        struct tensor_source sources[2];
        for (uint32_t k = 0; k < 2; k++)
            sources[k] = random_tensor(type, widths[i % 3], tile_cols(type, 160), &seed);
        check_gated(sources, 5 + 4 * i, (enum gate_kind)(i % 4), i % 2 == 0, &seed);
    }
}

static void halves_may_differ_in_type_and_be_split_over_blocks(void **state)
{
    (void)state;
    uint64_t seed = 6;
    struct tensor_source sources[2] = {random_tensor(TENSOR_Q4_K, 40, 1024, &seed),
                                       random_tensor(TENSOR_BF16, 40, 1024, &seed)};
    check_gated(sources, 18, GATE_GELU_TANH, true, &seed);
}

/* For terms that come between: the two halves' products beside each other. */
static void products_of_a_gated_weight_are_its_halves(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct tensor_source sources[2] = {random_tensor(TENSOR_Q8_0, 65, 1056, &seed),
                                       random_tensor(TENSOR_F16, 65, 1056, &seed)};
    struct weight_view w = weight_put(&rig, sources, 2, true);
    struct host_rows rows = host_rows_create(9, w.n_cols, &seed);
    struct activation_view a = tile_rows_put(&rig, &rows, 0, 9);
    float *y = run_product(&w, &a, 9, NULL, NULL);
    for (uint32_t r = 0; r < 9; r++)
        for (uint32_t o = 0; o < 130; o++)
            check_value(y[130 * r + o], tile_expected(&sources[o / 65], o % 65, &rows, r),
                        tensor_type_name(sources[o / 65].type), o, r, 9);
    free(y);
    host_rows_free(&rows);
    tensor_free(&sources[0]);
    tensor_free(&sources[1]);
    device_rig_clear(&rig);
}

static void f32_and_odd_columns_are_left_to_others(void **state)
{
    (void)state;
    struct weight_view w = {.n_outputs = 32, .n_cols = 64, .part_count = 2};
    w.parts[0].form = WEIGHT_U4;
    w.parts[1].form = WEIGHT_F32;
    assert_false(tile_product_takes(&w));
    w.parts[1].form = WEIGHT_F16;
    assert_true(tile_product_takes(&w));
    w.n_cols = 60;
    assert_false(tile_product_takes(&w));
    w.n_cols = 64;
    assert_false(tile_gated_takes(&w));
    w.is_gated = true;
    assert_false(tile_gated_takes(&w)); /* its halves read different forms */
    w.parts[1].form = WEIGHT_BF16;
    assert_true(tile_gated_takes(&w));
}

static int open_device(void **state)
{
    (void)state;
    device_rig_open(&rig);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    device_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_multiplies_any_number_of_rows),
        cmocka_unit_test(shapes_need_not_fit_tiles),
        cmocka_unit_test(sources_of_different_types_are_stacked),
        cmocka_unit_test(columns_are_split_over_blocks),
        cmocka_unit_test(gates_join_the_halves_of_every_type),
        cmocka_unit_test(halves_may_differ_in_type_and_be_split_over_blocks),
        cmocka_unit_test(products_of_a_gated_weight_are_its_halves),
        cmocka_unit_test(f32_and_odd_columns_are_left_to_others),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
