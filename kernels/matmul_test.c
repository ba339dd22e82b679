/* Products, norms and gates of every path against the reference, over shapes that fit nothing.
 *
 * Tolerances. Activations become int8 with step s = max|x| / 127 a block of 32 columns, or a span of 64
 * when some weight is of a format scaled by integers (Q4 and Q5 but not Q6 and Q8). So an element is
 * off by at most s / 2, and a product by at most the sum of (s / 2) * |w|: the hard bound. Errors are
 * independent and uniform, so the error over many outputs must also stay near sqrt(sum s^2 / 12 * w^2):
 * the statistical bound, which a wrong scale or a dropped column breaks long before the hard one. A
 * second input is made of whole numbers with 127 in each block, so that int8 holds it exactly; then only
 * the rounding of scales is left: to f16 for Q6_K (2^-11); to whole multiples of a span's unit for the
 * formats scaled by integers, where also a negative dot product takes one eighth of an activation's
 * step from the sum that the minimum is multiplied with. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernel_testing.h"

enum input_kind { INPUT_WHOLE, INPUT_ANY };

static const uint32_t row_counts[] = {1, 2, 3, 5, 8, 15, 16, 17, 33, 64};

struct setup {
    backend *reference;
    backend *fast;
};

struct input {
    float *x;      /* [n_rows, n_cols] */
    float *normed; /* the same after the norm */
    float *gain;   /* ones */
    uint32_t n_rows, n_cols;
};

static struct input input_create(enum input_kind kind, uint32_t n_rows, uint32_t n_cols,
                                 uint64_t *state)
{
    struct input in = {.n_rows = n_rows, .n_cols = n_cols};
    in.x = malloc((size_t)n_rows * n_cols * sizeof(float));
    in.normed = malloc((size_t)n_rows * n_cols * sizeof(float));
    in.gain = malloc(n_cols * sizeof(float));
    for (uint32_t c = 0; c < n_cols; c++)
        in.gain[c] = 1.0f;
    for (uint32_t r = 0; r < n_rows; r++) {
        double squares = 0;
        for (uint32_t c = 0; c < n_cols; c++) {
            float value = kind == INPUT_ANY ? random_float(state)
                                            : (float)((int)(random_next(state) % 255) - 127);
            if (kind == INPUT_WHOLE && c % 32 == r % 32)
                value = (r & 1) != 0 ? -127.0f : 127.0f;
            in.x[(size_t)r * n_cols + c] = value;
            squares += (double)value * (double)value;
        }
        for (uint32_t c = 0; c < n_cols; c++)
            in.normed[(size_t)r * n_cols + c] =
                (float)((double)in.x[(size_t)r * n_cols + c] / sqrt(squares / n_cols));
    }
    return in;
}

static void input_free(struct input *in)
{
    free(in->x);
    free(in->normed);
    free(in->gain);
}

static bool is_k_type(enum tensor_type type)
{
    return type == TENSOR_Q4_K || type == TENSOR_Q5_K || type == TENSOR_Q6_K;
}

static bool is_scaled_by_integers(enum tensor_type type)
{
    return !tensor_type_is_float(type) && type != TENSOR_Q8_0 && type != TENSOR_Q6_K;
}

struct bounds {
    double hard;     /* of one output */
    double variance; /* expected square of its error */
};

