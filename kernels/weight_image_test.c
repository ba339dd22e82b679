/* Weights saved by one backend and restored in another: the same products to the bit, whatever the
 * path that saved them. */

#include "unit_test.h"

#include "kernel_testing.h"

#define N_COLS    512u
#define N_OUTPUTS 40u /* the third group is padded */
#define N_ROWS    3u

static const enum tensor_type types[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1,  TENSOR_Q5_0,   TENSOR_Q5_1,
    TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_MXFP4, TENSOR_F8_E4M3};

static backend *backends[ARRAY_COUNT(fast_paths)];
static uint32_t backend_count;

static int open_backends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(fast_paths); i++)
        if (backend_path_is_supported(fast_paths[i]))
            backends[backend_count++] = backend_open_or_die(fast_paths[i], 2);
    return 0;
}

static int close_backends(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < backend_count; i++)
        backend_close(backends[i]);
    return 0;
}

static void run(backend *b, const weight *w, bool is_gated, float *y)
{
    static float x[N_ROWS * N_COLS], gain[N_COLS];
    uint64_t random = 7;
    for (size_t i = 0; i < ARRAY_COUNT(x); i++)
        x[i] = random_float(&random);
    for (size_t i = 0; i < ARRAY_COUNT(gain); i++)
        gain[i] = 1;
    const struct backend_operations *op = b->operations;
    activation *in, *out;
    assert_int_equal(op->activation_create(b, w, N_ROWS, &in), STATUS_OK);
    op->rms_norm(b, x, gain, 0.0f, NULL, N_ROWS, N_COLS, in);
    if (!is_gated) {
        op->matmul(b, w, in, N_ROWS, NULL, false, y);
    } else { /* N_OUTPUTS columns, padded to a block by an identity */
        weight *identity = identity_weight(b, TENSOR_F32, N_OUTPUTS);
        assert_int_equal(op->activation_create(b, identity, N_ROWS, &out), STATUS_OK);
        op->matmul_gated(b, w, in, N_ROWS, NULL, GATE_SILU, out);
        op->matmul(b, identity, out, N_ROWS, NULL, false, y);
        op->activation_destroy(b, out);
        op->weight_destroy(b, identity);
    }
    op->activation_destroy(b, in);
}

/* In pieces whose ends fall anywhere. */
static void *save(backend *b, const weight *w)
{
    uint64_t bytes = b->operations->weight_bytes(w);
    uint8_t *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(data);
    for (uint64_t first = 0; first < bytes; first += 1000)
        b->operations->weight_save(b, w, first, bytes - first < 1000 ? bytes - first : 1000,
                                   data + first);
    return data;
}

static void compare(const struct tensor_source *sources, uint32_t count, bool is_gated)
{
    for (uint32_t i = 0; i < backend_count; i++) {
        backend *saver = backends[i], *user = backends[(i + 1) % backend_count];
        weight *w, *fresh, *restored;
        const struct backend_operations *op = saver->operations;
        assert_int_equal(is_gated ? op->weight_create_gated(saver, &sources[0], &sources[1], &w)
                                  : op->weight_create(saver, sources, count, &w),
                         STATUS_OK);
        void *data = save(saver, w);
        struct weight_image image = {sources, count, is_gated, data, op->weight_bytes(w)};
        op->weight_destroy(saver, w);
        op = user->operations;
        assert_int_equal(is_gated ? op->weight_create_gated(user, &sources[0], &sources[1], &fresh)
                                  : op->weight_create(user, sources, count, &fresh),
                         STATUS_OK);
        assert_int_equal(op->weight_restore(user, &image, &restored), STATUS_OK);
        assert_int_equal(op->weight_bytes(restored), op->weight_bytes(fresh));
        float expected[N_ROWS * 3 * N_OUTPUTS], got[N_ROWS * 3 * N_OUTPUTS];
        memset(expected, 0, sizeof expected);
        memset(got, 0, sizeof got);
        run(user, fresh, is_gated, expected);
        run(user, restored, is_gated, got);
        assert_memory_equal(got, expected, sizeof got);
        op->weight_destroy(user, restored);
        op->weight_destroy(user, fresh);
        free(data);
    }
}

static void a_restored_weight_computes_what_a_fresh_one_does(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        struct tensor_source source = random_tensor(types[i], N_OUTPUTS, N_COLS, &random);
        compare(&source, 1, false);
        tensor_free(&source);
    }
}

static void stacked_and_gated_weights_are_restored(void **state)
{
    (void)state;
    uint64_t random = 2;
    struct tensor_source sources[3] = {random_tensor(TENSOR_Q4_1, N_OUTPUTS, N_COLS, &random),
                                       random_tensor(TENSOR_Q4_1, N_OUTPUTS, N_COLS, &random),
                                       random_tensor(TENSOR_Q6_K, N_OUTPUTS, N_COLS, &random)};
    compare(sources, 3, false);
    compare(sources, 2, true);
    for (size_t i = 0; i < 3; i++)
        tensor_free(&sources[i]);
}

static void an_image_of_another_length_is_refused(void **state)
{
    (void)state;
    uint64_t random = 3;
    struct tensor_source source = random_tensor(TENSOR_Q4_1, N_OUTPUTS, N_COLS, &random);
    for (uint32_t i = 0; i < backend_count; i++) {
        backend *b = backends[i];
        weight *w, *restored = NULL;
        assert_int_equal(b->operations->weight_create(b, &source, 1, &w), STATUS_OK);
        void *data = save(b, w);
        struct weight_image image = {&source, 1, false, data, b->operations->weight_bytes(w)};
        image.bytes--;
        assert_int_equal(b->operations->weight_restore(b, &image, &restored), STATUS_INVALID);
        image.bytes += 2;
        assert_int_equal(b->operations->weight_restore(b, &image, &restored), STATUS_INVALID);
        struct tensor_source larger = source;
        larger.n_outputs += 16;
        image.sources = &larger;
        image.bytes--;
        assert_int_equal(b->operations->weight_restore(b, &image, &restored), STATUS_INVALID);
        assert_null(restored);
        b->operations->weight_destroy(b, w);
        free(data);
    }
    tensor_free(&source);
}

static void all_paths_have_one_layout(void **state)
{
    (void)state;
    uint64_t first = 0, again;
    for (uint32_t i = 0; i < backend_count; i++) {
        assert_string_equal(backends[i]->operations->layout_name, "cpu");
        assert_int_equal(backends[i]->operations->layout_checksum(backends[i], &again), STATUS_OK);
        assert_int_not_equal(again, 0);
        if (i == 0)
            first = again;
        assert_int_equal(again, first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_weight_computes_what_a_fresh_one_does),
        cmocka_unit_test(stacked_and_gated_weights_are_restored),
        cmocka_unit_test(an_image_of_another_length_is_refused),
        cmocka_unit_test(all_paths_have_one_layout),
    };
    return cmocka_run_group_tests(tests, open_backends, close_backends);
}
