/* Norm, quantisation, gates, RoPE and cache stores: the work on single rows, written over lanes.h.
 * Included once by the file of each instruction set, which defines KERNEL(name). */

#include <math.h>
#include <string.h>

#include "kernel_table.h"
#include "lanes.h"
#include "quantise_head.h"

void KERNEL(tile_store)(const float *tile, size_t tile_stride, uint32_t n_rows, uint32_t n_outputs,
                        const float *bias, bool accumulate, float *y, size_t y_stride);
void KERNEL(gate_apply)(enum gate_kind kind, const float *gate, const float *up, uint32_t count,
                        float *out);
void KERNEL(soft_cap)(float *x, uint64_t count, float cap);
float KERNEL(dot)(const float *x, const float *y, uint32_t count);
void KERNEL(add_scaled)(const float *x, float factor, uint32_t count, float *y);
void KERNEL(rms_norm_row)(const float *x, const float *gain, float epsilon, uint32_t d, float *out);
void KERNEL(rope_head)(const float *head, uint32_t d_head, uint32_t d_rope, bool is_interleaved,
                       const float *cosines, const float *sines, float *out);
kv_store_function KERNEL(kv_store_f16), KERNEL(kv_store_int8);

INLINE void store_lanes(lanes sum, const float *bias, bool accumulate, float *y, uint32_t count)
{
    if (count == LANES) {
        if (bias != NULL)
            sum = lanes_add(sum, lanes_load(bias));
        if (accumulate)
            sum = lanes_add(sum, lanes_load(y));
        lanes_store(y, sum);
        return;
    }
    if (bias != NULL)
        sum = lanes_add(sum, lanes_load_first(bias, count));
    if (accumulate)
        sum = lanes_add(sum, lanes_load_first(y, count));
    lanes_store_first(y, sum, count);
}

void KERNEL(tile_store)(const float *tile, size_t tile_stride, uint32_t n_rows, uint32_t n_outputs,
                        const float *bias, bool accumulate, float *y, size_t y_stride)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t o = 0; o < n_outputs; o += LANES) {
            uint32_t left = n_outputs - o;
            store_lanes(lanes_load(tile + r * tile_stride + o), bias != NULL ? bias + o : NULL,
                        accumulate, y + r * y_stride + o, left < LANES ? left : LANES);
        }
    }
}

/* min and max as written keep a gate that is not a number: lanes_min gives its second operand then. */
INLINE lanes clamped_lanes(lanes g, lanes u)
{
    const lanes top = lanes_set(GATE_CLAMP), one = lanes_set(1.0f);
    lanes cut = lanes_min(top, g);
    lanes up = lanes_max(lanes_set(-GATE_CLAMP), lanes_min(top, u));
    lanes e = lanes_exp(lanes_mul(cut, lanes_set(-GATE_ALPHA)));
    return lanes_mul(lanes_div(cut, lanes_add(one, e)), lanes_add(up, one));
}

INLINE lanes gate_lanes(enum gate_kind kind, lanes g)
{
    const lanes one = lanes_set(1.0f), half = lanes_set(0.5f);
    if (kind == GATE_SILU)
        return lanes_div(g, lanes_add(one, lanes_exp(lanes_sub(lanes_zero(), g))));
    if (kind == GATE_GELU_TANH) {
        lanes cube = lanes_mul(lanes_mul(g, g), g);
        lanes inner = lanes_mul(lanes_fma(cube, lanes_set(0.044715f), g), lanes_set(0.7978845608f));
        return lanes_mul(lanes_mul(half, g), lanes_add(one, lanes_tanh(inner)));
    }
    lanes inner = lanes_mul(g, lanes_set(0.7071067812f));
    return lanes_mul(lanes_mul(half, g), lanes_add(one, lanes_erf(inner)));
}