/* Of the product of one weight row (f32) with one input row. */
static struct bounds product_bounds(enum tensor_type type, enum input_kind kind, const float *w,
                                    const float *x, uint32_t n_cols, uint32_t span)
{
    struct bounds bounds = {0, 0};
    double weight_max = 0, sum_x = 0;
    for (uint32_t c = 0; c < n_cols; c++) {
        weight_max = fmax(weight_max, fabs((double)w[c]));
        sum_x += fabs((double)x[c]);
    }
    bounds.hard = 4e-6 * weight_max * sum_x + 1e-6;
    if (is_k_type(type))
        bounds.hard += 0x1p-11 * 2 * weight_max * sum_x;
    if (is_scaled_by_integers(type))
        bounds.hard += 2.5e-4 * weight_max * sum_x;
    if (tensor_type_is_float(type))
        return bounds;
    for (uint32_t c = 0; c < n_cols; c += span) {
        double highest = 0;
        uint32_t end = c + span < n_cols ? c + span : n_cols;
        for (uint32_t i = c; i < end; i++)
            highest = fmax(highest, fabs((double)x[i]));
        double step = highest / 127;
        if (is_scaled_by_integers(type))
            bounds.hard += (end - c) / 32 * step / 8 * 1.1 * weight_max;
        for (uint32_t i = c; i < end && kind == INPUT_ANY; i++) {
            bounds.hard += step / 2 * fabs((double)w[i]);
            bounds.variance += step * step / 12 * (double)w[i] * (double)w[i];
        }
    }
    return bounds;
}

static void run_product(backend *b, const weight *w, const struct input *in, const float *bias,
                        bool accumulate, float *y)
{
    const struct backend_operations *op = b->operations;
    activation *a = NULL;
    assert_int_equal(op->activation_create(b, w, in->n_rows, &a), STATUS_OK);
    op->rms_norm(b, in->x, in->gain, 0.0f, NULL, in->n_rows, in->n_cols, a);
    op->matmul(b, w, a, in->n_rows, bias, accumulate, y);
    op->activation_destroy(b, a);
}

/* One shape, on both backends; sources stacked. */
static void check_product(const struct setup *setup, struct tensor_source *sources,
                          uint32_t source_count, enum input_kind kind, uint32_t n_rows,
                          uint64_t *state)
{
    uint32_t n_cols = sources[0].n_cols, n_outputs = 0, span = 32;
    for (uint32_t i = 0; i < source_count; i++) {
        n_outputs += sources[i].n_outputs;
        if (is_scaled_by_integers(sources[i].type))
            span = 64;
    }
    struct input in = input_create(kind, n_rows, n_cols, state);
    float *bias = malloc(n_outputs * sizeof(float));
    size_t count = (size_t)n_rows * n_outputs;
    float *expected = malloc(count * sizeof(float)), *actual = malloc((count + 16) * sizeof(float));
    bool accumulate = n_rows % 2 == 0;
    for (uint32_t o = 0; o < n_outputs; o++)
        bias[o] = random_float(state);
    for (size_t i = 0; i < count; i++)
        expected[i] = actual[i] = random_float(state);
    for (size_t i = count; i < count + 16; i++)
        actual[i] = 77.0f;
    weight *reference = NULL, *fast = NULL;
    assert_int_equal(setup->reference->operations->weight_create(setup->reference, sources,
                                                                 source_count, &reference),
                     STATUS_OK);
    assert_int_equal(
        setup->fast->operations->weight_create(setup->fast, sources, source_count, &fast),
        STATUS_OK);
    run_product(setup->reference, reference, &in, n_rows % 3 == 0 ? bias : NULL, accumulate,
                expected);
    run_product(setup->fast, fast, &in, n_rows % 3 == 0 ? bias : NULL, accumulate, actual);
    double squares = 0, variance = 0;
    float *row = malloc(n_cols * sizeof(float));
    uint32_t base = 0;
    for (uint32_t i = 0; i < source_count; i++) {
        for (uint32_t o = 0; o < sources[i].n_outputs; o++) {
            tensor_dequantise(&sources[i], o, 0, n_cols, row);
            for (uint32_t r = 0; r < n_rows; r++) {
                struct bounds bounds = product_bounds(sources[i].type, kind, row,
                                                      in.normed + (size_t)r * n_cols, n_cols, span);
                size_t at = (size_t)r * n_outputs + base + o;
                double error = (double)actual[at] - (double)expected[at];
                if (!(fabs(error) <= bounds.hard))
                    fail_msg("%s %s: row %u of %u, output %u of %u, %u columns: %.9g, not %.9g "
                             "(bound %.3g)",
                             setup->fast->operations->name, tensor_type_name(sources[i].type), r,
                             n_rows, base + o, n_outputs, n_cols, (double)actual[at],
                             (double)expected[at], bounds.hard);
                squares += error * error;
                variance += bounds.variance;
            }
        }
        base += sources[i].n_outputs;
    }
    if (variance > 0 && count >= 200 && !(squares <= 2 * variance + 1e-9 * (double)count))
        fail_msg("%s: errors of %u x %u x %u are %.2f times what int8 explains",
                 setup->fast->operations->name, n_rows, n_outputs, n_cols,
                 sqrt(squares / variance));
    for (size_t i = count; i < count + 16; i++)
        assert_true(actual[i] == 77.0f);
    setup->reference->operations->weight_destroy(setup->reference, reference);
    setup->fast->operations->weight_destroy(setup->fast, fast);
    free(row);
    free(bias);
    free(expected);
    free(actual);
    input_free(&in);
}

