/* What some families' layers add, on every path against the reference: the norm of what is added, soft
 * caps, and mixtures of experts over shapes that fit nothing.
 *
 * Tolerances. Norms and caps: a few f32 roundings (the fast tanh is good to 1e-6 of the cap). Experts
 * with float matrices: f32 sums of 96 to 160 products of terms below 0.05 * 3, relative to the largest
 * output. Quantised experts are compared as products are in matmul_test.c, by the inputs' int8 step:
 * here it is enough that the error is that of int8 (about 1/127 of the largest) and not of a wrong row. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernel_testing.h"

#define EPSILON 1e-5f

static float *random_floats(size_t count, float scale, uint64_t *state)
{
    float *values = malloc(count * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < count; i++)
        values[i] = random_float(state) * scale;
    return values;
}

static void for_each_path(void (*check)(backend *reference, backend *fast))
{
    backend *reference = backend_open_or_die(BACKEND_REFERENCE, 1);
    for (size_t p = 0; p < ARRAY_COUNT(fast_paths); p++) {
        if (!backend_path_is_supported(fast_paths[p]))
            continue;
        backend *fast = backend_open_or_die(fast_paths[p], 3);
        check(reference, fast);
        backend_close(fast);
    }
    backend_close(reference);
}

static void compare(const char *what, const float *actual, const float *expected, size_t count,
                    double bound)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)actual[i] - (double)expected[i]) <= bound))
            fail_msg("%s: element %zu is %.9g, not %.9g (bound %.3g)", what, i, (double)actual[i],
                     (double)expected[i], bound);
}

static void check_norm_add(backend *reference, backend *fast)
{
    static const uint32_t widths[] = {1, 15, 32, 100, 576, 2049}, heights[] = {1, 5, 40};
    uint64_t state = 1;
    for (size_t i = 0; i < ARRAY_COUNT(widths) * ARRAY_COUNT(heights); i++) {
        uint32_t d = widths[i / ARRAY_COUNT(heights)], rows = heights[i % ARRAY_COUNT(heights)];
        size_t count = (size_t)rows * d;
        float *y = random_floats(count, 20, &state), *x = random_floats(count + 1, 5, &state);
        float *gain = random_floats(d, 1, &state);
        float *own_y = malloc(count * sizeof *y), *own_x = malloc((count + 1) * sizeof *x);
        memcpy(own_y, y, count * sizeof *y);
        memcpy(own_x, x, (count + 1) * sizeof *x);
        reference->operations->rms_norm_add(reference, y, gain, EPSILON, rows, d, x);
        fast->operations->rms_norm_add(fast, own_y, gain, EPSILON, rows, d, own_x);
        compare("sum", own_x, x, count, 3e-5);
        assert_true(own_x[count] == x[count]);
        free(y), free(x), free(gain), free(own_y), free(own_x);
    }
}

static void norms_are_added_to_the_stream(void **state)
{
    (void)state;
    for_each_path(check_norm_add);
}

static void check_cap(backend *reference, backend *fast)
{
    static const uint32_t counts[] = {1, 7, 16, 33, 8192, 8193, 50000};
    uint64_t state = 2;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        float *x = random_floats(counts[i] + 1u, 200, &state);
        float *own = malloc((counts[i] + 1u) * sizeof *x);
        memcpy(own, x, (counts[i] + 1u) * sizeof *x);
        reference->operations->soft_cap(reference, x, counts[i], 30.0f);
        fast->operations->soft_cap(fast, own, counts[i], 30.0f);
        compare("capped", own, x, counts[i], 30 * 2e-6);
        assert_true(own[counts[i]] == x[counts[i]]);
        free(x), free(own);
    }
}

static void values_are_capped(void **state)
{
    (void)state;
    for_each_path(check_cap);
}

/* --- low-rank changes --- */

#define LOW_RANK_ROWS 9u

