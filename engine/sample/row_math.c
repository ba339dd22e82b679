#include "row_math.h"

#include <math.h>
#include <string.h>

/* GCC's vector extension: gcc and clang lower eight lanes to whatever the target has. Each pass is
 * written once as an always-inline body and compiled twice, for the baseline and for AVX2; without
 * FMA, so that both give the same bits. The types never cross a call that is not inlined, hence the
 * warning about their calling convention is moot. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define LANES 8u
typedef float lanes_f32 __attribute__((vector_size(32)));
typedef int32_t lanes_i32 __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define HAS_AVX2_TWIN 1
#define TARGET_AVX2   __attribute__((target("avx2")))
#else
#define HAS_AVX2_TWIN 0
#endif

INLINE lanes_f32 lanes_load(const float *at)
{
    lanes_f32 lanes;
    memcpy(&lanes, at, sizeof lanes);
    return lanes;
}

INLINE lanes_f32 lanes_of(float value)
{
    return (lanes_f32){value, value, value, value, value, value, value, value};
}

/* yes where the mask is set, no elsewhere. */
#define LANES_SELECT(mask, yes, no)                                                                \
    ((lanes_f32)(((lanes_i32)(yes) & (mask)) | ((lanes_i32)(no) & ~(mask))))

INLINE bool lanes_any(const lanes_i32 *mask)
{
    uint64_t words[4];
    memcpy(words, mask, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) != 0;
}

/* --- maximum --- */

INLINE float max_body(const float *logits, uint32_t count, bool *is_sound)
{
    lanes_f32 best[2] = {lanes_of(-INFINITY), lanes_of(-INFINITY)};
    lanes_i32 bad = {0};
    uint32_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        for (uint32_t j = 0; j < 2; j++) {
            lanes_f32 x = lanes_load(logits + i + j * LANES);
            best[j] = LANES_SELECT(x > best[j], x, best[j]);
            bad |= x != x;
        }
    }
    bool has_nan = lanes_any(&bad);
    float max = -INFINITY;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        max = best[0][lane] > max ? best[0][lane] : max;
        max = best[1][lane] > max ? best[1][lane] : max;
    }
    for (; i < count; i++) {
        max = logits[i] > max ? logits[i] : max;
        has_nan = has_nan || isnan(logits[i]);
    }
    *is_sound = !has_nan;
    return max;
}

/* --- first equal --- */

INLINE uint32_t find_body(const float *logits, uint32_t count, float value)
{
    lanes_f32 wanted = lanes_of(value);
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes_i32 is_equal = lanes_load(logits + i) == wanted;
        if (lanes_any(&is_equal))
            break;
    }
    while (i + 1 < count && logits[i] != value)
        i++;
    return i;
}

/* --- exponentials --- */

#define EXP_LOWEST (-87.0f)

/* exp(x) = 2^n * exp(r) with n = round(x / ln 2); exp(r) by Cephes' polynomial (expf.c, Moshier).
 * Rounding by adding 1.5 * 2^23, after which the low bits of the float are n. */
INLINE lanes_f32 lanes_exp(const lanes_f32 *at)
{
    lanes_f32 x = *at;
    const lanes_f32 magic = lanes_of(12582912.0f);
    lanes_i32 is_small = x < lanes_of(EXP_LOWEST);
    x = LANES_SELECT(is_small, lanes_of(EXP_LOWEST), x);
    lanes_f32 shifted = x * lanes_of(1.44269504088896341f) + magic;
    lanes_f32 n = shifted - magic;
    lanes_f32 r = x - n * lanes_of(0.693359375f);
    r = r - n * lanes_of(-2.12194440e-4f);
    lanes_f32 p = lanes_of(1.9875691500e-4f);
    p = p * r + lanes_of(1.3981999507e-3f);
    p = p * r + lanes_of(8.3334519073e-3f);
    p = p * r + lanes_of(4.1665795894e-2f);
    p = p * r + lanes_of(1.6666665459e-1f);
    p = p * r + lanes_of(5.0000001201e-1f);
    p = p * (r * r) + r + lanes_of(1.0f);
    lanes_i32 power = ((lanes_i32)shifted - (lanes_i32)magic + 127) << 23;
    return LANES_SELECT(is_small, lanes_of(0.0f), p * (lanes_f32)power);
}

INLINE float chunk_exp_sum(const float *logits, uint32_t count, float max, float scale,
                           float threshold)
{
    const lanes_f32 top = lanes_of(max);
    const lanes_f32 factor = lanes_of(scale);
    const lanes_f32 least = lanes_of(threshold);
    lanes_f32 sum = lanes_of(0.0f);
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes_f32 x = lanes_load(logits + i);
        lanes_f32 below = (x - top) * factor;
        lanes_f32 e = lanes_exp(&below);
        sum += LANES_SELECT(x >= least, e, lanes_of(0.0f));
    }
    if (i < count) { /* the rest, padded with what counts nothing */
        float rest[LANES];
        for (uint32_t j = 0; j < LANES; j++)
            rest[j] = i + j < count ? logits[i + j] : -INFINITY;
        lanes_f32 x = lanes_load(rest);
        lanes_f32 below = (x - top) * factor;
        lanes_f32 e = lanes_exp(&below);
        sum += LANES_SELECT(x >= least, e, lanes_of(0.0f));
    }
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