static const enum tensor_type all_types[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1,  TENSOR_Q5_0,   TENSOR_Q5_1,
    TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_MXFP4, TENSOR_F8_E4M3};

static void for_each_path(void (*check)(const struct setup *setup))
{
    struct setup setup = {.reference = backend_open_or_die(BACKEND_REFERENCE, 1)};
    uint32_t tried = 0;
    for (size_t p = 0; p < ARRAY_COUNT(fast_paths); p++) {
        if (!backend_path_is_supported(fast_paths[p]))
            continue;
        setup.fast = backend_open_or_die(fast_paths[p], 2);
        check(&setup);
        backend_close(setup.fast);
        tried++;
    }
    backend_close(setup.reference);
    if (tried == 0)
        skip();
}

static void check_row_counts(const struct setup *setup)
{
    uint64_t state = 1;
    for (size_t t = 0; t < ARRAY_COUNT(all_types); t++) {
        uint32_t n_cols = is_k_type(all_types[t]) ? 512 : 160;
        struct tensor_source source = random_tensor(all_types[t], 41, n_cols, &state);
        for (size_t r = 0; r < ARRAY_COUNT(row_counts); r++)
            for (int kind = INPUT_WHOLE; kind <= INPUT_ANY; kind++)
                check_product(setup, &source, 1, (enum input_kind)kind, row_counts[r], &state);
        tensor_free(&source);
    }
}

static void products_agree_for_every_type_and_row_count(void **state)
{
    (void)state;
    for_each_path(check_row_counts);
}

static void check_shapes(const struct setup *setup)
{
    static const uint32_t outputs[] = {1, 15, 16, 17, 31, 130, 288};
    static const uint32_t columns[] = {32, 64, 96, 576, 1024};
    uint64_t state = 2;
    for (size_t o = 0; o < ARRAY_COUNT(outputs); o++)
        for (size_t c = 0; c < ARRAY_COUNT(columns); c++) {
            enum tensor_type type = all_types[(o * ARRAY_COUNT(columns) + c) % 8];
            struct tensor_source source = random_tensor(type, outputs[o], columns[c], &state);
            check_product(setup, &source, 1, INPUT_WHOLE, 3, &state);
            check_product(setup, &source, 1, INPUT_ANY, 18, &state);
            tensor_free(&source);
        }
    /* Float weights need no multiple of 32. */
    struct tensor_source odd = random_tensor(TENSOR_F16, 19, 77, &state);
    check_product(setup, &odd, 1, INPUT_ANY, 5, &state);
    tensor_free(&odd);
}

static void products_agree_for_awkward_shapes(void **state)
{
    (void)state;
    for_each_path(check_shapes);
}

