/* Attention on the device against the reference, over its own cache.
 *
 * Steps mix decoding, drafts and prompts; pages lie in a scrambled order, and every byte of the cache that no position
 * of the step's sequences has is a NaN (of an f16, or of a scale; e4m3's is read as 480, which would show as well).
 *
 * Tolerance: queries and shares of the softmax are f16 here and double there. With these inputs (scores within 4, values below
 * 2) a score is off by about 2^-12 of 4 and a share by as much; outputs are means of values. Keys and values of the step's own
 * rows may be a unit of the cache's type off where a rotation in f32 ends just beside a tie. */

#include "attention_testing.h"

#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "kernel_testing.h"
#include "reference/reference_private.h"
#ifndef PENSTOCK_TESTS_ON_GPU
#include "emulator/emulator.h"
#endif

static const double tolerance = 4e-3; /* measured: 0.0013 */

/* Type, key heads, group, d_head, d_rope, window, cap, interleaved, gains, sinks. */
static const struct head_case head_cases[] = {
    {KV_F16, 2, 3, 64, 64, 0, 0, true, false, false},
    {KV_INT8, 2, 3, 64, 64, 0, 0, true, false, true},
    {KV_FP8, 1, 8, 64, 64, 128, 0, false, false, true},
    {KV_F16, 1, 4, 128, 128, 0, 0, false, true, false},
    {KV_INT8, 1, 4, 128, 128, 0, 0, false, true, false},
    {KV_FP8, 1, 1, 128, 64, 0, 20, false, false, false},
    {KV_F16, 2, 1, 80, 32, 0, 0, false, false, true},
    {KV_INT8, 2, 1, 80, 80, 100, 0, false, false, false},
    {KV_F16, 1, 30, 32, 32, 0, 0, true, true, false},
    {KV_F16, 1, 3, 256, 256, 200, 5, false, false, false},
    {KV_F16, 1, 2, 96, 96, 0, 0, false, false, false},
    {KV_INT8, 1, 2, 112, 112, 0, 0, false, false, false},
    {KV_FP8, 1, 1, 192, 192, 0, 0, false, false, false},
    {KV_INT8, 1, 1, 256, 256, 0, 0, false, false, false},
};

/* First decoding, drafts and prompts of hostile lengths; then what is short. */
static const uint32_t lengths[PAIR_SEQUENCES_MAX] = {1, 15, 16, 17, 31, 33, 257, 600, 150};
static const struct step_part mixed_parts[] = {{0, 0, 1},     {1, 0, 15},    {2, 15, 16},
                                               {3, 14, 17},   {4, 0, 31},    {5, 25, 33},
                                               {6, 248, 257}, {7, 599, 600}, {8, 80, 150}};
static const struct page_order scrambled = {.multiplier = 59, .offset = 7, .dead = 0xff};

static void seed_set(uint64_t seed)
{
#ifndef PENSTOCK_TESTS_ON_GPU
    emulator_seed_set(seed);
#else
    (void)seed;
#endif
}

/* INFINITY where there is a NaN. */
static double largest_error(const float *expected, const float *actual, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)expected[i] - (double)actual[i]);
        if (isnan(error))
            return INFINITY;
        largest = fmax(largest, error);
    }
    return largest;
}

static void assert_case(struct device_rig *rig, const struct head_case *c,
                        const struct step_part *parts, uint32_t count)
{
    struct attention_pair pair;
    attention_pair_open(&pair, c, lengths, ARRAY_COUNT(lengths));
    struct device_step step;
    device_step_make(&pair, rig, parts, count, &scrambled, 768, 0, &step);
    float *expected = attention_pair_expected(&pair, parts, count);
    float *actual = device_step_run(rig, &step);
    double error = largest_error(expected, actual, (size_t)step.n_rows * step.attention.out.n_cols);
    if (getenv("PENSTOCK_TEST_VERBOSE") != NULL)
        print_message("%s, %u x %u heads of %u: %.5f\n", kv_type_name(c->type), c->n_kv_heads,
                      c->group, c->d_head, error);
    if (!(error <= tolerance))
        fail_msg("%s, %u x %u heads of %u: off by %f", kv_type_name(c->type), c->n_kv_heads,
                 c->group, c->d_head, error);
    free(expected);
    free(actual);
    device_rig_clear(rig);
    attention_pair_close(&pair);
}