/* Rows take turns among three changes, one of which is none; the first row alone has the first. */
static void run_low_rank(backend *b, const struct low_rank changes[3], const float *x,
                         const float *gain, const uint32_t *rows, uint32_t n_rows, uint32_t first,
                         uint32_t width, float *y)
{
    static const uint32_t turns[LOW_RANK_ROWS] = {0, 2, 1, 0, 1, 2, 2, 0, 1};
    const struct backend_operations *op = b->operations;
    weight *identity = identity_weight(b, TENSOR_F32, changes->n_cols);
    activation *a;
    uint32_t rank_max = changes[0].rank > changes[2].rank ? changes[0].rank : changes[2].rank;
    float *scratch = op->allocate(b, LOW_RANK_ROWS * rank_max * sizeof(float));
    assert_non_null(scratch);
    assert_int_equal(op->activation_create(b, identity, LOW_RANK_ROWS, &a), STATUS_OK);
    op->rms_norm(b, x, gain, EPSILON, NULL, LOW_RANK_ROWS, changes->n_cols, a);
    const struct low_rank_rows which = {rows, turns, n_rows};
    op->matmul_low_rank(b, changes, 3, &which, a, scratch, first, width, y);
    op->activation_destroy(b, a);
    op->release(b, scratch);
    op->weight_destroy(b, identity);
}

static struct low_rank random_change(uint32_t rank, uint32_t n_cols, uint32_t n_outputs,
                                     uint64_t *state)
{
    return (struct low_rank){random_floats((size_t)rank * n_cols, 0.2f, state),
                             random_floats((size_t)rank * n_outputs, 0.2f, state), rank, n_cols,
                             n_outputs};
}

static void free_change(struct low_rank *change)
{
    free((void *)(uintptr_t)change->down), free((void *)(uintptr_t)change->up);
}

/* Terms below 1, so sums over n_cols and rank are within a few f32 roundings of their size. */
static void check_low_rank(backend *reference, backend *fast)
{
    static const struct {
        uint32_t rank, n_cols, n_outputs, first, width, n_rows;
    } cases[] = {{1, 32, 7, 0, 7, 9},
                 {8, 100, 512, 3, 600, 4},
                 {17, 576, 1100, 76, 1176, 1},
                 {64, 33, 64, 64, 128, 9}};
    static const uint32_t rows[LOW_RANK_ROWS] = {8, 0, 3, 1, 7, 2, 4, 6, 5};
    uint64_t state = 4;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint32_t n_cols = cases[i].n_cols, n_outputs = cases[i].n_outputs;
        struct low_rank changes[3] = {
            random_change(cases[i].rank, n_cols, n_outputs, &state),
            {.rank = 0},
            random_change(cases[i].rank + 3, n_cols, n_outputs, &state),
        };
        size_t count = (size_t)LOW_RANK_ROWS * cases[i].width;
        float *x = random_floats((size_t)LOW_RANK_ROWS * n_cols, 3, &state);
        float *gain = random_floats(n_cols, 1, &state);
        float *want = random_floats(count, 1, &state), *got = malloc(count * sizeof *got);
        float *alone = malloc(count * sizeof *alone);
        memcpy(got, want, count * sizeof *got);
        memcpy(alone, want, count * sizeof *alone);
        run_low_rank(reference, changes, x, gain, rows, cases[i].n_rows, cases[i].first,
                     cases[i].width, want);
        run_low_rank(fast, changes, x, gain, rows, cases[i].n_rows, cases[i].first, cases[i].width,
                     got);
        compare("low rank", got, want, count, 1e-4);
        run_low_rank(fast, changes, x, gain, rows, 1, cases[i].first, cases[i].width, alone);
        assert_memory_equal(alone + (size_t)rows[0] * cases[i].width,
                            got + (size_t)rows[0] * cases[i].width, cases[i].width * sizeof *got);
        free_change(&changes[0]), free_change(&changes[2]);
        free(x), free(gain), free(want), free(got), free(alone);
    }
}

static void low_rank_changes_agree(void **state)
{
    (void)state;
    for_each_path(check_low_rank);
}

/* --- experts --- */

struct expert_case {
    uint32_t n_experts, n_used, d, d_hidden, rows;
    enum router_kind router;
    enum gate_kind gate;
    enum tensor_type gate_type, down_type;
    bool has_bias, accumulate;
};

