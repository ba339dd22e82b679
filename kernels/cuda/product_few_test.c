/* Products of few rows, of every type, over shapes that fit nothing, against the definition of the file's formats and sums in
 * double. The activation is given in the very form that a product reads, so that only its own arithmetic is left to differ. */
#include "product_testing.h"

static struct device_rig rig;

/* y on the device, from `first`. */
static float *run_product(const struct weight_view *w, const struct activation_view *a,
                          uint32_t n_rows, const float *bias, const float *first)
{
    size_t bytes = (size_t)n_rows * w->n_outputs * sizeof(float);
    struct product_args args = {.w = *w,
                                .a = *a,
                                .n_rows = n_rows,
                                .bias = bias,
                                .accumulate = first != NULL,
                                .y = first != NULL ? device_rig_put(&rig, first, bytes)
                                                   : device_rig_room(&rig, bytes)};
    product_few_launch(rig.stream, &args);
    float *y = malloc(bytes);
    device_rig_get(&rig, y, args.y, bytes);
    return y;
}

/* Stacked sources, with a bias and onto what is there or without both. */
static void check_product(struct tensor_source *sources, uint32_t count, uint32_t n_rows,
                          bool is_plain, uint64_t *seed)
{
    struct weight_view w = weight_put(&rig, sources, count, false);
    struct host_rows rows = host_rows_create(n_rows, w.n_cols, seed);
    struct activation_view a = host_rows_put(&rig, &rows, 0, n_rows, weight_view_reads(&w));
    float *bias = random_floats(w.n_outputs, seed);
    float *first = random_floats((size_t)n_rows * w.n_outputs, seed);
    float *y = run_product(
        &w, &a, n_rows, is_plain ? NULL : device_rig_put(&rig, bias, w.n_outputs * sizeof(float)),
        is_plain ? NULL : first);
    for (uint32_t i = 0, base = 0; i < count; base += sources[i++].n_outputs)
        for (uint32_t o = 0; o < sources[i].n_outputs; o++)
            for (uint32_t r = 0; r < n_rows; r++) {
                size_t at = (size_t)r * w.n_outputs + base + o;
                struct expected e = product_expected(&sources[i], o, &rows, r);
                if (!is_plain)
                    e.value += (double)bias[base + o] + (double)first[at];
                if (!(fabs((double)y[at] - e.value) <= e.tolerance + 2e-7 * fabs(e.value) + 4e-7))
                    fail_msg("%s, %u columns, output %u, row %u of %u: %g, not %g (within %g)",
                             tensor_type_name(sources[i].type), w.n_cols, o, r, n_rows,
                             (double)y[at], e.value, e.tolerance);
            }
    free(bias);
    free(first);
    free(y);
    host_rows_free(&rows);
    for (uint32_t i = 0; i < count; i++)
        tensor_free(&sources[i]);
    device_rig_clear(&rig);
}

static void products_of_every_type_are_those_of_the_formats(void **state)
{
    (void)state;
    static const uint32_t outputs[] = {1, 17, 40};
    static const uint32_t row_counts[] = {1, 3, 8};
    uint64_t seed = 1;
    for (size_t i = 0; i < ARRAY_COUNT(product_types); i++)
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t n_cols = product_least_cols(product_types[i]);
            n_cols *= n_cols == 256 ? 1 + k / 2 : n_cols == 32 ? 1 + 4 * k : 32 * (1 + 4 * k);
            struct tensor_source source =
                random_tensor(product_types[i], outputs[k], n_cols, &seed);
            check_product(&source, 1, row_counts[k], k == 0, &seed);
        }
}

/* Types of one element a block have rows that end anywhere. */
static void any_number_of_columns_will_do(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_F8_E4M3};
    static const uint32_t columns[] = {1, 7, 33, 40, 200};
    uint64_t seed = 2;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        for (size_t k = 0; k < ARRAY_COUNT(columns); k++) {
            struct tensor_source source = random_tensor(types[i], 18, columns[k], &seed);
            check_product(&source, 1, 2, true, &seed);
        }
}

static void sources_of_different_types_are_stacked(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct tensor_source sources[] = {
        random_tensor(TENSOR_Q4_K, 20, 512, &seed), random_tensor(TENSOR_Q4_1, 7, 512, &seed),
        random_tensor(TENSOR_Q6_K, 19, 512, &seed), random_tensor(TENSOR_BF16, 3, 512, &seed),
        random_tensor(TENSOR_F8_E4M3, 30, 512, &seed)};
    check_product(sources, 5, 5, false, &seed);
}

/* More rows than one pass has, the last pass with one. */
static void many_rows_take_several_passes(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct tensor_source source = random_tensor(TENSOR_Q8_0, 21, 96, &seed);
    check_product(&source, 1, 17, false, &seed);
    source = random_tensor(TENSOR_F32, 8, 40, &seed);
    check_product(&source, 1, 9, true, &seed);
}

/* Weights of many outputs and few columns, whose bands share a block: two, four and eight to one. */
static void wide_weights_are_split_less(void **state)
{
    (void)state;
    static const uint32_t outputs[] = {256 * 16, 512 * 16 - 5, 1024 * 16};
    uint64_t seed = 5;
    for (size_t i = 0; i < ARRAY_COUNT(outputs); i++) {
        struct tensor_source source = random_tensor(TENSOR_Q4_0, outputs[i], 64, &seed);
        check_product(&source, 1, 1, true, &seed);
    }
}

static void a_row_alone_gives_the_bits_it_gives_among_others(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (size_t i = 0; i < ARRAY_COUNT(product_types); i++) {
        struct tensor_source source = random_tensor(product_types[i], 19, 768, &seed);
        struct weight_view w = weight_put(&rig, &source, 1, false);
        struct host_rows rows = host_rows_create(8, 768, &seed);
        struct activation_view a = host_rows_put(&rig, &rows, 0, 8, weight_view_reads(&w));
        float *all = run_product(&w, &a, 8, NULL, NULL);
        for (uint32_t r = 0; r < 8; r += 7) {
            a = host_rows_put(&rig, &rows, r, 1, weight_view_reads(&w));
            float *one = run_product(&w, &a, 1, NULL, NULL);
            assert_memory_equal(one, all + (size_t)19 * r, 19 * sizeof(float));
            free(one);
        }
        free(all);
        host_rows_free(&rows);
        tensor_free(&source);
        device_rig_clear(&rig);
    }
}

int main(void)
{
    device_rig_open(&rig);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_every_type_are_those_of_the_formats),
        cmocka_unit_test(any_number_of_columns_will_do),
        cmocka_unit_test(sources_of_different_types_are_stacked),
        cmocka_unit_test(many_rows_take_several_passes),
        cmocka_unit_test(wide_weights_are_split_less),
        cmocka_unit_test(a_row_alone_gives_the_bits_it_gives_among_others),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_rig_close(&rig);
    return failed;
}
