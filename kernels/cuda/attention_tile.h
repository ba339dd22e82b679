#ifndef PENSTOCK_CUDA_ATTENTION_TILE_H
#define PENSTOCK_CUDA_ATTENTION_TILE_H

#include "attention.h"
#include "device.h"

/* What the attention kernels share: a warp's rows of queries against a run of keys and values in shared memory, on tensor
 * cores (mma m16n8k16 of f16, sums in f32), with the running softmax of Milakov and Gimelshein 2018 as Dao 2023
 * (FlashAttention-2) uses it.
 *
 * Rows are "packed": row r of a sequence's packed rows is query head r % group of its row r / group, so that the heads which
 * share keys share them here too, and a few rows of a step fill a tile of 16. A lane has rows g and g + 8 of each 16
 * (g = lane / 4), and of each 8 keys the two from 2 t on (t = lane % 4).
 *
 * Shared memory: rows of keys, values (in the cache's own bytes) and queries (f16) are an odd number of 16-byte units apart.
 * Eight rows' units of one column then lie in eight different groups of four banks, which is what ldmatrix reads at once:
 * no conflicts, for any head size, and without a swizzle.
 *
 * Codes of 8 bits become f16 in registers. ldmatrix moves 16-bit units, so a lane gets, of a run of 16 elements, four
 * consecutive ones of a key (or, transposed, two of each of two keys), and elements 0 and 2, 1 and 3 of each four go to
 * where an f16 tile has neighbours. For scores the order of elements is free, as long as queries have the same one
 * (query_place); for outputs it says which columns a lane holds (output_column). int8 codes are exact in f16 and their
 * scales are multiplied in f32; e4m3 is f16 but for the exponent's bias: 2^-8 of the value, made good in the scale. */

#define LOG2_E 1.4426950408889634f

/* Where the bytes of heads of D elements lie. */
template <uint32_t D, kv_type T> struct head_layout {
    static constexpr uint32_t bytes = T == KV_F16 ? 2 * D : D; /* of a key in the cache */
    static constexpr uint32_t units = bytes / 16;
    static constexpr uint32_t stride = (units | 1) * 16;            /* of keys, in shared memory */
    static constexpr uint32_t query_stride = (2 * D / 16 | 1) * 16; /* of queries */
    static constexpr uint32_t run = T == KV_F16 ? 16 : 32;          /* elements an ldmatrix takes */
    static constexpr float unit = T == KV_FP8 ? 256.0f : 1.0f;      /* of a value in a register */
    /* int8: shares are multiplied with 128 times the value's scale, which is about the value's largest magnitude, so that
     * their f16 has as many digits as with a cache of f16. */
    static constexpr float output_unit = T == KV_INT8 ? 1.0f / 128.0f : unit;
};

/* How scores become exponents of two. */
struct score_rule {
    float factor;    /* of q k: scale * log2(e); with a cap scale / cap */
    float cap;       /* 0, or the cap * log2(e) */
    uint32_t window; /* 0: all */
};

static inline score_rule score_rule_of(float scale, float soft_cap, uint32_t window)
{
    bool has_cap = soft_cap > 0;
    return {has_cap ? scale / soft_cap : scale * LOG2_E, has_cap ? soft_cap * LOG2_E : 0.0f,
            window};
}

/* The first position that a row at `position` sees. */
K_DEVICE uint32_t first_visible(uint32_t position, uint32_t window)
{
    return window != 0 && position >= window ? position - window + 1 : 0;
}

/* --- 8-bit elements of a register as two halves: those of bytes 0 and 2, and of bytes 1 and 3 --- */

/* 0x6400 + u is 1024 + u as f16; u is the code + 128. */
K_DEVICE uint32_t widen_int8(uint32_t bytes)
{
    return k_sub_f16x2((bytes ^ 0x00800080u) | 0x64006400u, 0x64806480u);
}

template <kv_type T> K_DEVICE uint32_t widen_even(uint32_t bytes)
{
    if (T == KV_INT8)
        return widen_int8(bytes & 0x00ff00ffu);
    return (bytes << 8 & 0x80008000u) | (bytes << 7 & 0x3f803f80u);
}

template <kv_type T> K_DEVICE uint32_t widen_odd(uint32_t bytes)
{
    if (T == KV_INT8)
        return widen_int8(bytes >> 8 & 0x00ff00ffu);
    return (bytes & 0x80008000u) | (bytes >> 1 & 0x3f803f80u);
}

/* --- queries --- */