static void check_stacks(const struct setup *setup)
{
    uint64_t state = 3;
    static const enum tensor_type stacks[][3] = {{TENSOR_Q4_1, TENSOR_Q4_1, TENSOR_Q4_1},
                                                 {TENSOR_Q4_K, TENSOR_Q6_K, TENSOR_Q8_0},
                                                 {TENSOR_Q5_0, TENSOR_F16, TENSOR_Q4_0},
                                                 {TENSOR_BF16, TENSOR_F32, TENSOR_F16}};
    static const uint32_t heights[3] = {48, 17, 5};
    for (size_t i = 0; i < ARRAY_COUNT(stacks); i++) {
        struct tensor_source sources[3];
        for (int k = 0; k < 3; k++)
            sources[k] = random_tensor(stacks[i][k], heights[k], 256, &state);
        for (size_t r = 0; r < ARRAY_COUNT(row_counts); r += 2)
            check_product(setup, sources, 3, INPUT_ANY, row_counts[r], &state);
        for (int k = 0; k < 3; k++)
            tensor_free(&sources[k]);
    }
}

static void stacked_sources_keep_their_types_and_order(void **state)
{
    (void)state;
    for_each_path(check_stacks);
}

/* The rows of `out`, made with `n` columns for `identity`, as floats. */
static float *activation_rows(backend *b, const weight *identity, const activation *out,
                              uint32_t n_rows, uint32_t n)
{
    float *rows = malloc((size_t)n_rows * n * sizeof(float));
    b->operations->matmul(b, identity, out, n_rows, NULL, false, rows);
    return rows;
}

struct gated_case {
    enum tensor_type type, out_type;
    enum gate_kind gate;
    uint32_t n_rows, n_cols, n_hidden;
    const struct gated_terms *terms;
};

static float *run_gated(backend *b, const struct gated_case *c, const struct tensor_source *gate,
                        const struct tensor_source *up, const struct input *in,
                        enum tensor_type out_type)
{
    const struct backend_operations *op = b->operations;
    weight *w = NULL, *identity = identity_weight(b, out_type, c->n_hidden);
    activation *a = NULL, *out = NULL;
    assert_int_equal(op->weight_create_gated(b, gate, up, &w), STATUS_OK);
    assert_int_equal(op->activation_create(b, w, c->n_rows, &a), STATUS_OK);
    assert_int_equal(op->activation_create(b, identity, c->n_rows, &out), STATUS_OK);
    op->rms_norm(b, in->x, in->gain, 0.0f, NULL, c->n_rows, c->n_cols, a);
    op->matmul_gated(b, w, a, c->n_rows, c->terms, c->gate, out);
    float *rows = activation_rows(b, identity, out, c->n_rows, c->n_hidden);
    op->activation_destroy(b, a);
    op->activation_destroy(b, out);
    op->weight_destroy(b, w);
    op->weight_destroy(b, identity);
    return rows;
}

/* Inputs are whole, so g and u are exact to rounding; out is f32 (relative 1e-4 of the largest: K
 * scales are 2^-11), or int8 with half a step of its block more. */
static void check_gated_case(const struct setup *setup, const struct gated_case *c, uint64_t *state)
{
    struct tensor_source gate = random_tensor(c->type, c->n_hidden, c->n_cols, state);
    struct tensor_source up = random_tensor(c->type, c->n_hidden, c->n_cols, state);
    struct input in = input_create(INPUT_WHOLE, c->n_rows, c->n_cols, state);
    float *expected = run_gated(setup->reference, c, &gate, &up, &in, TENSOR_F32);
    float *actual = run_gated(setup->fast, c, &gate, &up, &in, c->out_type);
    double highest = 0;
    size_t count = (size_t)c->n_rows * c->n_hidden;
    for (size_t i = 0; i < count; i++)
        highest = fmax(highest, fabs((double)expected[i]));
    for (size_t i = 0; i < count; i++) {
        double bound =
            (is_k_type(c->type) || is_scaled_by_integers(c->type) ? 4e-3 : 2e-5) * highest + 1e-6;
        if (c->out_type == TENSOR_Q8_0) {
            double block = 0;
            for (size_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++)
                block = fmax(block, fabs((double)expected[k]));
            bound += block / 127 / 2 * 1.001;
        }
        if (!(fabs((double)actual[i] - (double)expected[i]) <= bound))
            fail_msg("%s gate %d %s %u x %u x %u: element %zu is %.9g, not %.9g (bound %.3g)",
                     setup->fast->operations->name, c->gate, tensor_type_name(c->type), c->n_rows,
                     c->n_cols, c->n_hidden, i, (double)actual[i], (double)expected[i], bound);
    }
    free(expected);
    free(actual);
    input_free(&in);
    tensor_free(&gate);
    tensor_free(&up);
}