void KERNEL(gate_apply)(enum gate_kind kind, const float *gate, const float *up, uint32_t count,
                        float *out)
{
    for (uint32_t i = 0; i < count; i += LANES) {
        lanes g = lanes_load(gate + i), u = lanes_load(up + i);
        lanes_store(out + i, kind == GATE_SILU_CLAMPED ? clamped_lanes(g, u)
                                                       : lanes_mul(gate_lanes(kind, g), u));
    }
}

void KERNEL(soft_cap)(float *x, uint64_t count, float cap)
{
    lanes factor = lanes_set(cap), inverse = lanes_set(1.0f / cap);
    for (uint64_t i = 0; i < count; i += LANES) {
        uint32_t left = count - i < LANES ? (uint32_t)(count - i) : LANES;
        lanes value = lanes_mul(lanes_load_first(x + i, left), inverse);
        lanes_store_first(x + i, lanes_mul(lanes_tanh(value), factor), left);
    }
}

float KERNEL(dot)(const float *x, const float *y, uint32_t count)
{
    lanes sums[2] = {lanes_zero(), lanes_zero()};
    uint32_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        sums[0] = lanes_fma(lanes_load(x + i), lanes_load(y + i), sums[0]);
        sums[1] = lanes_fma(lanes_load(x + i + LANES), lanes_load(y + i + LANES), sums[1]);
    }
    for (; i < count; i += LANES) {
        uint32_t left = count - i < LANES ? count - i : LANES;
        sums[0] = lanes_fma(lanes_load_first(x + i, left), lanes_load_first(y + i, left), sums[0]);
    }
    return lanes_sum(lanes_add(sums[0], sums[1]));
}

void KERNEL(add_scaled)(const float *x, float factor, uint32_t count, float *y)
{
    lanes f = lanes_set(factor);
    for (uint32_t i = 0; i < count; i += LANES) {
        uint32_t left = count - i < LANES ? count - i : LANES;
        lanes sum = lanes_fma(lanes_load_first(x + i, left), f, lanes_load_first(y + i, left));
        lanes_store_first(y + i, sum, left);
    }
}

void KERNEL(rms_norm_row)(const float *x, const float *gain, float epsilon, uint32_t d, float *out)
{
    lanes sums[2] = {lanes_zero(), lanes_zero()};
    uint32_t c = 0;
    for (; c + 2 * LANES <= d; c += 2 * LANES) {
        lanes a = lanes_load(x + c), b = lanes_load(x + c + LANES);
        sums[0] = lanes_fma(a, a, sums[0]);
        sums[1] = lanes_fma(b, b, sums[1]);
    }
    for (; c < d; c += LANES) {
        lanes a = lanes_load_first(x + c, d - c < LANES ? d - c : LANES);
        sums[0] = lanes_fma(a, a, sums[0]);
    }
    float squares = lanes_sum(lanes_add(sums[0], sums[1]));
    lanes inverse = lanes_set(1.0f / sqrtf(squares / (float)d + epsilon));
    for (c = 0; c + LANES <= d; c += LANES)
        lanes_store(out + c,
                    lanes_mul(lanes_mul(lanes_load(x + c), inverse), lanes_load(gain + c)));
    if (c < d)
        lanes_store_first(out + c,
                          lanes_mul(lanes_mul(lanes_load_first(x + c, d - c), inverse),
                                    lanes_load_first(gain + c, d - c)),
                          d - c);
}

/* Interleaved: `cosines` and `sines` have d_rope entries, both of a pair equal but for the sign
 * (-sin, sin), so that the rotation is x * cos + swapped(x) * sin. Otherwise they have d_rope / 2
 * entries. */
