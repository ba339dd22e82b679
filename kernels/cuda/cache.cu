/* Rotation and append, and whole pages copied.
 *
 * A warp turns one head of one row: lane l holds elements l, 32 + l, 64 + l, ... so that loads and stores are whole lines,
 * butterflies of the Walsh-Hadamard transform shorter than 32 are shuffles and longer ones are between a lane's own
 * registers. The partner of an element under RoPE, which may be any lane's, is read from memory a second time (from L1)
 * rather than exchanged; queries are written back after all lanes have read.
 *
 * Whole models call this once a layer with n_rows x heads vectors of at most 1 KiB: it is bound by the latency of one read and
 * one write, not by their bytes, so what counts is that all warps have their loads on the way at once. */

#include "cache.h"

#include "device.h"

#define APPEND_WARPS  8u
#define COPY_THREADS  256u
#define PAGE_PARTS    4u /* keys, values, key scales, value scales */
#define TWO_OVER_PI   0.63661977236758134308
#define HALF_PI       1.57079632679489655800
#define HALF_PI_REST  6.12323399573676603587e-17 /* of the double before it to pi / 2 */
#define INT8_CODE_MAX 127.0f

struct rotation {
    float cosine, sine;
};

/* Of position * frequency, the quarter turns removed in double (positions times a frequency of 1 have all of a float's
 * digits before the point), the rest, at most pi / 4, by the first terms of its series: off by less than 2^-24. */
K_DEVICE rotation rotation_of(uint32_t position, float frequency)
{
    double angle = (double)position * (double)frequency;
    double quarters = rint(angle * TWO_OVER_PI);
    float x = (float)fma(-quarters, HALF_PI_REST, fma(-quarters, HALF_PI, angle));
    float z = x * x;
    float sine =
        x +
        x * z * (-1.6666667e-1f + z * (8.3333333e-3f + z * (-1.9841270e-4f + z * 2.7557319e-6f)));
    float cosine =
        1.0f + z * (-0.5f + z * (4.1666667e-2f +
                                 z * (-1.3888889e-3f + z * (2.4801587e-5f - z * 2.7557319e-7f))));
    uint32_t quarter = (uint32_t)((uint64_t)quarters & 3);
    float even = quarter % 2 == 0 ? cosine : sine, odd = quarter % 2 == 0 ? sine : cosine;
    return {quarter == 1 || quarter == 2 ? -even : even, quarter >= 2 ? -odd : odd};
}

/* Norm, where there is a gain, and RoPE of the head at `from`, of d elements, into this lane's elements. */
template <uint32_t SLOTS>
K_DEVICE void turn_head(const rope_append_args &a, const float *gain, uint32_t position,
                        const float *from, float (&x)[SLOTS])
{
    uint32_t d = a.kv.d_head, pairs = a.d_rope / 2;
    float inverse = 1.0f;
    if (gain != nullptr) {
        float squares = 0;
        K_UNROLL
        for (uint32_t k = 0; k < SLOTS; k++)
            squares += x[k] * x[k];
        inverse = 1.0f / sqrtf(k_warp_sum(squares) / (float)d + a.gain_epsilon);
    }
    K_UNROLL
    for (uint32_t k = 0; k < SLOTS; k++) {
        uint32_t i = 32 * k + k_lane();
        if (i >= d)
            continue;
        if (gain != nullptr)
            x[k] *= inverse * gain[i];
        if (i >= a.d_rope)
            continue;
        bool is_second = a.is_interleaved ? i % 2 == 1 : i >= pairs;
        uint32_t distance = a.is_interleaved ? 1 : pairs;
        uint32_t partner = is_second ? i - distance : i + distance;
        uint32_t pair = a.is_interleaved ? i / 2 : i % pairs;
        float y = from[partner];
        if (gain != nullptr)
            y *= inverse * gain[partner];
        rotation r = rotation_of(position, a.frequencies[pair]);
        float turned = x[k] * r.cosine + (is_second ? y : -y) * r.sine;
        x[k] = turned * a.magnitude;
    }
}

