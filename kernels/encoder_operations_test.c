/* The operations of encoders on every path against the reference. Tolerances: sums of up to 1,100
 * terms in f32 against double, and the fast exponential and erf (3e-7 and 1.5e-7 of 1). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernel_testing.h"

static float *random_floats(size_t count, float scale, uint64_t *state)
{
    float *values = malloc((count + 1) * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i <= count; i++)
        values[i] = random_float(state) * scale;
    return values;
}

static float *copy_floats(const float *values, size_t count)
{
    float *copy = malloc((count + 1) * sizeof *copy);
    CHECK(copy != NULL);
    memcpy(copy, values, (count + 1) * sizeof *copy);
    return copy;
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

/* An activation of n columns and what a product with the identity gives back of it. */
struct readable {
    weight *identity;
    activation *a;
};

static struct readable readable_open(backend *b, uint32_t n_cols, uint32_t rows)
{
    struct readable r;
    r.identity = identity_weight(b, TENSOR_F32, n_cols);
    CHECK(b->operations->activation_create(b, r.identity, rows, &r.a) == STATUS_OK);
    return r;
}

static float *readable_close(backend *b, struct readable *r, uint32_t n_cols, uint32_t rows)
{
    float *values = b->operations->allocate(b, (uint64_t)rows * n_cols * sizeof *values);
    b->operations->matmul(b, r->identity, r->a, rows, NULL, false, values);
    CHECK(b->operations->synchronize(b) == STATUS_OK);
    b->operations->activation_destroy(b, r->a);
    b->operations->weight_destroy(b, r->identity);
    return values;
}

static void check_layer_norm(backend *reference, backend *fast)
{
    static const uint32_t widths[] = {1, 15, 32, 100, 384, 1025}, heights[] = {1, 5, 40};
    uint64_t state = 1;
    for (size_t i = 0; i < ARRAY_COUNT(widths) * ARRAY_COUNT(heights); i++) {
        uint32_t d = widths[i / ARRAY_COUNT(heights)], rows = heights[i % ARRAY_COUNT(heights)];
        size_t count = (size_t)rows * d;
        float *gain = random_floats(d, 1, &state), *bias = random_floats(d, 1, &state);
        float *x = random_floats(count, 5, &state), *own = copy_floats(x, count);
        struct readable expected = readable_open(reference, d, rows);
        struct readable actual = readable_open(fast, d, rows);
        reference->operations->layer_norm(reference, x, gain, bias, 1e-5f, rows, d, expected.a);
        fast->operations->layer_norm(fast, own, gain, bias, 1e-5f, rows, d, actual.a);
        float *a = readable_close(reference, &expected, d, rows);
        float *b = readable_close(fast, &actual, d, rows);
        compare("in place", own, x, count, 2e-5);
        compare("out", b, a, count, 2e-5);
        assert_true(own[count] == x[count]);
        reference->operations->release(reference, a);
        fast->operations->release(fast, b);
        free(gain), free(bias), free(x), free(own);
    }
}

static void rows_are_normed_in_place_and_for_the_next_product(void **state)
{
    (void)state;
    for_each_path(check_layer_norm);
}

static void check_activate(backend *reference, backend *fast)
{
    static const enum gate_kind kinds[] = {GATE_SILU, GATE_GELU_TANH, GATE_GELU_ERF};
    static const uint32_t widths[] = {1, 17, 256, 300, 1536};
    uint64_t state = 2;
    for (size_t i = 0; i < ARRAY_COUNT(kinds) * ARRAY_COUNT(widths); i++) {
        uint32_t d = widths[i % ARRAY_COUNT(widths)], rows = 7;
        enum gate_kind kind = kinds[i / ARRAY_COUNT(widths)];
        float *y = random_floats((size_t)rows * d, 6, &state);
        struct readable expected = readable_open(reference, d, rows);
        struct readable actual = readable_open(fast, d, rows);
        reference->operations->activate(reference, y, rows, kind, expected.a);
        fast->operations->activate(fast, y, rows, kind, actual.a);
        float *a = readable_close(reference, &expected, d, rows);
        float *b = readable_close(fast, &actual, d, rows);
        compare("activated", b, a, (size_t)rows * d, 6e-6);
        reference->operations->release(reference, a);
        fast->operations->release(fast, b);
        free(y);
    }
}

static void values_pass_the_activation_function(void **state)
{
    (void)state;
    for_each_path(check_activate);
}