static void steps_agree_with_the_reference(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(head_cases); i++) {
        seed_set(i + 1);
        assert_case(*state, &head_cases[i], mixed_parts, ARRAY_COUNT(mixed_parts));
    }
}

/* Eight rows leave each of them one chunk, which is then as long as the sequence; five of 257 positions two lengths of
 * a chunk; one sequence has no row in the step. */
static void drafts_of_long_sequences_agree_with_the_reference(void **state)
{
    static const struct step_part parts[] = {{7, 592, 600}, {6, 252, 257}, {4, 31, 31},
                                             {5, 30, 33},   {0, 0, 1},     {8, 148, 150}};
    seed_set(21);
    assert_case(*state, &head_cases[0], parts, ARRAY_COUNT(parts));
    assert_case(*state, &head_cases[2], parts, ARRAY_COUNT(parts));
}

/* Runs a step; the caller's. */
static float *run_step(struct device_rig *rig, struct attention_pair *pair,
                       const struct step_part *parts, uint32_t count,
                       const struct page_order *order, uint32_t padding)
{
    struct device_step step;
    device_step_make(pair, rig, parts, count, order, 768, padding, &step);
    float *rows = device_step_run(rig, &step);
    device_rig_clear(rig);
    return rows;
}

/* Rows of `parts` among all[...]: equal to the last bit. */
static void assert_same_rows(const struct attention_pair *pair, const struct step_part *part,
                             const float *alone, const struct step_part *parts, uint32_t count,
                             const float *rows)
{
    size_t width = (size_t)pair->shape.n_heads * pair->c.d_head;
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = (part->end - part->first) * width * sizeof(float);
        if (parts[i].sequence == part->sequence)
            assert_memory_equal(alone, rows, bytes);
        rows += (parts[i].end - parts[i].first) * width;
    }
}

static void a_row_is_the_same_alone_and_in_a_batch(void **state)
{
    static const size_t cases[] = {0, 1, 2, 6, 9};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct attention_pair pair;
        attention_pair_open(&pair, &head_cases[cases[i]], lengths, ARRAY_COUNT(lengths));
        uint32_t count = ARRAY_COUNT(mixed_parts);
        float *all = run_step(*state, &pair, mixed_parts, count, &scrambled, 0);
        for (uint32_t s = 4; s < count; s++) {
            seed_set(100 + s);
            float *alone = run_step(*state, &pair, &mixed_parts[s], 1, &plain_order, 0);
            assert_same_rows(&pair, &mixed_parts[s], alone, mixed_parts, count, all);
            free(alone);
        }
        free(all);
        attention_pair_close(&pair);
    }
}

/* Nothing turns the keys here, so that the device's own and those that the reference filled in are the same bits. */
static void where_a_prompt_is_cut_changes_no_row(void **state)
{
    static const struct head_case cases[] = {
        {KV_F16, 1, 3, 64, 0, 0, 0, false, false, true},
        {KV_FP8, 1, 2, 80, 0, 70, 0, false, false, false},
    };
    static const struct step_part whole = {6, 0, 257};
    static const struct step_part rests[] = {{6, 9, 257}, {6, 64, 257}, {6, 200, 257}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct attention_pair pair;
        attention_pair_open(&pair, &cases[i], lengths, ARRAY_COUNT(lengths));
        size_t width = (size_t)pair.shape.n_heads * pair.c.d_head;
        float *all = run_step(*state, &pair, &whole, 1, &scrambled, 0);
        for (size_t r = 0; r < ARRAY_COUNT(rests); r++) {
            float *rest = run_step(*state, &pair, &rests[r], 1, &scrambled, 0);
            assert_memory_equal(rest, all + rests[r].first * width,
                                (257 - rests[r].first) * width * sizeof(float));
            free(rest);
        }
        free(all);
        attention_pair_close(&pair);
    }
}

