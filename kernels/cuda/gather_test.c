/* Rows of tables, whole matrices of 16-bit elements, and low-rank changes. */
#include "product_testing.h"

static struct device_rig rig;

/* An element may be off by what the rounding of a k type's scales makes of it. */
static double element_tolerance(const struct tensor_source *source, const float *row)
{
    double row_max = 0;
    for (uint32_t c = 0; c < source->n_cols; c++)
        row_max = fmax(row_max, fabs((double)row[c]));
    bool is_k = source->type == TENSOR_Q4_K || source->type == TENSOR_Q5_K;
    return row_max * (is_k ? 4 * 0x1p-12 : source->type == TENSOR_Q6_K ? 0x1p-11 : 0x1p-22);
}

#define EMBED_ROWS 6u

/* x + scale * the rows that these tokens ask for: known ones, two that the device alone knows, and two of nobody. */
static void check_embedding(const struct tensor_source *sources, uint32_t count, bool accumulate,
                            uint64_t *seed)
{
    uint32_t n_outputs = 0, n_cols = sources[0].n_cols;
    for (uint32_t i = 0; i < count; i++)
        n_outputs += sources[i].n_outputs;
    const int32_t sampled[2] = {1, (int32_t)n_outputs - 1};
    const int32_t tokens[EMBED_ROWS] = {
        0, -2, (int32_t)n_outputs / 2, -1, (int32_t)n_outputs, INT32_MAX};
    const int32_t asked[EMBED_ROWS] = {0, sampled[1], tokens[2], sampled[0], -1, -1};
    size_t bytes = (size_t)EMBED_ROWS * n_cols * sizeof(float);
    float *first = random_floats((size_t)EMBED_ROWS * n_cols, seed), *x = malloc(bytes);
    float *row = malloc(n_cols * sizeof *row);
    struct embed_args args = {.table = weight_put(&rig, sources, count, false),
                              .tokens = device_rig_put(&rig, tokens, sizeof tokens),
                              .sampled = device_rig_put(&rig, sampled, sizeof sampled),
                              .n_rows = EMBED_ROWS,
                              .scale = 3.5f,
                              .accumulate = accumulate,
                              .x = accumulate ? device_rig_put(&rig, first, bytes)
                                              : device_rig_room(&rig, bytes)};
    embed_launch(rig.stream, &args);
    device_rig_get(&rig, x, args.x, bytes);
    for (uint32_t r = 0; r < EMBED_ROWS; r++) {
        double tolerance = 0;
        memset(row, 0, n_cols * sizeof *row);
        if (asked[r] >= 0) {
            const struct tensor_source *source = sources;
            uint32_t own = (uint32_t)asked[r];
            for (; own >= source->n_outputs; source++)
                own -= source->n_outputs;
            tensor_dequantise(source, own, 0, n_cols, row);
            tolerance = 3.5 * element_tolerance(source, row);
        }
        for (uint32_t c = 0; c < n_cols; c++) {
            size_t at = (size_t)r * n_cols + c;
            double expected = 3.5 * (double)row[c] + (accumulate ? (double)first[at] : 0);
            if (!(fabs((double)x[at] - expected) <= tolerance + (accumulate ? 1e-7 : 0)))
                fail_msg("%s, row %u, column %u: %g, not %g", tensor_type_name(sources[0].type), r,
                         c, (double)x[at], expected);
        }
    }
    free(first);
    free(x);
    free(row);
    device_rig_clear(&rig);
}

static void rows_of_every_type_are_gathered(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < ARRAY_COUNT(product_types); i++) {
        uint32_t least = product_least_cols(product_types[i]);
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t n_cols = least == 1 ? 5 + 94 * k : least * (1 + 4 * k);
            struct tensor_source source = random_tensor(product_types[i], 35, n_cols, &seed);
            check_embedding(&source, 1, k == 1, &seed);
            tensor_free(&source);
        }
    }
}

static void a_table_may_have_parts(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct tensor_source sources[] = {random_tensor(TENSOR_Q8_0, 17, 64, &seed),
                                      random_tensor(TENSOR_F16, 3, 64, &seed),
                                      random_tensor(TENSOR_Q4_1, 20, 64, &seed)};
    check_embedding(sources, 3, false, &seed);
    check_embedding(sources, 3, true, &seed);
    for (uint32_t i = 0; i < 3; i++)
        tensor_free(&sources[i]);
}