/* Elements [4 quad, 4 quad + 4) of a query into its row of shared memory. */
template <uint32_t D, kv_type T>
K_DEVICE void query_put(k_sptr<uint8_t> row, uint32_t quad, const float (&x)[4])
{
    if (T == KV_F16) {
        k_sptr<uint32_t> to = k_sptr_cast<uint32_t>(row + 8 * quad);
        to[0] = k_pack_f16(x[0], x[1]);
        to[1] = k_pack_f16(x[2], x[3]);
    } else {
        k_sptr<uint32_t> to = k_sptr_cast<uint32_t>(row + quad / 4 * 32 + quad % 4 * 4);
        to[0] = k_pack_f16(x[0], x[2]);
        to[4] = k_pack_f16(x[1], x[3]);
    }
}

/* Packed rows [first, first + count) of a sequence whose own rows begin at row `row` of the step, as queries; rows from `end`
 * on are zeros. All threads of the block call it. */
template <uint32_t D, kv_type T>
K_DEVICE void queries_load(k_sptr<uint8_t> queries, const float *heads, uint64_t row_width,
                           uint32_t group, uint32_t first, uint32_t count, uint32_t end)
{
    for (uint32_t i = k_thread(); i < count * (D / 4); i += k_threads()) {
        uint32_t row = i / (D / 4), quad = i % (D / 4), packed = first + row;
        float x[4] = {0, 0, 0, 0};
        if (packed < end) {
            k_u4 raw = k_load16(heads + packed / group * row_width + packed % group * D + 4 * quad);
            memcpy(x, &raw, sizeof x);
        }
        query_put<D, T>(queries + row * head_layout<D, T>::query_stride, quad, x);
    }
}

/* --- tiles --- */

/* s[m][j] = the products of rows [16 m, 16 m + 16) of the queries with keys [8 j, 8 j + 8). */
template <uint32_t D, kv_type T, uint32_t KEYS, uint32_t M>
K_DEVICE void tile_scores(k_sptr<uint8_t> queries, k_sptr<uint8_t> keys, float (&s)[M][KEYS / 8][4])
{
    using layout = head_layout<D, T>;
    constexpr uint32_t halves = layout::run / 16;
    uint32_t lane = k_lane(), matrix = lane / 8;
    k_sptr<uint8_t> query_row = queries + (lane % 16) * layout::query_stride + lane / 16 * 16;
    uint32_t key = lane % 8 + (T == KV_F16 ? matrix / 2 : matrix % 2) * 8;
    uint32_t unit = T == KV_F16 ? matrix % 2 : matrix / 2;
    K_UNROLL
    for (uint32_t m = 0; m < M; m++)
        K_UNROLL
    for (uint32_t j = 0; j < KEYS / 8; j++)
        s[m][j][0] = s[m][j][1] = s[m][j][2] = s[m][j][3] = 0;
    K_UNROLL
    for (uint32_t d = 0; d < D; d += layout::run) {
        constexpr uint32_t rest = D % layout::run; /* 16, where the last run is half a one */
        bool is_half = rest != 0 && d + layout::run > D;
        uint32_t q[M][halves][4];
        K_UNROLL
        for (uint32_t m = 0; m < M; m++)
            K_UNROLL
        for (uint32_t h = 0; h < halves; h++)
            if (h == 0 || !is_half)
                k_ldmatrix4(q[m][h], query_row + 16 * m * layout::query_stride + 2 * (d + 16 * h));
        k_sptr<uint8_t> from =
            keys + key * layout::stride + d * (T == KV_F16 ? 2 : 1) + (is_half ? 0 : unit * 16);
        K_UNROLL
        for (uint32_t j = 0; j < KEYS; j += 16) {
            uint32_t raw[4];
            k_ldmatrix4(raw, from + j * layout::stride);
            K_UNROLL
            for (uint32_t h = 0; h < halves; h++) {
                if (h != 0 && is_half)
                    continue;
                K_UNROLL
                for (uint32_t k = 0; k < 2; k++) {
                    uint32_t b[2] = {T == KV_F16 ? raw[2 * k] : widen_even<T>(raw[2 * h + k]),
                                     T == KV_F16 ? raw[2 * k + 1] : widen_odd<T>(raw[2 * h + k])};
                    K_UNROLL
                    for (uint32_t m = 0; m < M; m++)
                        k_mma_f16(s[m][j / 8 + k], q[m][h], b);
                }
            }
        }
    }
}