static const struct expert_case expert_cases[] = {
    {4, 2, 64, 96, 1, ROUTER_SHARES_NORMED, GATE_SILU, TENSOR_F32, TENSOR_F16, false, true},
    {4, 2, 64, 96, 37, ROUTER_SHARES_NORMED, GATE_SILU, TENSOR_F16, TENSOR_F32, false, false},
    {1, 1, 100, 41, 5, ROUTER_SHARES, GATE_GELU_TANH, TENSOR_F32, TENSOR_F32, false, true},
    {33, 8, 96, 32, 19, ROUTER_SHARES, GATE_SILU, TENSOR_BF16, TENSOR_BF16, false, true},
    {32, 4, 160, 64, 70, ROUTER_SHARES_NORMED, GATE_SILU_CLAMPED, TENSOR_F32, TENSOR_F8_E4M3, true,
     true},
    {32, 4, 160, 64, 3, ROUTER_SHARES_NORMED, GATE_SILU_CLAMPED, TENSOR_MXFP4, TENSOR_MXFP4, true,
     true},
    {6, 6, 96, 64, 21, ROUTER_SHARES, GATE_SILU, TENSOR_Q8_0, TENSOR_Q4_0, false, false},
    {5, 3, 64, 96, 130, ROUTER_SHARES_NORMED, GATE_SILU, TENSOR_Q5_1, TENSOR_Q8_0, true, true},
};

struct expert_data {
    struct tensor_source gate[40], up[40], down[40];
    float *x, *gain, *logits, *gate_bias, *down_bias, *before;
};

static struct expert_data data_create(const struct expert_case *c, uint64_t *state)
{
    struct expert_data data;
    for (uint32_t e = 0; e < c->n_experts; e++) {
        data.gate[e] = random_tensor(c->gate_type, c->d_hidden, c->d, state);
        data.up[e] = random_tensor(c->gate_type, c->d_hidden, c->d, state);
        data.down[e] = random_tensor(c->down_type, c->d, c->d_hidden, state);
    }
    data.x = random_floats((size_t)c->rows * c->d, 3, state);
    data.gain = random_floats(c->d, 1, state);
    data.logits = random_floats((size_t)c->rows * c->n_experts, 3, state);
    if (c->n_experts > 3) /* equal ones: the lower number goes first */
        data.logits[3] = data.logits[1] = 2.5f;
    data.gate_bias = random_floats((size_t)c->n_experts * 2 * c->d_hidden, 4, state);
    data.down_bias = random_floats((size_t)c->n_experts * c->d, 1, state);
    data.before = random_floats((size_t)c->rows * c->d, 1, state);
    return data;
}

static void data_free(const struct expert_case *c, struct expert_data *data)
{
    for (uint32_t e = 0; e < c->n_experts; e++) {
        tensor_free(&data->gate[e]);
        tensor_free(&data->up[e]);
        tensor_free(&data->down[e]);
    }
    free(data->x), free(data->gain), free(data->logits);
    free(data->gate_bias), free(data->down_bias), free(data->before);
}

/* Rows [first, first + count) of the case through one backend into y; with the experts of `shape` alone. */
static void run_held(backend *b, const struct expert_case *c, const struct expert_data *data,
                     const struct expert_shape *held, uint32_t first, uint32_t count, float *y)
{
    const struct backend_operations *op = b->operations;
    const struct expert_shape shape = *held;
    weight *gated[40] = {NULL}, *down[40] = {NULL};
    expert_routes *routes;
    activation *in, *hidden;
    for (uint32_t e = 0; e < c->n_experts; e++) {
        if (!expert_is_held(&shape, e))
            continue;
        assert_int_equal(op->weight_create_gated(b, &data->gate[e], &data->up[e], &gated[e]),
                         STATUS_OK);
        assert_int_equal(op->weight_create(b, &data->down[e], 1, &down[e]), STATUS_OK);
    }
    uint32_t slots = op->routes_slots_max(&shape, count);
    assert_int_equal(op->routes_create(b, &shape, count, &routes), STATUS_OK);
    assert_int_equal(op->activation_create(b, gated[shape.first_held], slots, &in), STATUS_OK);
    assert_int_equal(op->activation_create(b, down[shape.first_held], slots, &hidden), STATUS_OK);
    memcpy(y, data->before + (size_t)first * c->d, (size_t)count * c->d * sizeof *y);
    op->route(b, data->logits + (size_t)first * c->n_experts, count, routes);
    op->rms_norm_routed(b, data->x + (size_t)first * c->d, data->gain, EPSILON, c->d, routes, in);
    op->matmul_gated_routed(b, gated, in, routes, c->has_bias ? data->gate_bias : NULL, c->gate,
                            hidden);
    op->matmul_routed(b, down, hidden, routes, c->has_bias ? data->down_bias : NULL, c->accumulate,
                      y);
    op->activation_destroy(b, in);
    op->activation_destroy(b, hidden);
    op->routes_destroy(b, routes);
    for (uint32_t e = 0; e < c->n_experts; e++) {
        if (!expert_is_held(&shape, e))
            continue;
        op->weight_destroy(b, gated[e]);
        op->weight_destroy(b, down[e]);
    }
}

