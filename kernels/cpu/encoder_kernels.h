/* Rows of encoders: layer norm, activation, and attention without a cache. Compiled once per
 * instruction set; KERNEL names the functions. */
#include <math.h>
#include <string.h>

#include "kernel_table.h"
#include "lanes.h"

void KERNEL(layer_norm_row)(float *x, const float *gain, const float *bias, float epsilon,
                            uint32_t d, float *out);
void KERNEL(add_row)(const float *x, uint32_t d, float *y);
void KERNEL(attend_rows)(const struct full_tile *tile, float *scores);

/* A row's sum, or with `mean` the sum of the squares of what is left without it. */
INLINE float row_sum(const float *x, uint32_t d, const float *mean)
{
    lanes sum = lanes_zero();
    for (uint32_t c = 0; c < d; c += LANES) {
        uint32_t left = d - c < LANES ? d - c : LANES;
        lanes a = left == LANES ? lanes_load(x + c) : lanes_load_first(x + c, left);
        if (mean != NULL) {
            a = lanes_sub(a, lanes_set(*mean));
            a = left == LANES ? a : lanes_keep(a, 0, left, 0.0f);
            sum = lanes_fma(a, a, sum);
        } else {
            sum = lanes_add(sum, a);
        }
    }
    return lanes_sum(sum);
}

void KERNEL(layer_norm_row)(float *x, const float *gain, const float *bias, float epsilon,
                            uint32_t d, float *out)
{
    float mean = row_sum(x, d, NULL) / (float)d;
    float inverse = 1.0f / sqrtf(row_sum(x, d, &mean) / (float)d + epsilon);
    for (uint32_t c = 0; c < d; c += LANES) {
        uint32_t left = d - c < LANES ? d - c : LANES;
        lanes a = lanes_load_first(x + c, left);
        a = lanes_mul(lanes_sub(a, lanes_set(mean)), lanes_set(inverse));
        a = lanes_fma(a, lanes_load_first(gain + c, left), lanes_load_first(bias + c, left));
        lanes_store_first(x + c, a, left);
        lanes_store_first(out + c, a, left);
    }
}

void KERNEL(add_row)(const float *x, uint32_t d, float *y)
{
    for (uint32_t c = 0; c < d; c += LANES) {
        uint32_t left = d - c < LANES ? d - c : LANES;
        lanes sum = lanes_add(lanes_load_first(y + c, left), lanes_load_first(x + c, left));
        lanes_store_first(y + c, sum, left);
    }
}

/* The scores of KEY_GROUPS x 16 keys at once hide the latency of the multiply-adds. */
#define KEY_GROUPS 4u

INLINE void score_groups(const struct full_tile *tile, const float *query, uint32_t j,
                         uint32_t groups, lanes sums[KEY_GROUPS])
{
    for (uint32_t g = 0; g < groups; g++)
        sums[g] = lanes_zero();
    for (uint32_t k = 0; k < tile->d_head; k++) {
        const float *keys = tile->keys + k * tile->key_stride + j;
        lanes q = lanes_set(query[k]);
        for (uint32_t g = 0; g < groups; g++)
            sums[g] = lanes_fma(q, lanes_load(keys + g * LANES), sums[g]);
    }
}

/* Exponents of the scores of all keys, which lie as columns of `keys`; returns their highest. */
INLINE float score_keys(const struct full_tile *tile, const float *query, float *scores)
{
    const lanes scale = lanes_set(tile->scale * 1.44269504088896341f);
    uint32_t count = tile->n_keys, j = 0;
    lanes highest = lanes_set(-INFINITY), sums[KEY_GROUPS];
    for (; j + KEY_GROUPS * LANES <= count; j += KEY_GROUPS * LANES) {
        score_groups(tile, query, j, KEY_GROUPS, sums);
        for (uint32_t g = 0; g < KEY_GROUPS; g++) {
            lanes score = lanes_mul(sums[g], scale);
            highest = lanes_max(highest, score);
            lanes_store(scores + j + g * LANES, score);
        }
    }
    for (; j < count; j += LANES) {
        uint32_t left = count - j < LANES ? count - j : LANES;
        score_groups(tile, query, j, 1, sums);
        lanes score = lanes_keep(lanes_mul(sums[0], scale), 0, left, -INFINITY);
        highest = lanes_max(highest, score);
        lanes_store(scores + j, score);
    }
    return lanes_highest(highest);
}

/* Columns [c, c + 32) or fewer of the values' sum, in four chains for the same reason. */
#define CHAINS 4u

INLINE void sum_values(const struct full_tile *tile, const float *scores, uint32_t c, lanes inverse,
                       float *out)
{
    lanes low[CHAINS], high[CHAINS];
    uint32_t left = tile->d_head - c, count = tile->n_keys;
    uint32_t low_count = left < LANES ? left : LANES;
    uint32_t high_count = left <= LANES ? 0 : left < 2 * LANES ? left - LANES : LANES;
    const float *value = tile->values + c;
    for (uint32_t i = 0; i < CHAINS; i++)
        low[i] = high[i] = lanes_zero();
    for (uint32_t j = 0; j < count; j += CHAINS) {
        for (uint32_t i = 0; i < CHAINS && j + i < count; i++, value += tile->stride) {
            lanes share = lanes_set(scores[j + i]);
            low[i] = lanes_fma(share, lanes_load_first(value, low_count), low[i]);
            high[i] = lanes_fma(share, lanes_load_first(value + LANES, high_count), high[i]);
        }
    }
    for (uint32_t i = 1; i < CHAINS; i++) {
        low[0] = lanes_add(low[0], low[i]);
        high[0] = lanes_add(high[0], high[i]);
    }
    lanes_store_first(out + c, lanes_mul(low[0], inverse), low_count);
    lanes_store_first(out + c + LANES, lanes_mul(high[0], inverse), high_count);
}

/* Each query by itself, so that its sums do not depend on what it is computed with. */
void KERNEL(attend_rows)(const struct full_tile *tile, float *scores)
{
    for (uint32_t r = 0; r < tile->n_rows; r++) {
        float highest = score_keys(tile, tile->queries + r * tile->stride, scores);
        lanes total = lanes_zero();
        for (uint32_t j = 0; j < tile->n_keys; j += LANES) {
            lanes e = lanes_exp2_of_negative(lanes_sub(lanes_load(scores + j), lanes_set(highest)));
            lanes_store(scores + j, e);
            total = lanes_add(total, e);
        }
        lanes inverse = lanes_set(1.0f / lanes_sum(total));
        for (uint32_t c = 0; c < tile->d_head; c += 2 * LANES)
            sum_values(tile, scores, c, inverse, tile->out + r * tile->out_stride);
    }
}
