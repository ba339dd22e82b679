/* Gate and up in one kernel, and joined from products that are there already. */
#include "product_testing.h"
#include "reference/reference_private.h"

static struct device_rig rig;

struct gated_case {
    enum tensor_type type;
    enum gate_kind gate;
    uint32_t n_outputs, n_cols, n_rows; /* n_outputs of one half */
    bool has_bias, has_rows, wants_codes;
};

/* Everything of one case on the host. */
struct gated_run {
    struct tensor_source pair[2];
    struct weight_view w;
    struct host_rows x;
    float *bias, *rows; /* of the terms */
    struct gated_terms terms;
    struct activation_view out; /* device */
};

static struct gated_run run_create(const struct gated_case *c, uint64_t *seed)
{
    struct gated_run run = {.pair = {random_tensor(c->type, c->n_outputs, c->n_cols, seed),
                                     random_tensor(c->type, c->n_outputs, c->n_cols, seed)}};
    size_t width = 2 * (size_t)c->n_outputs, count = (size_t)c->n_rows * c->n_outputs;
    run.w = weight_put(&rig, run.pair, 2, true);
    run.x = host_rows_create(c->n_rows, c->n_cols, seed);
    run.bias = random_floats(width, seed);
    run.rows = random_floats(c->n_rows * width, seed);
    if (c->has_bias)
        run.terms.bias = device_rig_put(&rig, run.bias, width * sizeof(float));
    if (c->has_rows)
        run.terms.rows = device_rig_put(&rig, run.rows, c->n_rows * width * sizeof(float));
    run.out = (struct activation_view){.n_cols = c->n_outputs,
                                       .f32 = device_rig_room(&rig, count * sizeof(float)),
                                       .bf16 = device_rig_room(&rig, count * sizeof(uint16_t))};
    if (c->wants_codes) {
        run.out.codes = device_rig_room(&rig, count);
        run.out.scales = device_rig_room(&rig, count / 32 * sizeof(float));
        run.out.sums = device_rig_room(&rig, count / 32 * sizeof(float));
    }
    return run;
}

static void run_free(struct gated_run *run)
{
    tensor_free(&run->pair[0]);
    tensor_free(&run->pair[1]);
    host_rows_free(&run->x);
    free(run->bias);
    free(run->rows);
    device_rig_clear(&rig);
}

static struct expected half_expected(const struct gated_case *c, const struct gated_run *run,
                                     uint32_t half, uint32_t o, uint32_t r)
{
    struct expected e = product_expected(&run->pair[half], o, &run->x, r);
    uint32_t at = half * c->n_outputs + o;
    if (c->has_bias)
        e.value += (double)run->bias[at];
    if (c->has_rows)
        e.value += (double)run->rows[(size_t)r * 2 * c->n_outputs + at];
    e.tolerance += 3e-7 * (1 + fabs(e.value));
    return e;
}

/* No gate is steeper than 1.2 in its first factor's function, of which each result is the product with the second. */
static struct expected gated_expected(const struct gated_case *c, const struct gated_run *run,
                                      uint32_t o, uint32_t r)
{
    struct expected g = half_expected(c, run, 0, o, r), u = half_expected(c, run, 1, o, r);
    double value = reference_gate_value(c->gate, g.value, u.value);
    double tolerance = 1.2 * g.tolerance * (fabs(u.value) + 1) +
                       (fabs(g.value) + g.tolerance) * u.tolerance + 2e-6 * fabs(value) + 1e-9;
    return (struct expected){value, tolerance};
}

/* Codes and sums of the results that are there as f32. */
static void check_codes(const struct gated_case *c, const struct gated_run *run, const float *f32)
{
    size_t count = (size_t)c->n_rows * c->n_outputs;
    int8_t *codes = malloc(count);
    float *scales = malloc(count / 32 * sizeof *scales), *sums = malloc(count / 32 * sizeof *sums);
    device_rig_get(&rig, codes, run->out.codes, count);
    device_rig_get(&rig, scales, run->out.scales, count / 32 * sizeof *scales);
    device_rig_get(&rig, sums, run->out.sums, count / 32 * sizeof *sums);
    for (size_t group = 0; group < count / 32; group++) {
        int sum = 0;
        for (size_t i = 32 * group; i < 32 * group + 32; i++) {
            assert_true(fabsf(scales[group] * (float)codes[i] - f32[i]) <= scales[group] * 0.501f);
            sum += codes[i];
        }
        assert_float_equal(sums[group], scales[group] * (float)sum, 1e-6f);
    }
    free(codes);
    free(scales);
    free(sums);
}