static void run_experts(backend *b, const struct expert_case *c, const struct expert_data *data,
                        uint32_t first, uint32_t count, float *y)
{
    const struct expert_shape all = {c->n_experts, c->n_used, c->d, c->router, 0, 0};
    run_held(b, c, data, &all, first, count, y);
}

static void check_experts(backend *reference, backend *fast)
{
    uint64_t state = 3;
    for (size_t i = 0; i < ARRAY_COUNT(expert_cases); i++) {
        const struct expert_case *c = &expert_cases[i];
        struct expert_data data = data_create(c, &state);
        size_t count = (size_t)c->rows * c->d;
        float *want = malloc(count * sizeof *want), *got = malloc(count * sizeof *got);
        run_experts(reference, c, &data, 0, c->rows, want);
        run_experts(fast, c, &data, 0, c->rows, got);
        double highest = 0;
        for (size_t k = 0; k < count; k++)
            highest = fmax(highest, fabs((double)want[k]));
        bool is_exact = tensor_type_is_float(c->gate_type) && tensor_type_is_float(c->down_type);
        char what[32];
        (void)snprintf(what, sizeof what, "case %zu", i);
        compare(what, got, want, count, (is_exact ? 1e-5 : 0.02) * highest);
        /* A row alone is the same to the bit. */
        uint32_t row = c->rows / 2;
        run_experts(fast, c, &data, row, 1, want);
        assert_memory_equal(want, got + (size_t)row * c->d, c->d * sizeof *want);
        free(want), free(got);
        data_free(c, &data);
    }
}

static void experts_agree_and_rows_stay_apart(void **state)
{
    (void)state;
    for_each_path(check_experts);
}

/* What the parts give comes to what all experts give: the first adds to what was there, as rank 0 does. */
static void check_shared_experts(backend *reference, backend *b)
{
    (void)reference;
    uint64_t state = 5;
    for (size_t i = 0; i < ARRAY_COUNT(expert_cases); i++) {
        struct expert_case c = expert_cases[i];
        struct expert_data data = data_create(&c, &state);
        size_t count = (size_t)c.rows * c.d;
        float *want = malloc(count * sizeof *want), *sum = calloc(count, sizeof *sum),
              *part = malloc(count * sizeof *part);
        double highest = 0;
        run_experts(b, &c, &data, 0, c.rows, want);
        for (uint32_t first = 0, parts = 3, r = 0; r < parts; r++) {
            uint32_t end = c.n_experts * (r + 1) / parts;
            struct expert_shape held = {c.n_experts, c.n_used, c.d, c.router, first, end - first};
            if (end == first)
                continue;
            run_held(b, &c, &data, &held, 0, c.rows, part);
            for (size_t k = 0; k < count; k++)
                sum[k] += part[k];
            c.accumulate = false;
            first = end;
        }
        for (size_t k = 0; k < count; k++)
            highest = fmax(highest, fabs((double)want[k]));
        compare("parts", sum, want, count, 1e-5 * highest);
        free(want), free(sum), free(part);
        data_free(&c, &data);
    }
}

static void experts_may_be_shared_out(void **state)
{
    (void)state;
    for_each_path(check_shared_experts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_added_to_the_stream),
        cmocka_unit_test(values_are_capped),
        cmocka_unit_test(low_rank_changes_agree),
        cmocka_unit_test(experts_agree_and_rows_stay_apart),
        cmocka_unit_test(experts_may_be_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
