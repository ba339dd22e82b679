/* WRAP: cpu_tiles_request cpu_tiles_rows_min */
/* Products with AMX tiles against those of AVX-512 VNNI, which the reference has judged: equal to the last bit, for every
 * format and every number of rows. Where the CPU has no AMX its instructions are emulated. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "amx_emulator.h"
#include "cpu/cpu_backend.h"
#include "cpu/cpu_tiles.h"
#include "kernel_testing.h"

bool __real_cpu_tiles_request(void);
uint32_t __real_cpu_tiles_rows_min(const struct cpu_kernels *kernels);
bool __wrap_cpu_tiles_request(void);
uint32_t __wrap_cpu_tiles_rows_min(const struct cpu_kernels *kernels);

static uint32_t rows_min = 1;

bool __wrap_cpu_tiles_request(void)
{
    return true;
}

uint32_t __wrap_cpu_tiles_rows_min(const struct cpu_kernels *kernels)
{
    return kernels->gemm_tiles != NULL ? rows_min : UINT32_MAX;
}

static const uint32_t row_counts[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 49, 65};
/* A single span, an odd number of blocks, several spans. */
static const uint32_t column_counts[] = {32, 96, 576};

struct product {
    const struct tensor_source *sources;
    uint32_t source_count;
    bool is_gated;
    uint32_t n_rows, n_cols, n_outputs;
    const float *x;
};

/* y: [n_rows, n_outputs]. Gated products come back through a matrix that changes nothing. */
static void multiply(backend *b, const struct product *p, const float *gain, float *y)
{
    const struct backend_operations *op = b->operations;
    weight *w = NULL, *identity = NULL;
    activation *a = NULL, *out = NULL;
    if (p->is_gated)
        assert_int_equal(op->weight_create_gated(b, &p->sources[0], &p->sources[1], &w), STATUS_OK);
    else
        assert_int_equal(op->weight_create(b, p->sources, p->source_count, &w), STATUS_OK);
    assert_int_equal(op->activation_create(b, w, p->n_rows, &a), STATUS_OK);
    op->rms_norm(b, p->x, gain, 1e-5f, NULL, p->n_rows, p->n_cols, a);
    if (p->is_gated) {
        identity = identity_weight(b, TENSOR_F32, p->n_outputs);
        assert_int_equal(op->activation_create(b, identity, p->n_rows, &out), STATUS_OK);
        op->matmul_gated(b, w, a, p->n_rows, NULL, GATE_SILU, out);
        op->matmul(b, identity, out, p->n_rows, NULL, false, y);
        op->activation_destroy(b, out);
        op->weight_destroy(b, identity);
    } else {
        op->matmul(b, w, a, p->n_rows, NULL, false, y);
    }
    op->activation_destroy(b, a);
    op->weight_destroy(b, w);
}

static void compare(backend *vnni, backend *amx, const struct product *p)
{
    size_t bytes = (size_t)p->n_rows * p->n_outputs * sizeof(float);
    float *gain = malloc(p->n_cols * sizeof(float)), *expected = malloc(bytes), *y = malloc(bytes);
    for (uint32_t c = 0; c < p->n_cols; c++)
        gain[c] = 1.0f;
    multiply(vnni, p, gain, expected);
    multiply(amx, p, gain, y);
    if (memcmp(expected, y, bytes) != 0)
        fail_msg("%s, %u rows, %u columns%s: results differ", tensor_type_name(p->sources[0].type),
                 p->n_rows, p->n_cols, p->is_gated ? ", gated" : "");
    free(gain);
    free(expected);
    free(y);
}