/* The orders of pages, what lies in those that nobody has, and numbers beyond 2^31. */
static void where_pages_lie_and_what_is_dead_changes_nothing(void **state)
{
    static const struct page_order orders[] = {
        {1, 0, 0, 0x00},
        {215, 31, 0, 0x55},
        {59, 7, (UINT64_C(1) << 31) - PAIR_PAGES / 2, 0xff},
        {59, 7, UINT32_MAX - PAIR_PAGES, 0xff},
    };
    static const struct step_part parts[] = {{6, 256, 257}, {8, 80, 150}, {3, 15, 17}};
    static const size_t cases[] = {0, 1, 2};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct attention_pair pair;
        attention_pair_open(&pair, &head_cases[cases[i]], lengths, ARRAY_COUNT(lengths));
        float *plain = run_step(*state, &pair, parts, ARRAY_COUNT(parts), &plain_order, 0);
        size_t bytes = (size_t)step_row_count(parts, ARRAY_COUNT(parts)) * pair.shape.n_heads *
                       pair.c.d_head * sizeof(float);
        for (size_t o = 0; o < ARRAY_COUNT(orders); o++) {
            float *rows = run_step(*state, &pair, parts, ARRAY_COUNT(parts), &orders[o], 0);
            assert_memory_equal(plain, rows, bytes);
            free(rows);
        }
        free(plain);
        attention_pair_close(&pair);
    }
}

static void padding_changes_no_row(void **state)
{
    static const struct step_part parts[] = {{7, 599, 600}, {0, 0, 1}, {5, 32, 33}};
    struct attention_pair pair;
    attention_pair_open(&pair, &head_cases[3], lengths, ARRAY_COUNT(lengths));
    float *plain = run_step(*state, &pair, parts, ARRAY_COUNT(parts), &scrambled, 0);
    float *padded = run_step(*state, &pair, parts, ARRAY_COUNT(parts), &scrambled, 5);
    assert_memory_equal(plain, padded,
                        ARRAY_COUNT(parts) * pair.shape.n_heads * pair.c.d_head * sizeof(float));
    free(plain);
    free(padded);
    attention_pair_close(&pair);
}

/* Heads of 80 share a group of 32 columns of the activation with their neighbours. */
static void all_forms_say_what_the_floats_say(void **state)
{
    static const struct head_case cases[] = {
        {KV_F16, 2, 2, 80, 80, 0, 0, false, false, false},
        {KV_F16, 2, 2, 64, 64, 0, 0, false, false, false},
    };
    struct device_rig *rig = *state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct attention_pair pair;
        attention_pair_open(&pair, &cases[i], lengths, ARRAY_COUNT(lengths));
        struct device_step step;
        device_step_make(&pair, rig, &mixed_parts[5], 4, &scrambled, 768, 0, &step);
        float *rows = device_step_run(rig, &step);
        const struct activation_view *view = &step.attention.out;
        size_t all = (size_t)step.n_rows * view->n_cols;
        uint16_t *f16 = malloc(all * 2), *bf16 = malloc(all * 2);
        int8_t *codes = malloc(all);
        float *scales = malloc(all / ACTIVATION_GROUP * sizeof(float));
        device_rig_get(rig, f16, view->f16, all * 2);
        device_rig_get(rig, bf16, view->bf16, all * 2);
        device_rig_get(rig, codes, view->codes, all);
        device_rig_get(rig, scales, view->scales, all / ACTIVATION_GROUP * sizeof(float));
        for (size_t e = 0; e < all; e++) {
            float scale = scales[e / ACTIVATION_GROUP];
            assert_int_equal(f16[e], f32_to_f16(rows[e]));
            assert_true(fabsf(bf16_to_f32(bf16[e]) - rows[e]) <= fabsf(rows[e]) * 0x1p-8f);
            assert_true(fabsf((float)codes[e] * scale - rows[e]) <= scale * 0.501f);
        }
        free(rows);
        free(f16);
        free(bf16);
        free(codes);
        free(scales);
        device_rig_clear(rig);
        attention_pair_close(&pair);
    }
}

/* --- encoders --- */