/* The Walsh-Hadamard transform of each group of `size` elements, a power of two that divides d. */
template <uint32_t SLOTS> K_DEVICE void turn_hadamard(uint32_t size, float (&x)[SLOTS])
{
    for (uint32_t bit = 1; bit < size && bit < 32; bit *= 2) {
        K_UNROLL
        for (uint32_t k = 0; k < SLOTS; k++) {
            float other = k_shfl_xor(x[k], bit);
            x[k] = (k_lane() & bit) != 0 ? other - x[k] : x[k] + other;
        }
    }
    K_UNROLL
    for (uint32_t step = 1; step < SLOTS; step *= 2) {
        K_UNROLL
        for (uint32_t k = 0; k + step < SLOTS; k++) {
            if (32 * step >= size || (k & step) != 0)
                continue;
            float low = x[k], high = x[k + step];
            x[k] = low + high;
            x[k + step] = low - high;
        }
    }
    float factor = 1.0f / sqrtf((float)size);
    K_UNROLL
    for (uint32_t k = 0; k < SLOTS; k++)
        x[k] *= factor;
}

/* Stores a vector of d elements as vector `at` of a layer's keys or values. */
template <uint32_t SLOTS>
K_DEVICE void vector_store(const kv_layer &kv, const float (&x)[SLOTS], uint64_t at, void *vectors,
                           float *scales)
{
    float highest = 0, factor = 0;
    if (kv.type == KV_INT8) {
        K_UNROLL
        for (uint32_t k = 0; k < SLOTS; k++)
            highest = fmaxf(highest, fabsf(x[k]));
        highest = k_warp_max(highest);
        factor = highest > KV_INT8_LEAST ? INT8_CODE_MAX / highest : 0.0f;
        if (k_lane() == 0)
            scales[at] = highest / INT8_CODE_MAX;
    }
    K_UNROLL
    for (uint32_t k = 0; k < SLOTS; k++) {
        uint32_t i = 32 * k + k_lane();
        uint64_t place = at * kv.d_head + i;
        if (i >= kv.d_head)
            continue;
        if (kv.type == KV_F16)
            static_cast<uint16_t *>(vectors)[place] = k_float_to_f16(x[k]);
        else if (kv.type == KV_FP8)
            static_cast<uint8_t *>(vectors)[place] = k_float_to_e4m3(x[k]);
        else
            static_cast<int8_t *>(vectors)[place] = (int8_t)rintf(x[k] * factor);
    }
}

/* Vector of a row's position, of head 0 of its page: heads are KV_BLOCK_TOKENS apart. */
K_DEVICE uint64_t vector_place(const step_state &state, uint32_t row, uint32_t n_kv_heads)
{
    uint32_t position = state.row_position[row];
    const uint32_t *table =
        state.block_tables + (uint64_t)state.row_sequence[row] * state.block_table_stride;
    return (uint64_t)table[position / KV_BLOCK_TOKENS] * n_kv_heads * KV_BLOCK_TOKENS +
           position % KV_BLOCK_TOKENS;
}

template <uint32_t SLOTS> K_KERNEL_BOUNDS(APPEND_WARPS * 32, 4) void rope_append(rope_append_args a)
{
    k_wait_previous();
    k_release_next();
    uint32_t row = k_block_x(), head = k_block_y() * APPEND_WARPS + k_warp();
    uint32_t d = a.kv.d_head, n_kv_heads = a.kv.n_kv_heads, heads = a.n_heads + 2 * n_kv_heads;
    if (head >= heads)
        return;
    float *from = a.qkv + ((uint64_t)row * heads + head) * d;
    float x[SLOTS];
    K_UNROLL
    for (uint32_t k = 0; k < SLOTS; k++)
        x[k] = 32 * k + k_lane() < d ? from[32 * k + k_lane()] : 0.0f;
    bool is_query = head < a.n_heads, is_value = head >= a.n_heads + n_kv_heads;
    if (!is_value) {
        turn_head(a, is_query ? a.query_gain : a.key_gain, a.state.row_position[row], from, x);
        if (a.kv.type == KV_INT8)
            turn_hadamard(d & (~d + 1), x);
    }
    if (!is_query) {
        uint32_t kv_head = (head - a.n_heads) % n_kv_heads;
        uint64_t at = vector_place(a.state, row, n_kv_heads) + (uint64_t)kv_head * KV_BLOCK_TOKENS;
        vector_store(a.kv, x, at, is_value ? a.kv.values : a.kv.keys,
                     is_value ? a.kv.value_scales : a.kv.key_scales);
        return;
    }
    k_sync_warp(); /* all lanes have read their partners */
    K_UNROLL
    for (uint32_t k = 0; k < SLOTS; k++)
        if (32 * k + k_lane() < d)
            from[32 * k + k_lane()] = x[k];
}

