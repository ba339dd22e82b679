/* What a step appends to the device's cache, and pages copied, against the reference.
 *
 * Values are stored as they are: equal to the last bit. Keys are rotated in f32 here and in double there, so that a stored
 * element may be one unit of its type off where it ends just beside a tie. */

#include "attention_testing.h"

#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "kernel_testing.h"

/* Type, key heads, group, d_head, d_rope, window, cap, interleaved, gains, sinks. */
static const struct head_case head_cases[] = {
    {KV_F16, 2, 3, 64, 64, 0, 0, true, false, false},
    {KV_INT8, 2, 3, 64, 64, 0, 0, true, false, false},
    {KV_FP8, 2, 1, 64, 32, 0, 0, false, false, false},
    {KV_F16, 1, 4, 128, 128, 0, 0, false, true, false},
    {KV_INT8, 3, 1, 128, 64, 0, 0, true, true, false},
    {KV_INT8, 1, 2, 80, 80, 0, 0, false, true, false},
    {KV_FP8, 1, 1, 112, 112, 0, 0, false, false, false},
    {KV_INT8, 1, 1, 192, 192, 0, 0, false, false, false},
    {KV_INT8, 1, 1, 256, 256, 0, 0, true, true, false},
    {KV_F16, 1, 30, 32, 32, 0, 0, true, true, false},
};
static const uint32_t lengths[] = {1, 15, 17, 33, 257};
static const struct step_part parts[] = {
    {0, 0, 1}, {1, 0, 15}, {2, 15, 17}, {3, 32, 33}, {4, 240, 257}};
static const struct page_order scrambled = {
    .multiplier = 59, .offset = 7, .base = (UINT64_C(1) << 31) - 100, .dead = 0xff};

static float element(enum kv_type type, const uint8_t *vector, uint32_t i)
{
    if (type == KV_F16)
        return load_f16(vector + 2 * i);
    return type == KV_FP8 ? f8_e4m3_to_f32(vector[i]) : (float)(int8_t)vector[i];
}

/* The distance of neighbours of x in a type. */
static float unit_of(enum kv_type type, float x)
{
    if (type == KV_INT8)
        return 1;
    int exponent;
    frexpf(fmaxf(fabsf(x), 0x1p-6f), &exponent);
    return ldexpf(1, exponent - (type == KV_F16 ? 11 : 4));
}

static void assert_vector(const struct attention_pair *p, const uint8_t *expected,
                          const uint8_t *actual, size_t bytes, bool is_value)
{
    if (is_value) {
        assert_memory_equal(expected, actual, bytes);
        return;
    }
    uint32_t differing = 0, d = p->c.d_head;
    for (uint32_t i = 0; i < d; i++) {
        float x = element(p->c.type, expected, i), y = element(p->c.type, actual, i);
        assert_true(fabsf(x - y) <= unit_of(p->c.type, x) * 1.001f);
        differing += x != y;
    }
    assert_true(differing <= 3);
    if (p->c.type == KV_INT8) {
        float x, y;
        memcpy(&x, expected + d, sizeof x);
        memcpy(&y, actual + d, sizeof y);
        assert_true(fabsf(x - y) <= x * 1e-5f);
    }
}

static void steps_append_what_the_reference_appends(void **state)
{
    struct device_rig *rig = *state;
    for (size_t i = 0; i < ARRAY_COUNT(head_cases); i++) {
        struct attention_pair p;
        struct device_step step;
        attention_pair_open(&p, &head_cases[i], lengths, ARRAY_COUNT(lengths));
        device_step_make(&p, rig, parts, ARRAY_COUNT(parts), &scrambled, 768, 0, &step);
        rope_append_launch(rig->stream, &step.append);
        for (uint32_t s = 0; s < ARRAY_COUNT(parts); s++) {
            for (uint32_t at = parts[s].first; at < parts[s].end; at++) {
                uint32_t sequence = parts[s].sequence, head = at % p.c.n_kv_heads;
                uint8_t vector[1024];
                for (int is_value = 0; is_value < 2; is_value++) {
                    size_t bytes = device_vector_read(&p, rig, &step, &scrambled, is_value,
                                                      sequence, at, head, vector);
                    assert_vector(&p, reference_vector_at(&p, is_value, sequence, at, head), vector,
                                  bytes, is_value);
                }
            }
        }
        device_rig_clear(rig);
        attention_pair_close(&p);
    }
}

