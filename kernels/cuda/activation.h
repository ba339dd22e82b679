#ifndef PENSTOCK_CUDA_ACTIVATION_H
#define PENSTOCK_CUDA_ACTIVATION_H

#include "activation_view.h"
#include "device.h"

/* How kernels write an activation: every form that the view has, from values in registers. */

/* A group whose largest magnitude is not above this has codes of zero: the inverse of its scale might not be finite. */
#define ACTIVATION_LEAST 1e-30f

/* The code of a value, which `inverse` = 127 / (the group's largest magnitude) brings into [-127, 127]. */
K_DEVICE int activation_code(float value, float inverse)
{
    return (int)rintf(value * inverse);
}

/* Stores columns [32 group, 32 group + 32) of a row. A whole warp calls it: lane's value is column 32 * group + lane; lanes
 * beyond n_cols pass 0. */
K_DEVICE void activation_store_group(const struct activation_view &view, uint32_t row,
                                     uint32_t group, uint32_t lane, float value)
{
    uint32_t col = group * ACTIVATION_GROUP + lane;
    uint64_t at = (uint64_t)row * view.n_cols + col;
    if (col < view.n_cols) {
        if (view.f32 != nullptr)
            view.f32[at] = value;
        if (view.bf16 != nullptr)
            view.bf16[at] = k_float_to_bf16(value);
        if (view.f16 != nullptr)
            view.f16[at] = k_float_to_f16(value);
    }
    if (view.codes == nullptr)
        return;
    float magnitude = k_warp_max(fabsf(value));
    float inverse = magnitude > ACTIVATION_LEAST ? 127.0f / magnitude : 0.0f;
    int code = activation_code(value, inverse);
    int sum = k_warp_sum(code);
    view.codes[at] = (int8_t)code;
    if (lane == 0) {
        uint64_t scale_at = (uint64_t)row * (view.n_cols / ACTIVATION_GROUP) + group;
        float scale = inverse > 0.0f ? magnitude / 127.0f : 0.0f;
        view.scales[scale_at] = scale;
        view.sums[scale_at] = scale * (float)sum;
    }
}

/* One store of SIZE bytes, to memory that is aligned to as many. */
template <uint32_t SIZE> K_DEVICE void activation_store_bytes(void *to, const void *from)
{
    memcpy(__builtin_assume_aligned(to, SIZE), from, SIZE);
}

/* The floats of a quad, in each form that has an element of its own. `count`: how many of the four are in the row. */
K_DEVICE void activation_store_floats(const struct activation_view &view, uint64_t at,
                                      uint32_t count, const float values[4])
{
    bool is_whole = count == 4 && view.n_cols % 4 == 0; /* then its address is a multiple too */
    uint32_t halves[2] = {k_pack_bf16(values[0], values[1]), k_pack_bf16(values[2], values[3])};
    if (view.bf16 != nullptr && is_whole)
        activation_store_bytes<8>(view.bf16 + at, halves);
    halves[0] = k_pack_f16(values[0], values[1]);
    halves[1] = k_pack_f16(values[2], values[3]);
    if (view.f16 != nullptr && is_whole)
        activation_store_bytes<8>(view.f16 + at, halves);
    if (view.f32 != nullptr && is_whole)
        activation_store_bytes<16>(view.f32 + at, values);
    for (uint32_t i = 0; !is_whole && i < count; i++) {
        if (view.f32 != nullptr)
            view.f32[at + i] = values[i];
        if (view.bf16 != nullptr)
            view.bf16[at + i] = k_float_to_bf16(values[i]);
        if (view.f16 != nullptr)
            view.f16[at + i] = k_float_to_f16(values[i]);
    }
}

/* Stores columns [first, first + 4) of a row. A whole warp calls it, with consecutive quads: eight lanes, of which the first
 * has a `first` that is a multiple of 32, hold a group. Values beyond n_cols are zeros. */
K_DEVICE void activation_store_quad(const struct activation_view &view, uint32_t row,
                                    uint32_t first, const float values[4])
{
    uint64_t at = (uint64_t)row * view.n_cols + first;
    uint32_t count = first < view.n_cols ? view.n_cols - first : 0;
    activation_store_floats(view, at, count < 4 ? count : 4, values);
    if (view.codes == nullptr)
        return;
    float magnitude =
        fmaxf(fmaxf(fabsf(values[0]), fabsf(values[1])), fmaxf(fabsf(values[2]), fabsf(values[3])));
    for (uint32_t mask = 1; mask < 8; mask *= 2)
        magnitude = fmaxf(magnitude, k_shfl_xor(magnitude, mask));
    float inverse = magnitude > ACTIVATION_LEAST ? 127.0f / magnitude : 0.0f;
    int sum = 0;
    uint32_t word = 0;
    for (uint32_t i = 0; i < 4; i++) {
        int code = activation_code(values[i], inverse);
        sum += code;
        word |= ((uint32_t)code & 0xffu) << 8 * i;
    }
    for (uint32_t mask = 1; mask < 8; mask *= 2)
        sum += k_shfl_xor(sum, mask);
    if (count == 0)
        return;
    activation_store_bytes<4>(view.codes + at, &word);
    if (first % ACTIVATION_GROUP == 0) {
        float scale = inverse > 0.0f ? magnitude / 127.0f : 0.0f;
        view.scales[at / ACTIVATION_GROUP] = scale;
        view.sums[at / ACTIVATION_GROUP] = scale * (float)sum;
    }
}

#endif