static void check_gates(const struct setup *setup)
{
    uint64_t state = 4;
    float bias[2 * 96]; /* so large that the clamped gate is clamped */
    for (size_t i = 0; i < ARRAY_COUNT(bias); i++)
        bias[i] = random_float(&state) * 12;
    float rows[64 * 2 * 96];
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        rows[i] = random_float(&state);
    const struct gated_terms terms = {bias, rows};
    for (size_t r = 0; r < ARRAY_COUNT(row_counts); r++)
        for (int gate = GATE_SILU; gate <= GATE_SILU_CLAMPED; gate++) {
            struct gated_case c = {all_types[(r + (size_t)gate) % ARRAY_COUNT(all_types)],
                                   (r & 1) != 0 ? TENSOR_F32 : TENSOR_Q8_0,
                                   (enum gate_kind)gate,
                                   row_counts[r],
                                   256,
                                   (r & 1) != 0 ? 89 : 96,
                                   r % 3 == 0 ? &terms : NULL};
            check_gated_case(setup, &c, &state);
        }
}

static void gated_products_agree(void **state)
{
    (void)state;
    for_each_path(check_gates);
}

static void check_norm(const struct setup *setup)
{
    uint64_t state = 5;
    static const uint32_t widths[] = {32, 576, 1000, 2048};
    for (size_t i = 0; i < ARRAY_COUNT(widths); i++) {
        uint32_t d = widths[i], n_rows = 21;
        float *x = malloc((size_t)n_rows * d * sizeof(float)), *gain = malloc(d * sizeof(float));
        uint32_t rows[21];
        for (size_t k = 0; k < (size_t)n_rows * d; k++)
            x[k] = random_float(&state) * 30;
        for (uint32_t k = 0; k < d; k++)
            gain[k] = random_float(&state);
        for (uint32_t r = 0; r < n_rows; r++)
            rows[r] = n_rows - 1 - r / 2;
        float *results[2];
        backend *backends[2] = {setup->reference, setup->fast};
        for (int k = 0; k < 2; k++) {
            const struct backend_operations *op = backends[k]->operations;
            weight *identity = identity_weight(backends[k], TENSOR_F32, d);
            activation *out = NULL;
            assert_int_equal(op->activation_create(backends[k], identity, n_rows, &out), STATUS_OK);
            op->rms_norm(backends[k], x, gain, 1e-5f, rows, n_rows, d, out);
            results[k] = activation_rows(backends[k], identity, out, n_rows, d);
            op->activation_destroy(backends[k], out);
            op->weight_destroy(backends[k], identity);
        }
        for (size_t k = 0; k < (size_t)n_rows * d; k++)
            assert_true(fabsf(results[0][k] - results[1][k]) <= 2e-6f * (1 + fabsf(results[0][k])));
        free(results[0]);
        free(results[1]);
        free(x);
        free(gain);
    }
}

static void norms_agree_and_follow_the_row_list(void **state)
{
    (void)state;
    for_each_path(check_norm);
}