/* A query at a far position, of which the reference knows in double. */
static void far_positions_turn_by_the_right_angle(void **state)
{
    static const uint32_t positions[] = {0, 1, 4095, 131071, 1000003};
    struct device_rig *rig = *state;
    enum { D = 64, ROWS = ARRAY_COUNT(positions) };
    float frequencies[D / 2], qkv[ROWS][3][D], turned[ROWS][3][D];
    uint32_t sequence[ROWS] = {0}, *table = calloc(1000003 / KV_BLOCK_TOKENS + 1, sizeof *table);
    uint64_t seed = 3;
    for (uint32_t i = 0; i < D / 2; i++)
        frequencies[i] = (float)pow(500000.0, -2.0 * i / D);
    for (uint32_t i = 0; i < ROWS * 3 * D; i++)
        (&qkv[0][0][0])[i] = random_float(&seed);
    uint64_t table_bytes = (1000003 / KV_BLOCK_TOKENS + 1) * sizeof *table;
    struct rope_append_args args = {
        .qkv = device_rig_put(rig, qkv, sizeof qkv),
        .n_rows = ROWS,
        .n_heads = 1,
        .frequencies = device_rig_put(rig, frequencies, sizeof frequencies),
        .d_rope = D,
        .magnitude = 1,
        .kv = {.type = KV_F16,
               .n_kv_heads = 1,
               .d_head = D,
               .keys = device_rig_room(rig, 2 * D * KV_BLOCK_TOKENS),
               .values = device_rig_room(rig, 2 * D * KV_BLOCK_TOKENS)},
        .state = {.row_position = device_rig_put(rig, positions, sizeof positions),
                  .row_sequence = device_rig_put(rig, sequence, sizeof sequence),
                  .block_tables = device_rig_put(rig, table, table_bytes)}};
    rope_append_launch(rig->stream, &args);
    device_rig_get(rig, turned, args.qkv, sizeof turned);
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t i = 0; i < D / 2; i++) {
            double angle = (double)positions[r] * (double)frequencies[i];
            double x = (double)qkv[r][0][i], y = (double)qkv[r][0][i + D / 2];
            assert_true(fabs((double)turned[r][0][i] - (x * cos(angle) - y * sin(angle))) < 5e-7);
            assert_true(fabs((double)turned[r][0][i + D / 2] - (x * sin(angle) + y * cos(angle))) <
                        5e-7);
        }
    }
    free(table);
    device_rig_clear(rig);
}

/* --- whole pages --- */

#define LAYERS 3u
#define PAGES  7u

struct page_memory {
    struct kv_pages pages;
    uint8_t *vectors[2], *scales[2];    /* host copies: keys, values */
    uint64_t vector_bytes, scale_bytes; /* of all layers */
};

static void page_memory_make(struct device_rig *rig, enum kv_type type, struct page_memory *m)
{
    uint64_t seed = 11;
    *m = (struct page_memory){.pages.shape = {LAYERS, 2, 64, PAGES - 1, type}};
    struct kv_pages *pages = &m->pages;
    pages->layer_bytes = kv_page_bytes(&pages->shape) * PAGES;
    pages->scale_layer_bytes = kv_page_scale_bytes(&pages->shape) * PAGES;
    m->vector_bytes = pages->layer_bytes * LAYERS;
    m->scale_bytes = pages->scale_layer_bytes * LAYERS;
    for (int i = 0; i < 2; i++) {
        m->vectors[i] = malloc(m->vector_bytes);
        m->scales[i] = malloc(m->scale_bytes + 1);
        for (uint64_t b = 0; b < m->vector_bytes; b++)
            m->vectors[i][b] = (uint8_t)random_next(&seed);
        for (uint64_t b = 0; b < m->scale_bytes; b++)
            m->scales[i][b] = (uint8_t)random_next(&seed);
    }
    pages->first.type = type;
    pages->first.n_kv_heads = 2;
    pages->first.d_head = 64;
    pages->first.keys = device_rig_put(rig, m->vectors[0], m->vector_bytes);
    pages->first.values = device_rig_put(rig, m->vectors[1], m->vector_bytes);
    if (type != KV_INT8)
        return;
    pages->first.key_scales = device_rig_put(rig, m->scales[0], m->scale_bytes);
    pages->first.value_scales = device_rig_put(rig, m->scales[1], m->scale_bytes);
}