void KERNEL(rope_head)(const float *head, uint32_t d_head, uint32_t d_rope, bool is_interleaved,
                       const float *cosines, const float *sines, float *out)
{
    uint32_t i = 0;
    uint32_t half = d_rope / 2;
    if (is_interleaved) {
        for (; i + LANES <= d_rope; i += LANES) {
            lanes x = lanes_load(head + i);
            lanes turned = lanes_mul(lanes_swap_pairs(x), lanes_load(sines + i));
            lanes_store(out + i, lanes_fma(x, lanes_load(cosines + i), turned));
        }
        for (; i < d_rope; i += 2) {
            float x = head[i], y = head[i + 1];
            out[i] = x * cosines[i] + y * sines[i];
            out[i + 1] = y * cosines[i + 1] + x * sines[i + 1];
        }
    } else {
        for (; i + LANES <= half; i += LANES) {
            lanes x = lanes_load(head + i), y = lanes_load(head + half + i);
            lanes c = lanes_load(cosines + i), s = lanes_load(sines + i);
            lanes_store(out + i, lanes_sub(lanes_mul(x, c), lanes_mul(y, s)));
            lanes_store(out + half + i, lanes_fma(x, s, lanes_mul(y, c)));
        }
        for (; i < half; i++) {
            float x = head[i], y = head[half + i];
            out[i] = x * cosines[i] - y * sines[i];
            out[half + i] = x * sines[i] + y * cosines[i];
        }
    }
    if (out != head && d_rope < d_head)
        memcpy(out + d_rope, head + d_rope, (d_head - d_rope) * sizeof(float));
}

void KERNEL(kv_store_f16)(const float *key, const float *value, uint32_t d_head, uint32_t token,
                          uint8_t *head_data)
{
    uint16_t *keys = (uint16_t *)(void *)head_data;
    uint16_t *values = keys + (size_t)KV_BLOCK_TOKENS * d_head + (size_t)token * d_head;
    for (uint32_t i = 0; i < d_head; i += LANES) {
        uint16_t halves[LANES];
        lanes_store_f16(halves, lanes_load(key + i));
        for (uint32_t k = 0; k < LANES; k++)
            keys[(size_t)(i + k) * KV_BLOCK_TOKENS + token] = halves[k];
        lanes_store_f16(values + i, lanes_load(value + i));
    }
}

/* The codes of a vector; returns their scale. */
INLINE float quantise_vector(const float *vector, uint32_t d_head, int8_t *codes)
{
    struct head_scale scale = head_scale_find(vector, d_head);
    lanes factor = lanes_set(scale.factor);
    for (uint32_t i = 0; i < d_head; i += LANES)
        lanes_store_codes(codes + i, lanes_round(lanes_mul(lanes_load(vector + i), factor)));
    return scale.scale;
}

INLINE void store_key_codes(const float *key, uint32_t d_head, uint32_t token, uint8_t *head_data)
{
    float rotated[HEAD_MAX];
    int8_t codes[HEAD_MAX];
    head_rotate(key, d_head, rotated);
    float scale = quantise_vector(rotated, d_head, codes) * head_rotation_scale(d_head);
    memcpy(head_data + KV_INT8_KEY_SCALES(d_head) + token * sizeof(float), &scale, sizeof(scale));
    for (uint32_t i = 0; i < d_head; i += 4) {
        uint32_t four;
        memcpy(&four, codes + i, sizeof(four));
        four ^= 0x80808080u; /* each 128 + code */
        memcpy(head_data + (size_t)i * KV_BLOCK_TOKENS + token * sizeof(four), &four, sizeof(four));
    }
}

/* By single bytes, since a neighbour's token may be stored by another member meanwhile. */
INLINE void store_value_codes(const float *value, uint32_t d_head, uint32_t token,
                              uint8_t *head_data)
{
    int8_t codes[HEAD_MAX];
    float scale = quantise_vector(value, d_head, codes);
    memcpy(head_data + KV_INT8_VALUE_SCALES(d_head) + token * sizeof(float), &scale, sizeof(scale));
    uint8_t *values =
        head_data + KV_INT8_VALUES(d_head) + (size_t)(token / 4) * 4 * d_head + token % 4;
    for (uint32_t i = 0; i < d_head; i++)
        values[(size_t)i * 4] = (uint8_t)codes[i];
}

void KERNEL(kv_store_int8)(const float *key, const float *value, uint32_t d_head, uint32_t token,
                           uint8_t *head_data)
{
    store_key_codes(key, d_head, token, head_data);
    store_value_codes(value, d_head, token, head_data);
}