/* Without the device's own tokens, all are known; what is not in the table is zeros. */
static void tokens_that_are_not_there_give_zeros(void **state)
{
    (void)state;
    uint64_t seed = 3;
    const int32_t tokens[] = {-1, 4, 3};
    struct tensor_source source = random_tensor(TENSOR_F32, 4, 8, &seed);
    struct embed_args args = {.table = weight_put(&rig, &source, 1, false),
                              .tokens = device_rig_put(&rig, tokens, sizeof tokens),
                              .n_rows = 3,
                              .scale = 1,
                              .x = device_rig_room(&rig, 24 * sizeof(float))};
    float x[24];
    embed_launch(rig.stream, &args);
    device_rig_get(&rig, x, args.x, sizeof x);
    for (uint32_t i = 0; i < 16; i++)
        assert_true(x[i] == 0);
    assert_memory_equal(x + 16, (const float *)source.data + 24, 8 * sizeof(float));
    tensor_free(&source);
    device_rig_clear(&rig);
}

static double element_of(uint16_t bits, bool is_f16)
{
    return (double)(is_f16 ? f16_to_f32(bits) : bf16_to_f32(bits));
}

/* Outputs [first, first + count) of one source as 16-bit elements, with rows that are `stride` apart. */
static void check_dequantised(const struct tensor_source *source, uint32_t first, uint32_t count,
                              uint32_t stride, bool is_f16)
{
    struct weight_view w = weight_put(&rig, source, 1, false);
    size_t bytes = (size_t)count * stride * sizeof(uint16_t);
    struct dequantise_args args = {.part = w.parts[0],
                                   .first_output = first,
                                   .n_outputs = count,
                                   .is_f16 = is_f16,
                                   .out = device_rig_room(&rig, bytes),
                                   .out_stride = stride};
    dequantise_launch(rig.stream, &args);
    uint16_t *out = malloc(bytes);
    float *row = malloc(source->n_cols * sizeof *row);
    device_rig_get(&rig, out, args.out, bytes);
    for (uint32_t o = 0; o < count; o++) {
        tensor_dequantise(source, first + o, 0, source->n_cols, row);
        double tolerance = element_tolerance(source, row);
        for (uint32_t c = 0; c < stride; c++) {
            double expected = c < source->n_cols ? (double)row[c] : 0;
            double actual = element_of(out[(size_t)o * stride + c], is_f16);
            double rounding = fabs(expected) * (is_f16 ? 0x1p-11 : 0x1p-8) + (is_f16 ? 0x1p-25 : 0);
            if (!(fabs(actual - expected) <= rounding + tolerance))
                fail_msg("%s, output %u, column %u: %g, not %g", tensor_type_name(source->type),
                         first + o, c, actual, expected);
        }
    }
    free(out);
    free(row);
    device_rig_clear(&rig);
}

static void coded_weights_become_16_bit_matrices(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (size_t i = 0; i < ARRAY_COUNT(product_types); i++) {
        enum tensor_type type = product_types[i];
        if (tensor_type_is_float(type) && type != TENSOR_F8_E4M3)
            continue;
        uint32_t least = product_least_cols(type), n_cols = least == 256 ? 768 : 608;
        struct tensor_source source = random_tensor(type, 45, n_cols, &seed);
        check_dequantised(&source, 0, 45, n_cols, false);
        check_dequantised(&source, 16, 20, n_cols, true);
        check_dequantised(&source, 32, 13, (n_cols + 63) / 64 * 64, true);
        tensor_free(&source);
    }
    struct tensor_source odd = random_tensor(TENSOR_F8_E4M3, 17, 77, &seed);
    check_dequantised(&odd, 0, 17, 80, false);
    tensor_free(&odd);
}

/* --- low rank --- */

struct low_rank_case {
    struct weight_reads reads;
    enum tensor_type type; /* as which the rows are read */
};

enum {
    LOW_ROWS = 5,
    LOW_USED = 4,
    LOW_COLS = 96,
    LOW_OUTPUTS = 140,
    LOW_WIDTH = 300,
    LOW_FIRST = 21
};
enum { LOW_CHANGES = LOW_RANK_CHANGES_MAX + 2, LOW_RANK_MOST = 6 };

/* Row 1 has none; row 2 has one that changes nothing here; the last two are in another launch than the first. */
static const uint32_t low_rows[LOW_USED] = {4, 0, 3, 2},
                      low_numbers[LOW_USED] = {1, LOW_CHANGES - 1, 1, 2};

/* What change `number` adds to row r's output o. */
static double low_rank_sum(const struct low_rank *change, const struct host_rows *rows,
                           enum tensor_type type, uint32_t r, uint32_t o)
{
    double sum = 0;
    for (uint32_t k = 0; k < change->rank; k++) {
        double inner = 0;
        for (uint32_t i = 0; i < LOW_COLS; i++)
            inner += (double)change->down[k * LOW_COLS + i] * host_rows_value(rows, type, r, i);
        sum += inner * (double)change->up[k * LOW_OUTPUTS + o];
    }
    return sum;
}