INLINE double exp_sums_body(const float *logits, uint32_t count, float max, float scale,
                            float threshold, float sums[ROW_CHUNKS_MAX])
{
    uint32_t size = row_chunk_size(count);
    double total = 0.0;
    uint32_t chunk = 0;
    for (uint32_t at = 0; at < count; at += size, chunk++) {
        uint32_t n = count - at < size ? count - at : size;
        sums[chunk] = chunk_exp_sum(logits + at, n, max, scale, threshold);
        total += (double)sums[chunk];
    }
    return total;
}

INLINE void exps_body(const float *logits, uint32_t count, float max, float scale, float *exps)
{
    const lanes_f32 top = lanes_of(max);
    const lanes_f32 factor = lanes_of(scale);
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes_f32 below = (lanes_load(logits + i) - top) * factor;
        lanes_f32 e = lanes_exp(&below);
        memcpy(exps + i, &e, sizeof e);
    }
    for (; i < count; i++) {
        lanes_f32 below = lanes_of((logits[i] - max) * scale);
        exps[i] = lanes_exp(&below)[0];
    }
}

/* --- selection --- */

/* Is `a` better than `b`? A total order. */
INLINE bool is_better(struct row_candidate a, struct row_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/* Heap with the worst on top: parent never better than its children. */
static void sift_down(struct row_candidate *heap, uint32_t count, uint32_t at)
{
    struct row_candidate moving = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_better(heap[child], heap[child + 1]))
            child++;
        if (!is_better(moving, heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* Takes logits[i] if it beats the worst of k. Later ones lose ties, for their ids are higher. */
static void offer(struct row_candidate *heap, uint32_t k, const float *logits, uint32_t i)
{
    if (!(logits[i] > heap[0].logit))
        return;
    heap[0] = (struct row_candidate){logits[i], i};
    sift_down(heap, k, 0);
}

INLINE uint32_t select_body(const float *logits, uint32_t count, uint32_t k,
                            struct row_candidate *heap)
{
    k = k < count ? k : count;
    if (k == 0)
        return 0;
    for (uint32_t i = 0; i < k; i++)
        heap[i] = (struct row_candidate){logits[i], i};
    for (uint32_t i = k / 2; i-- > 0;)
        sift_down(heap, k, i);
    /* Most eights hold nothing that beats the worst kept: one comparison passes over them. */
    uint32_t i = k;
    for (; i + LANES <= count; i += LANES) {
        lanes_i32 is_higher = lanes_load(logits + i) > lanes_of(heap[0].logit);
        if (!lanes_any(&is_higher))
            continue;
        for (uint32_t j = 0; j < LANES; j++)
            offer(heap, k, logits, i + j);
    }
    for (; i < count; i++)
        offer(heap, k, logits, i);
    /* Heap sort: the worst goes to the end. */
    for (uint32_t left = k; left > 1; left--) {
        struct row_candidate worst = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = worst;
        sift_down(heap, left - 1, 0);
    }
    while (k > 0 && heap[k - 1].logit == -INFINITY)
        k--;
    return k;
}

/* --- the two builds of each --- */

#if HAS_AVX2_TWIN
TARGET_AVX2 static float max_avx2(const float *logits, uint32_t count, bool *is_sound)
{
    return max_body(logits, count, is_sound);
}

TARGET_AVX2 static uint32_t find_avx2(const float *logits, uint32_t count, float value)
{
    return find_body(logits, count, value);
}

TARGET_AVX2 static double exp_sums_avx2(const float *logits, uint32_t count, float max, float scale,
                                        float threshold, float sums[ROW_CHUNKS_MAX])
{
    return exp_sums_body(logits, count, max, scale, threshold, sums);
}

TARGET_AVX2 static void exps_avx2(const float *logits, uint32_t count, float max, float scale,
                                  float *exps)
{
    exps_body(logits, count, max, scale, exps);
}

TARGET_AVX2 static uint32_t select_avx2(const float *logits, uint32_t count, uint32_t k,
                                        struct row_candidate *candidates)
{
    return select_body(logits, count, k, candidates);
}

#define DISPATCH(pass, ...)                                                                        \
    (__builtin_cpu_supports("avx2") ? pass##_avx2(__VA_ARGS__) : pass##_body(__VA_ARGS__))
#else
#define DISPATCH(pass, ...) pass##_body(__VA_ARGS__)
#endif

float row_max(const float *logits, uint32_t count, bool *is_sound)
{
    return DISPATCH(max, logits, count, is_sound);
}

uint32_t row_find(const float *logits, uint32_t count, float value)
{
    return DISPATCH(find, logits, count, value);
}

uint32_t row_chunk_size(uint32_t count)
{
    /* 256 values are a few cache lines; longer rows get longer chunks, in whole lanes. */
    uint32_t size = count / ROW_CHUNKS_MAX + 1;
    size = (size + LANES - 1) / LANES * LANES;
    return size > 256 ? size : 256;
}

float row_exp(float x)
{
    lanes_f32 lanes = lanes_of(x);
    return lanes_exp(&lanes)[0];
}

double row_exp_sums(const float *logits, uint32_t count, float max, float scale, float threshold,
                    float sums[ROW_CHUNKS_MAX])
{
    return DISPATCH(exp_sums, logits, count, max, scale, threshold, sums);
}

void row_exps(const float *logits, uint32_t count, float max, float scale, float *exps)
{
    DISPATCH(exps, logits, count, max, scale, exps);
}

uint32_t row_select_top(const float *logits, uint32_t count, uint32_t k,
                        struct row_candidate *candidates)
{
    return DISPATCH(select, logits, count, k, candidates);
}