static void check_embed(const struct setup *setup)
{
    uint64_t state = 6;
    for (size_t t = 0; t < ARRAY_COUNT(all_types); t++) {
        struct tensor_source source = random_tensor(all_types[t], 50, 512, &state);
        int32_t tokens[9] = {0,  49, 16, 15,       17,
                             31, 32, 50, INT32_MAX}; /* the last two have no row */
        float *rows[2];
        backend *backends[2] = {setup->reference, setup->fast};
        for (int k = 0; k < 2; k++) {
            weight *w = NULL;
            rows[k] = malloc(9 * 512 * sizeof(float));
            assert_int_equal(backends[k]->operations->weight_create(backends[k], &source, 1, &w),
                             STATUS_OK);
            backends[k]->operations->embed(backends[k], w, tokens, 9, 1.5f, rows[k]);
            backends[k]->operations->weight_destroy(backends[k], w);
        }
        /* Scales of k-quants in f16, or in units of a span. */
        bool is_rounded = is_k_type(all_types[t]) || is_scaled_by_integers(all_types[t]);
        float bound = is_rounded ? 1e-3f : 1e-6f;
        for (size_t i = 0; i < 9 * 512; i++)
            assert_true(fabsf(rows[0][i] - rows[1][i]) <= bound * 0.2f);
        for (size_t i = 7 * 512; i < 9 * 512; i++)
            assert_true(rows[0][i] == 0 && rows[1][i] == 0);
        free(rows[0]);
        free(rows[1]);
        tensor_free(&source);
    }
}

static void embedding_rows_agree(void **state)
{
    (void)state;
    for_each_path(check_embed);
}

/* Bit for bit: row r computed in a batch of `n_rows` and alone. */
static void check_alone(const struct setup *setup)
{
    uint64_t state = 7;
    const struct backend_operations *op = setup->fast->operations;
    for (size_t t = 0; t < ARRAY_COUNT(all_types); t++) {
        struct tensor_source source = random_tensor(all_types[t], 70, 512, &state);
        struct input in = input_create(INPUT_ANY, 37, 512, &state);
        weight *w = NULL;
        assert_int_equal(op->weight_create(setup->fast, &source, 1, &w), STATUS_OK);
        float *together = malloc(37 * 70 * sizeof(float));
        run_product(setup->fast, w, &in, NULL, false, together);
        for (uint32_t r = 0; r < 37; r++) {
            float alone[70];
            struct input one = in;
            one.x += (size_t)r * 512;
            one.n_rows = 1;
            run_product(setup->fast, w, &one, NULL, false, alone);
            assert_memory_equal(alone, together + (size_t)r * 70, sizeof(alone));
        }
        free(together);
        op->weight_destroy(setup->fast, w);
        input_free(&in);
        tensor_free(&source);
    }
}

static void a_row_does_not_depend_on_its_batch(void **state)
{
    (void)state;
    for_each_path(check_alone);
}

static void check_refusals(const struct setup *setup)
{
    const struct backend_operations *op = setup->fast->operations;
    uint64_t state = 8;
    struct tensor_source a = random_tensor(TENSOR_Q4_1, 16, 64, &state);
    struct tensor_source b = random_tensor(TENSOR_Q4_1, 16, 96, &state);
    struct tensor_source taller = random_tensor(TENSOR_Q4_1, 17, 64, &state);
    weight *w = NULL;
    struct tensor_source pair[2] = {a, b};
    assert_int_equal(op->weight_create(setup->fast, pair, 2, &w), STATUS_INVALID);
    assert_int_equal(op->weight_create_gated(setup->fast, &a, &taller, &w), STATUS_INVALID);
    struct tensor_source ragged = {
        .type = TENSOR_Q4_1, .data = a.data, .n_outputs = 1, .n_cols = 40};
    assert_int_equal(op->weight_create(setup->fast, &ragged, 1, &w), STATUS_INVALID);
    assert_null(w);
    tensor_free(&a);
    tensor_free(&b);
    tensor_free(&taller);
}

static void unfit_sources_are_refused(void **state)
{
    (void)state;
    for_each_path(check_refusals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_for_every_type_and_row_count),
        cmocka_unit_test(products_agree_for_awkward_shapes),
        cmocka_unit_test(stacked_sources_keep_their_types_and_order),
        cmocka_unit_test(gated_products_agree),
        cmocka_unit_test(norms_agree_and_follow_the_row_list),
        cmocka_unit_test(embedding_rows_agree),
        cmocka_unit_test(a_row_does_not_depend_on_its_batch),
        cmocka_unit_test(unfit_sources_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