static void check_results(const struct gated_case *c, const struct gated_run *run)
{
    size_t count = (size_t)c->n_rows * c->n_outputs;
    float *f32 = malloc(count * sizeof *f32);
    uint16_t *bf16 = malloc(count * sizeof *bf16);
    device_rig_get(&rig, f32, run->out.f32, count * sizeof *f32);
    device_rig_get(&rig, bf16, run->out.bf16, count * sizeof *bf16);
    for (uint32_t r = 0; r < c->n_rows; r++)
        for (uint32_t o = 0; o < c->n_outputs; o++) {
            size_t at = (size_t)r * c->n_outputs + o;
            struct expected e = gated_expected(c, run, o, r);
            if (!(fabs((double)f32[at] - e.value) <= e.tolerance))
                fail_msg("%s, gate %d, output %u, row %u: %g, not %g (within %g)",
                         tensor_type_name(c->type), (int)c->gate, o, r, (double)f32[at], e.value,
                         e.tolerance);
            assert_int_equal(bf16[at], bf16_of(f32[at]));
        }
    if (c->wants_codes)
        check_codes(c, run, f32);
    free(f32);
    free(bf16);
}

static void check_joined(const struct gated_case *c, uint64_t *seed)
{
    struct gated_run run = run_create(c, seed);
    struct product_gated_args args = {
        .w = run.w,
        .a = host_rows_put(&rig, &run.x, 0, c->n_rows, weight_view_reads(&run.w)),
        .n_rows = c->n_rows,
        .terms = run.terms,
        .gate = c->gate,
        .out = run.out};
    assert_true(weight_view_is_joined(&run.w));
    product_gated_few_launch(rig.stream, &args);
    check_results(c, &run);
    run_free(&run);
}

static void gate_and_up_of_every_type_are_joined(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (uint32_t i = 0; i < ARRAY_COUNT(product_types); i++) {
        uint32_t least = product_least_cols(product_types[i]);
        struct gated_case c = {.type = product_types[i],
                               .gate = (enum gate_kind)(i % 4),
                               .n_outputs = i % 2 == 0 ? 96 : 32,
                               .n_cols = least == 256 ? 512 : 160,
                               .n_rows = 1 + i % 8,
                               .has_bias = i % 3 == 0,
                               .has_rows = i % 5 == 0,
                               .wants_codes = true};
        check_joined(&c, &seed);
    }
}

static void every_gate_has_its_function_and_terms(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (uint32_t gate = 0; gate < 4; gate++)
        for (uint32_t terms = 0; terms < 4; terms++) {
            struct gated_case c = {.type = TENSOR_BF16,
                                   .gate = (enum gate_kind)gate,
                                   .n_outputs = 40, /* no whole group: no codes */
                                   .n_cols = 64,
                                   .n_rows = 9,
                                   .has_bias = (terms & 1) != 0,
                                   .has_rows = (terms & 2) != 0};
            check_joined(&c, &seed);
        }
}

/* Halves of different types are multiplied one by one and joined after. */
static void products_that_are_there_are_joined(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (uint32_t i = 0; i < 4; i++) {
        struct gated_case c = {.type = i % 2 == 0 ? TENSOR_Q4_0 : TENSOR_F16,
                               .gate = (enum gate_kind)i,
                               .n_outputs = i < 2 ? 288 : 32,
                               .n_cols = 96,
                               .n_rows = 3,
                               .has_bias = i != 1,
                               .has_rows = i != 2,
                               .wants_codes = true};
        struct gated_run run = run_create(&c, &seed);
        struct product_args product = {
            .w = run.w,
            .a = host_rows_put(&rig, &run.x, 0, c.n_rows, weight_view_reads(&run.w)),
            .n_rows = c.n_rows,
            .y = device_rig_room(&rig, (size_t)c.n_rows * run.w.n_outputs * sizeof(float))};
        product_few_launch(rig.stream, &product);
        struct gate_join_args join = {
            .y = product.y, .n_rows = c.n_rows, .terms = run.terms, .gate = c.gate, .out = run.out};
        gate_join_launch(rig.stream, &join);
        check_results(&c, &run);
        run_free(&run);
    }
}

static void a_bias_is_added_to_its_own_outputs(void **state)
{
    (void)state;
    enum { rows = 3, width = 700, first = 13, outputs = 600 };
    uint64_t seed = 4;
    float *y = random_floats((size_t)rows * width, &seed), *bias = random_floats(width, &seed);
    float *actual = malloc(sizeof(float) * rows * width);
    struct bias_add_args args = {.y = device_rig_put(&rig, y, sizeof(float) * rows * width),
                                 .bias = device_rig_put(&rig, bias, sizeof(float) * width),
                                 .n_rows = rows,
                                 .first_output = first,
                                 .n_outputs = outputs,
                                 .y_width = width};
    bias_add_launch(rig.stream, &args);
    device_rig_get(&rig, actual, args.y, sizeof(float) * rows * width);
    for (uint32_t i = 0; i < rows * width; i++) {
        bool is_own = i % width >= first && i % width < first + outputs;
        float expected = is_own ? y[i] + bias[i % width] : y[i];
        assert_memory_equal(&actual[i], &expected, sizeof expected);
    }
    free(y);
    free(bias);
    free(actual);
    device_rig_clear(&rig);
}

int main(void)
{
    device_rig_open(&rig);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_and_up_of_every_type_are_joined),
        cmocka_unit_test(every_gate_has_its_function_and_terms),
        cmocka_unit_test(products_that_are_there_are_joined),
        cmocka_unit_test(a_bias_is_added_to_its_own_outputs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_rig_close(&rig);
    return failed;
}