static void page_memory_free(struct page_memory *m)
{
    for (int i = 0; i < 2; i++) {
        free(m->vectors[i]);
        free(m->scales[i]);
    }
}

/* The host's copies with page `to` as `from` is, in all layers. */
static void page_memory_copy(struct page_memory *m, uint32_t from, uint32_t to)
{
    uint64_t bytes = kv_page_bytes(&m->pages.shape), scales = kv_page_scale_bytes(&m->pages.shape);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (int i = 0; i < 2; i++) {
            uint8_t *vectors = m->vectors[i] + layer * bytes * PAGES;
            uint8_t *factors = m->scales[i] + layer * scales * PAGES;
            memcpy(vectors + to * bytes, vectors + from * bytes, bytes);
            memcpy(factors + to * scales, factors + from * scales, scales);
        }
    }
}

static void assert_page_memory(struct device_rig *rig, const struct page_memory *m)
{
    const struct kv_layer *first = &m->pages.first;
    const void *vectors[2] = {first->keys, first->values};
    const void *scales[2] = {first->key_scales, first->value_scales};
    uint8_t *got = malloc(m->vector_bytes + m->scale_bytes);
    for (int i = 0; i < 2; i++) {
        device_rig_get(rig, got, vectors[i], m->vector_bytes);
        assert_memory_equal(got, m->vectors[i], m->vector_bytes);
        if (m->scale_bytes == 0)
            continue;
        device_rig_get(rig, got, scales[i], m->scale_bytes);
        assert_memory_equal(got, m->scales[i], m->scale_bytes);
    }
    free(got);
}

static void copied_pages_hold_all_layers(void **state)
{
    struct device_rig *rig = *state;
    for (enum kv_type type = 0; type < KV_TYPE_COUNT; type++) {
        struct page_memory m;
        uint32_t from[2] = {4, 0}, to[2] = {1, 6};
        page_memory_make(rig, type, &m);
        kv_copy_pages_launch(rig->stream, &m.pages, device_rig_put(rig, from, sizeof from),
                             device_rig_put(rig, to, sizeof to), 2);
        page_memory_copy(&m, 4, 1);
        page_memory_copy(&m, 0, 6);
        assert_page_memory(rig, &m);
        page_memory_free(&m);
        device_rig_clear(rig);
    }
}

/* Images lie in pinned memory of the host, which kernels write to and read from. */
static void saved_pages_come_back_to_any_page(void **state)
{
    struct device_rig *rig = *state;
    for (enum kv_type type = 0; type < KV_TYPE_COUNT; type++) {
        struct page_memory m;
        uint32_t saved[3] = {5, 0, 2}, loaded[2] = {6, 3};
        page_memory_make(rig, type, &m);
        uint64_t bytes = kv_page_image_bytes(&m.pages.shape);
        uint8_t *images = device_allocate_pinned(rig->device, 3 * bytes);
        assert_non_null(images);
        kv_save_pages_launch(rig->stream, &m.pages, device_rig_put(rig, saved, sizeof saved), 3,
                             images);
        kv_load_pages_launch(rig->stream, &m.pages, device_rig_put(rig, loaded, sizeof loaded), 2,
                             images + bytes);
        page_memory_copy(&m, 0, 6);
        page_memory_copy(&m, 2, 3);
        assert_page_memory(rig, &m);
        device_release_pinned(rig->device, images);
        page_memory_free(&m);
        device_rig_clear(rig);
    }
}

int main(void)
{
    static struct device_rig rig;
    device_rig_open(&rig);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(steps_append_what_the_reference_appends, &rig),
        cmocka_unit_test_prestate(far_positions_turn_by_the_right_angle, &rig),
        cmocka_unit_test_prestate(copied_pages_hold_all_layers, &rig),
        cmocka_unit_test_prestate(saved_pages_come_back_to_any_page, &rig),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_rig_close(&rig);
    return failed;
}