static void compare_shape(backend *vnni, backend *amx, enum tensor_type type, uint32_t n_rows,
                          uint32_t n_cols, uint64_t *state)
{
    const uint32_t n_outputs = 50; /* the last group is not full */
    float *x = malloc((size_t)n_rows * n_cols * sizeof(float));
    for (size_t i = 0; i < (size_t)n_rows * n_cols; i++)
        x[i] = random_float(state);
    struct tensor_source sources[2] = {random_tensor(type, n_outputs, n_cols, state),
                                       random_tensor(type, n_outputs, n_cols, state)};
    struct product p = {sources, 2, false, n_rows, n_cols, 2 * n_outputs, x};
    compare(vnni, amx, &p);
    p.is_gated = true;
    p.n_outputs = n_outputs;
    compare(vnni, amx, &p);
    tensor_free(&sources[0]);
    tensor_free(&sources[1]);
    free(x);
}

/* cmocka puts a handler of its own before each test, so ours comes after it. */
static bool skip_without_avx512(void)
{
    if (backend_path_is_supported(BACKEND_AVX512_VNNI)) {
        if (!__real_cpu_tiles_request())
            amx_emulator_install();
        return false;
    }
    skip();
    return true;
}

static void tiles_give_the_same_bits_as_vectors(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
                                             TENSOR_Q8_0};
    if (skip_without_avx512())
        return;
    rows_min = 1;
    backend *vnni = backend_open_or_die(BACKEND_AVX512_VNNI, 1);
    backend *amx = backend_open_or_die(BACKEND_AMX, 2);
    uint64_t random = 11;
    for (size_t t = 0; t < ARRAY_COUNT(types); t++)
        for (size_t c = 0; c < ARRAY_COUNT(column_counts); c++)
            for (size_t r = 0; r < ARRAY_COUNT(row_counts); r++)
                compare_shape(vnni, amx, types[t], row_counts[r], column_counts[c], &random);
    backend_close(vnni);
    backend_close(amx);
}

static void tiles_give_the_same_bits_for_k_quants(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    if (skip_without_avx512())
        return;
    rows_min = 1;
    backend *vnni = backend_open_or_die(BACKEND_AVX512_VNNI, 1);
    backend *amx = backend_open_or_die(BACKEND_AMX, 1);
    uint64_t random = 12;
    for (size_t t = 0; t < ARRAY_COUNT(types); t++)
        for (size_t r = 0; r < ARRAY_COUNT(row_counts); r++)
            compare_shape(vnni, amx, types[t], row_counts[r], 512, &random);
    backend_close(vnni);
    backend_close(amx);
}

static void few_rows_stay_with_vectors_and_give_the_same_bits(void **state)
{
    (void)state;
    if (skip_without_avx512())
        return;
    rows_min = 9;
    backend *vnni = backend_open_or_die(BACKEND_AVX512_VNNI, 1);
    backend *amx = backend_open_or_die(BACKEND_AMX, 1);
    uint64_t random = 13;
    unsigned long before = atomic_load(&emulated_count);
    compare_shape(vnni, amx, TENSOR_Q4_1, 8, 192, &random);
    assert_int_equal(atomic_load(&emulated_count), before);
    compare_shape(vnni, amx, TENSOR_Q4_1, 40, 192, &random); /* 32 rows by tiles, 8 by vectors */
    backend_close(vnni);
    backend_close(amx);
}

static void the_number_of_rows_that_tiles_win_from_is_measured(void **state)
{
    (void)state;
    if (skip_without_avx512())
        return;
    backend *b = backend_open_or_die(BACKEND_AMX, 1);
    const struct cpu_kernels *kernels = ((struct cpu_backend *)b)->kernels;
    uint32_t measured = __real_cpu_tiles_rows_min(kernels);
    assert_true(measured == UINT32_MAX || (measured >= 1 && measured <= TILE_ROWS));
    struct cpu_kernels without = *kernels;
    without.gemm_tiles = NULL;
    assert_true(__real_cpu_tiles_rows_min(&without) == UINT32_MAX);
    backend_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_give_the_same_bits_as_vectors),
        cmocka_unit_test(tiles_give_the_same_bits_for_k_quants),
        cmocka_unit_test(few_rows_stay_with_vectors_and_give_the_same_bits),
        cmocka_unit_test(the_number_of_rows_that_tiles_win_from_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