void rope_append_launch(device_stream *stream, const struct rope_append_args *args)
{
    uint32_t heads = args->n_heads + 2 * args->kv.n_kv_heads;
    k_grid grid(args->n_rows, (heads + APPEND_WARPS - 1) / APPEND_WARPS);
    if (args->kv.d_head <= 64)
        K_LAUNCH(stream, (rope_append<2>), grid, APPEND_WARPS * 32, 0, *args);
    else if (args->kv.d_head <= 128)
        K_LAUNCH(stream, (rope_append<4>), grid, APPEND_WARPS * 32, 0, *args);
    else
        K_LAUNCH(stream, (rope_append<ROPE_HEAD_MAX / 32>), grid, APPEND_WARPS * 32, 0, *args);
}

/* The parts of a page in one layer: where they are in the cache, and in an image of the layer. */
struct page_sizes {
    uint64_t vectors, scales; /* bytes of the keys, and of their scales */
    uint32_t layers;
};

struct page_part {
    uint8_t *first; /* page 0 */
    uint64_t bytes;
    uint64_t image_at;
};

K_DEVICE page_part page_part_of(const kv_pages &pages, const page_sizes &sizes, uint32_t layer,
                                uint32_t part)
{
    bool is_scale = part >= 2, is_value = part % 2 == 1;
    void *vectors = is_value ? pages.first.values : pages.first.keys;
    void *scales = is_value ? pages.first.value_scales : pages.first.key_scales;
    uint64_t at = is_scale ? 2 * sizes.vectors + (part - 2) * sizes.scales : part * sizes.vectors;
    return {static_cast<uint8_t *>(is_scale ? scales : vectors) +
                layer * (is_scale ? pages.scale_layer_bytes : pages.layer_bytes),
            is_scale ? sizes.scales : sizes.vectors,
            2 * (sizes.vectors + sizes.scales) * layer + at};
}

K_DEVICE void copy_bytes(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    for (uint64_t at = 16 * k_thread(); at < bytes; at += 16 * k_threads())
        k_store16(to + at, k_load16(from + at));
}

/* Blocks: x pairs of pages, y layers, z parts. */
K_KERNEL void pages_copy(kv_pages pages, page_sizes sizes, const uint32_t *from, const uint32_t *to)
{
    k_wait_previous();
    k_release_next();
    page_part part = page_part_of(pages, sizes, k_block_y(), k_block_z());
    copy_bytes(part.first + to[k_block_x()] * part.bytes,
               part.first + from[k_block_x()] * part.bytes, part.bytes);
}

K_KERNEL void pages_move(kv_pages pages, page_sizes sizes, const uint32_t *numbers, uint8_t *images,
                         bool is_save)
{
    k_wait_previous();
    k_release_next();
    page_part part = page_part_of(pages, sizes, k_block_y(), k_block_z());
    uint64_t image_bytes = 2 * (sizes.vectors + sizes.scales) * sizes.layers;
    uint8_t *image = images + k_block_x() * image_bytes + part.image_at;
    uint8_t *page = part.first + numbers[k_block_x()] * part.bytes;
    copy_bytes(is_save ? image : page, is_save ? page : image, part.bytes);
}

static page_sizes page_sizes_of(const struct kv_shape *shape)
{
    return {kv_page_bytes(shape), kv_page_scale_bytes(shape), shape->n_layers};
}

static k_grid page_grid(const struct kv_shape *shape, uint32_t count)
{
    return k_grid(count, shape->n_layers, shape->type == KV_INT8 ? PAGE_PARTS : 2);
}

void kv_copy_pages_launch(device_stream *stream, const struct kv_pages *pages, const uint32_t *from,
                          const uint32_t *to, uint32_t count)
{
    K_LAUNCH(stream, pages_copy, page_grid(&pages->shape, count), COPY_THREADS, 0, *pages,
             page_sizes_of(&pages->shape), from, to);
}

void kv_save_pages_launch(device_stream *stream, const struct kv_pages *pages,
                          const uint32_t *numbers, uint32_t count, void *images)
{
    K_LAUNCH(stream, pages_move, page_grid(&pages->shape, count), COPY_THREADS, 0, *pages,
             page_sizes_of(&pages->shape), numbers, static_cast<uint8_t *>(images), true);
}

void kv_load_pages_launch(device_stream *stream, const struct kv_pages *pages,
                          const uint32_t *numbers, uint32_t count, const void *images)
{
    K_LAUNCH(stream, pages_move, page_grid(&pages->shape, count), COPY_THREADS, 0, *pages,
             page_sizes_of(&pages->shape), numbers,
             static_cast<uint8_t *>(const_cast<void *>(images)), false);
}