/* In launches of LOW_RANK_CHANGES_MAX changes, as the backend makes them. */
static void launch_low_rank(const struct low_rank *changes, struct low_rank_args *args)
{
    for (uint32_t first = 0; first < LOW_CHANGES; first += LOW_RANK_CHANGES_MAX) {
        uint32_t left = LOW_CHANGES - first;
        args->first_change = first;
        args->changes.count = left < LOW_RANK_CHANGES_MAX ? left : LOW_RANK_CHANGES_MAX;
        for (uint32_t i = 0; i < args->changes.count; i++) {
            struct low_rank change = changes[first + i];
            if (change.rank > 0) {
                change.down =
                    device_rig_put(&rig, change.down, sizeof(float) * change.rank * LOW_COLS);
                change.up =
                    device_rig_put(&rig, change.up, sizeof(float) * change.rank * LOW_OUTPUTS);
            }
            args->changes.items[i] = change;
        }
        low_rank_launch(rig.stream, args);
    }
}

static void check_low_rank(const struct low_rank_case *c, uint64_t *seed)
{
    struct host_rows rows = host_rows_create(LOW_ROWS, LOW_COLS, seed);
    struct low_rank changes[LOW_CHANGES] = {{.rank = 0}};
    float *floats[4];
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t rank = LOW_RANK_MOST - 2 * i;
        floats[2 * i] = random_floats((size_t)rank * LOW_COLS, seed);
        floats[2 * i + 1] = random_floats((size_t)rank * LOW_OUTPUTS, seed);
        changes[i == 0 ? 1 : LOW_CHANGES - 1] =
            (struct low_rank){floats[2 * i], floats[2 * i + 1], rank, LOW_COLS, LOW_OUTPUTS};
    }
    float *y = random_floats((size_t)LOW_ROWS * LOW_WIDTH, seed),
          *actual = malloc(sizeof(float) * LOW_ROWS * LOW_WIDTH);
    struct low_rank_args args = {
        .rank_max = LOW_RANK_MOST,
        .rows = {device_rig_put(&rig, low_rows, sizeof low_rows),
                 device_rig_put(&rig, low_numbers, sizeof low_numbers), LOW_USED},
        .a = host_rows_put(&rig, &rows, 0, LOW_ROWS, c->reads),
        .scratch = device_rig_room(&rig, sizeof(float) * LOW_USED * LOW_RANK_MOST),
        .first_output = LOW_FIRST,
        .y_width = LOW_WIDTH,
        .y = device_rig_put(&rig, y, sizeof(float) * LOW_ROWS * LOW_WIDTH)};
    launch_low_rank(changes, &args);
    device_rig_get(&rig, actual, args.y, sizeof(float) * LOW_ROWS * LOW_WIDTH);
    for (uint32_t r = 0; r < LOW_ROWS; r++)
        for (uint32_t o = 0; o < LOW_WIDTH; o++) {
            size_t at = (size_t)r * LOW_WIDTH + o;
            const struct low_rank *change = &changes[0];
            for (uint32_t i = 0; i < LOW_USED; i++)
                if (low_rows[i] == r)
                    change = &changes[low_numbers[i]];
            if (change->rank == 0 || o < LOW_FIRST || o >= LOW_FIRST + LOW_OUTPUTS)
                assert_memory_equal(&actual[at], &y[at], sizeof(float));
            else
                assert_true(fabs((double)actual[at] -
                                 ((double)y[at] +
                                  low_rank_sum(change, &rows, c->type, r, o - LOW_FIRST))) < 1e-4);
        }
    for (int i = 0; i < 4; i++)
        free(floats[i]);
    free(y);
    free(actual);
    host_rows_free(&rows);
    device_rig_clear(&rig);
}

static void low_rank_changes_read_the_best_form_there_is(void **state)
{
    (void)state;
    static const struct low_rank_case cases[] = {
        {{.f32 = true, .bf16 = true, .codes = true}, TENSOR_F32},
        {{.f16 = true, .codes = true}, TENSOR_F16},
        {{.bf16 = true, .codes = true}, TENSOR_BF16},
        {{.codes = true}, TENSOR_Q4_0}};
    uint64_t seed = 5;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check_low_rank(&cases[i], &seed);
}

int main(void)
{
    device_rig_open(&rig);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_every_type_are_gathered),
        cmocka_unit_test(a_table_may_have_parts),
        cmocka_unit_test(tokens_that_are_not_there_give_zeros),
        cmocka_unit_test(coded_weights_become_16_bit_matrices),
        cmocka_unit_test(low_rank_changes_read_the_best_form_there_is),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_rig_close(&rig);
    return failed;
}