/* o[m] += the shares p of rows [16 m, 16 m + 16) times the values. */
template <uint32_t D, kv_type T, uint32_t KEYS, uint32_t M>
K_DEVICE void tile_outputs(const uint32_t (&p)[M][KEYS / 16][4], k_sptr<uint8_t> values,
                           float (&o)[M][D / 8][4])
{
    using layout = head_layout<D, T>;
    constexpr uint32_t halves = layout::run / 16;
    uint32_t lane = k_lane(), matrix = lane / 8;
    uint32_t key = lane % 8 + matrix % 2 * 8;
    K_UNROLL
    for (uint32_t j = 0; j < KEYS; j += 16) {
        K_UNROLL
        for (uint32_t d = 0; d < D; d += layout::run) {
            constexpr uint32_t rest = D % layout::run;
            bool is_half = rest != 0 && d + layout::run > D;
            uint32_t raw[4];
            k_ldmatrix4_trans(raw, values + (j + key) * layout::stride + d * (T == KV_F16 ? 2 : 1) +
                                       (is_half ? 0 : matrix / 2 * 16));
            K_UNROLL
            for (uint32_t h = 0; h < halves; h++) {
                if (h != 0 && is_half)
                    continue;
                K_UNROLL
                for (uint32_t k = 0; k < 2; k++) {
                    uint32_t b[2];
                    K_UNROLL
                    for (uint32_t i = 0; i < 2; i++)
                        b[i] = T == KV_F16 ? raw[2 * k + i]
                               : k == 0    ? widen_even<T>(raw[2 * h + i])
                                           : widen_odd<T>(raw[2 * h + i]);
                    K_UNROLL
                    for (uint32_t m = 0; m < M; m++)
                        k_mma_f16(o[m][d / 8 + 2 * h + k], p[m][j / 16], b);
                }
            }
        }
    }
}

/* The column of o[m][tile][c]. */
template <kv_type T> K_DEVICE uint32_t output_column(uint32_t tile, uint32_t c)
{
    uint32_t t = k_lane() % 4;
    if (T == KV_F16)
        return 8 * tile + 2 * t + c % 2;
    return tile / 2 * 16 + 4 * t + 2 * (c % 2) + tile % 2;
}

/* --- the running softmax --- */

/* Of M * 16 rows: what a lane knows of its rows. `sum` is of the lane's own keys alone until rows_close. */
template <uint32_t D, uint32_t M> struct row_sums {
    float o[M][D / 8][4];
    float highest[M][2]; /* -infinity: nothing seen yet */
    float sum[M][2];
};

template <uint32_t D, uint32_t M> K_DEVICE void rows_open(row_sums<D, M> &r)
{
    K_UNROLL
    for (uint32_t m = 0; m < M; m++) {
        K_UNROLL
        for (uint32_t j = 0; j < D / 8; j++)
            r.o[m][j][0] = r.o[m][j][1] = r.o[m][j][2] = r.o[m][j][3] = 0;
        r.highest[m][0] = r.highest[m][1] = -INFINITY;
        r.sum[m][0] = r.sum[m][1] = 0;
    }
}

/* tanh by what tells it from 1: 1 - 2 / (e^2x + 1). */
K_DEVICE float fast_tanh(float x)
{
    return 1.0f - k_divide(2.0f, k_exp2(2.0f * LOG2_E * x) + 1.0f);
}

/* Products become exponents: scales, cap, and -infinity for what a row does not see. key_scales: of these keys (int8).
 * first: the position of the first key. Without is_cut every row sees every key. */
template <kv_type T, uint32_t KEYS, uint32_t M>
K_DEVICE void scores_finish(float (&s)[M][KEYS / 8][4], const score_rule &rule,
                            k_sptr<float> key_scales, uint32_t first,
                            const uint32_t (&position)[M][2], bool is_cut)
{
    uint32_t t = k_lane() % 4;
    K_UNROLL
    for (uint32_t j = 0; j < KEYS / 8; j++) {
        K_UNROLL
        for (uint32_t c = 0; c < 4; c++) {
            uint32_t key = 8 * j + 2 * t + c % 2, at = first + key;
            float factor = rule.factor * (T == KV_FP8 ? 256.0f : 1.0f);
            if (T == KV_INT8) {
                float scale = key_scales[key];
                factor *= scale;
            }
            K_UNROLL
            for (uint32_t m = 0; m < M; m++) {
                float x = s[m][j][c] * factor;
                if (rule.cap > 0)
                    x = rule.cap * fast_tanh(x);
                uint32_t own = position[m][c / 2];
                bool is_seen = at <= own && at >= first_visible(own, rule.window);
                s[m][j][c] = is_cut && !is_seen ? -INFINITY : x;
            }
        }
    }
}