static void check_embed_add(backend *reference, backend *fast)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    static const int32_t ids[] = {0, 4, 4, 1, 3};
    uint64_t state = 3;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        uint32_t d = 96, rows = ARRAY_COUNT(ids);
        struct tensor_source source = random_tensor(types[i], 5, d, &state);
        weight *slow = NULL, *quick = NULL;
        assert_int_equal(reference->operations->weight_create(reference, &source, 1, &slow),
                         STATUS_OK);
        assert_int_equal(fast->operations->weight_create(fast, &source, 1, &quick), STATUS_OK);
        float *x = random_floats((size_t)rows * d, 1, &state);
        float *own = copy_floats(x, (size_t)rows * d);
        reference->operations->embed_add(reference, slow, ids, rows, x);
        fast->operations->embed_add(fast, quick, ids, rows, own);
        compare("sum", own, x, (size_t)rows * d + 1, 1e-6);
        reference->operations->weight_destroy(reference, slow);
        fast->operations->weight_destroy(fast, quick);
        tensor_free(&source);
        free(x), free(own);
    }
}

static void table_rows_are_added(void **state)
{
    (void)state;
    for_each_path(check_embed_add);
}

struct attention_case {
    uint32_t n_heads, n_kv_heads, d_head;
    uint32_t lengths[6];
};

static const struct attention_case attention_cases[] = {
    {1, 1, 16, {1}},
    {12, 12, 32, {1, 2, 15, 16, 17, 64}},
    {4, 4, 64, {127, 128, 129, 3}},
    {6, 2, 24, {40, 70}},
    {2, 2, 100, {33, 300}},
    {1, 1, 128, {1100, 5}},
};

static void check_attention_case(backend *b, const struct attention_case *c, const float *qkv,
                                 const uint32_t *row_start, uint32_t n_sequences, float **out)
{
    uint32_t rows = row_start[n_sequences], width = c->n_heads * c->d_head;
    struct attention_shape shape = {.n_heads = c->n_heads,
                                    .n_kv_heads = c->n_kv_heads,
                                    .d_head = c->d_head,
                                    .scale = 1.0f / sqrtf((float)c->d_head)};
    struct readable r = readable_open(b, width, rows);
    float *scratch = b->operations->allocate(b, ((uint64_t)rows + 15u * n_sequences) *
                                                    c->n_kv_heads * c->d_head * sizeof(float));
    b->operations->attention_full(b, qkv, &shape, row_start, n_sequences, scratch, r.a);
    *out = readable_close(b, &r, width, rows);
    b->operations->release(b, scratch);
}

static void check_attention(backend *reference, backend *fast)
{
    uint64_t state = 4;
    for (size_t i = 0; i < ARRAY_COUNT(attention_cases); i++) {
        const struct attention_case *c = &attention_cases[i];
        uint32_t row_start[7] = {0}, n = 0;
        for (; n < 6 && c->lengths[n] > 0; n++)
            row_start[n + 1] = row_start[n] + c->lengths[n];
        size_t width = (size_t)(c->n_heads + 2 * c->n_kv_heads) * c->d_head;
        float *qkv = random_floats(row_start[n] * width, 3, &state), *a, *b, *alone;
        check_attention_case(reference, c, qkv, row_start, n, &a);
        check_attention_case(fast, c, qkv, row_start, n, &b);
        compare("attention", b, a, (size_t)row_start[n] * c->n_heads * c->d_head, 2e-5);
        /* The last sequence alone gives the same bits. */
        uint32_t own[2] = {0, row_start[n] - row_start[n - 1]};
        check_attention_case(fast, c, qkv + row_start[n - 1] * width, own, 1, &alone);
        assert_memory_equal(alone, b + (size_t)row_start[n - 1] * c->n_heads * c->d_head,
                            (size_t)own[1] * c->n_heads * c->d_head * sizeof(float));
        reference->operations->release(reference, a);
        fast->operations->release(fast, b);
        fast->operations->release(fast, alone);
        free(qkv);
    }
}

static void every_row_sees_its_whole_sequence_and_no_other(void **state)
{
    (void)state;
    for_each_path(check_attention);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_normed_in_place_and_for_the_next_product),
        cmocka_unit_test(values_pass_the_activation_function),
        cmocka_unit_test(table_rows_are_added),
        cmocka_unit_test(every_row_sees_its_whole_sequence_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