static float *full_actual(struct device_rig *rig, const struct attention_shape *shape,
                          const uint32_t *row_start, uint32_t n_sequences, const float *qkv)
{
    uint32_t n_rows = row_start[n_sequences], width = shape->n_heads * shape->d_head;
    uint64_t qkv_bytes =
        (uint64_t)n_rows * (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head * sizeof(float);
    uint64_t scratch =
        attention_full_scratch_bytes(n_rows, n_sequences, shape->n_kv_heads, shape->d_head);
    struct attention_full_args args = {
        .qkv = device_rig_put(rig, qkv, qkv_bytes),
        .n_heads = shape->n_heads,
        .n_kv_heads = shape->n_kv_heads,
        .d_head = shape->d_head,
        .scale = shape->scale,
        .row_start = device_rig_put(rig, row_start, (n_sequences + 1) * sizeof(uint32_t)),
        .n_rows = n_rows,
        .n_sequences = n_sequences,
        .scratch = device_rig_room(rig, scratch),
        .multiprocessors = 2,
        .out = {.n_cols = width, .f32 = device_rig_room(rig, (uint64_t)n_rows * width * 4)}};
    attention_full_launch(rig->stream, &args);
    float *rows = malloc((size_t)n_rows * width * sizeof(float));
    device_rig_get(rig, rows, args.out.f32, (uint64_t)n_rows * width * 4);
    device_rig_clear(rig);
    return rows;
}

static void whole_texts_agree_with_the_reference(void **state)
{
    static const struct attention_shape shapes[] = {
        {.n_heads = 2, .n_kv_heads = 2, .d_head = 32, .scale = 0.2f},
        {.n_heads = 3, .n_kv_heads = 1, .d_head = 64, .scale = 0.125f},
        {.n_heads = 4, .n_kv_heads = 2, .d_head = 80, .scale = 0.1f},
    };
    static const uint32_t starts[] = {0, 1, 16, 16, 32, 49, 80, 113, 250};
    uint32_t n_sequences = ARRAY_COUNT(starts) - 1, n_rows = starts[n_sequences];
    backend *reference = backend_open_or_die(BACKEND_REFERENCE, 1);
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        const struct attention_shape *shape = &shapes[i];
        uint32_t width = shape->n_heads * shape->d_head;
        size_t all = (size_t)n_rows * (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
        uint64_t seed = i;
        float *qkv = malloc(all * sizeof(float));
        for (size_t e = 0; e < all; e++)
            qkv[e] = 2 * random_float(&seed);
        activation out = {.n_cols = width,
                          .rows_max = n_rows,
                          .values = malloc((size_t)n_rows * width * sizeof(float))};
        reference->operations->attention_full(reference, qkv, shape, starts, n_sequences, NULL,
                                              &out);
        float *actual = full_actual(*state, shape, starts, n_sequences, qkv);
        assert_true(largest_error(out.values, actual, (size_t)n_rows * width) <= tolerance);
        free(qkv);
        free(actual);
        free(out.values);
    }
    backend_close(reference);
}

static void heads_without_a_kernel_are_told(void **state)
{
    (void)state;
    assert_true(attention_supports(64) && attention_supports(128) && attention_supports(256));
    assert_false(attention_supports(0) || attention_supports(48) || attention_supports(512));
}

int main(void)
{
    static struct device_rig rig;
    device_rig_open(&rig);
    device_stream_set_overlap(rig.stream, true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(steps_agree_with_the_reference, &rig),
        cmocka_unit_test_prestate(drafts_of_long_sequences_agree_with_the_reference, &rig),
        cmocka_unit_test_prestate(a_row_is_the_same_alone_and_in_a_batch, &rig),
        cmocka_unit_test_prestate(where_a_prompt_is_cut_changes_no_row, &rig),
        cmocka_unit_test_prestate(where_pages_lie_and_what_is_dead_changes_nothing, &rig),
        cmocka_unit_test_prestate(padding_changes_no_row, &rig),
        cmocka_unit_test_prestate(all_forms_say_what_the_floats_say, &rig),
        cmocka_unit_test_prestate(whole_texts_agree_with_the_reference, &rig),
        cmocka_unit_test(heads_without_a_kernel_are_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_rig_close(&rig);
    return failed;
}