/* Takes exponents into the sums; gives the shares, relative to each row's highest so far, as a tile's left factor. */
template <uint32_t D, kv_type T, uint32_t KEYS, uint32_t M>
K_DEVICE void rows_take(row_sums<D, M> &r, float (&s)[M][KEYS / 8][4], k_sptr<float> value_scales,
                        uint32_t (&p)[M][KEYS / 16][4])
{
    uint32_t t = k_lane() % 4;
    float factor[M][2];
    bool is_raised = false;
    K_UNROLL
    for (uint32_t i = 0; i < 2 * M; i++) {
        uint32_t m = i / 2, h = i % 2;
        float highest = r.highest[m][h];
        K_UNROLL
        for (uint32_t j = 0; j < KEYS / 8; j++)
            highest = fmaxf(highest, fmaxf(s[m][j][2 * h], s[m][j][2 * h + 1]));
        highest = fmaxf(highest, k_shfl_xor(highest, 1));
        highest = fmaxf(highest, k_shfl_xor(highest, 2));
        is_raised = is_raised || highest > r.highest[m][h];
        float base = highest > -INFINITY ? highest : 0.0f;
        factor[m][h] = k_exp2(r.highest[m][h] - base);
        r.highest[m][h] = highest;
        float sum = 0;
        K_UNROLL
        for (uint32_t j = 0; j < KEYS / 8; j++) {
            K_UNROLL
            for (uint32_t c = 2 * h; c < 2 * h + 2; c++) {
                s[m][j][c] = k_exp2(s[m][j][c] - base);
                sum += s[m][j][c];
            }
        }
        r.sum[m][h] = r.sum[m][h] * factor[m][h] + sum;
    }
    if (T == KV_INT8) {
        K_UNROLL
        for (uint32_t j = 0; j < KEYS / 8; j++) {
            K_UNROLL
            for (uint32_t c = 0; c < 4; c++) {
                float scale = value_scales[8 * j + 2 * t + c % 2];
                K_UNROLL
                for (uint32_t m = 0; m < M; m++) /* what is not seen may have any scale */
                    s[m][j][c] = s[m][j][c] > 0 ? s[m][j][c] * (scale * 128.0f) : 0.0f;
            }
        }
    }
    K_UNROLL
    for (uint32_t m = 0; m < M; m++) {
        K_UNROLL
        for (uint32_t j = 0; j < KEYS / 8; j++) {
            p[m][j / 2][j % 2 * 2] = k_pack_f16(s[m][j][0], s[m][j][1]);
            p[m][j / 2][j % 2 * 2 + 1] = k_pack_f16(s[m][j][2], s[m][j][3]);
        }
    }
    if (!k_any(is_raised)) /* all factors are 1 */
        return;
    K_UNROLL
    for (uint32_t m = 0; m < M; m++)
        K_UNROLL
    for (uint32_t j = 0; j < D / 8; j++)
        K_UNROLL
    for (uint32_t c = 0; c < 4; c++)
        r.o[m][j][c] *= factor[m][c / 2];
}

/* The sums of all lanes of a row. */
template <uint32_t D, uint32_t M> K_DEVICE void rows_close(row_sums<D, M> &r)
{
    K_UNROLL
    for (uint32_t i = 0; i < 2 * M; i++) {
        float &sum = r.sum[i / 2][i % 2];
        sum += k_shfl_xor(sum, 1);
        sum += k_shfl_xor(sum, 2);
    }
}

/* KEYS keys and values, from position `first` on, into the sums of M * 16 rows. */
template <uint32_t D, kv_type T, uint32_t KEYS, uint32_t M>
K_DEVICE void tile_attend(row_sums<D, M> &r, k_sptr<uint8_t> queries, k_sptr<uint8_t> keys,
                          k_sptr<uint8_t> values, k_sptr<float> key_scales,
                          k_sptr<float> value_scales, const score_rule &rule, uint32_t first,
                          const uint32_t (&position)[M][2], bool is_cut)
{
    float s[M][KEYS / 8][4];
    uint32_t p[M][KEYS / 16][4];
    tile_scores<D, T, KEYS, M>(queries, keys, s);
    scores_finish<T, KEYS, M>(s, rule, key_scales, first, position, is_cut);
    rows_take<D, T, KEYS, M>(r, s, value_scales, p);
    tile_outputs<D, T, KEYS, M>(p, values, r.o);
}

#endif
