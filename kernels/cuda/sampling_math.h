#ifndef PENSTOCK_CUDA_SAMPLING_MATH_H
#define PENSTOCK_CUDA_SAMPLING_MATH_H

#include "device.h"

/* Sums and searches of the sampler. What engine/sample computes in f32 is computed here with the same operations in the same order
 * (these files are compiled without fused multiplication and addition), so that both get the same bits. */

/* exp(x) for x in [-87, 0], relative error below 2e-7; 0 below. Cephes' expf polynomial (Moshier), as row_exp. */
K_DEVICE float sampling_exp(float x)
{
    const float magic =
        12582912.0f; /* 1.5 * 2^23: the low bits of a sum with it are the other rounded */
    bool is_small = x < -87.0f;
    x = is_small ? -87.0f : x;
    float shifted = x * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t power = (k_float_bits(shifted) - k_float_bits(magic) + 127) << 23;
    return is_small ? 0.0f : p * k_bits_float(power);
}

/* Philox4x32-10 (Salmon et al. 2011): uniform in [0, 1) with 53 bits, a function of seed, index and position, as philox_uniform
 * for a token. */
K_DEVICE double sampling_uniform(uint64_t seed, uint32_t index, uint32_t position)
{
    uint32_t c[4] = {position, index, 0, 0};
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t c0 = (uint32_t)(product1 >> 32) ^ c[1] ^ key0;
        uint32_t c2 = (uint32_t)(product0 >> 32) ^ c[3] ^ key1;
        c[0] = c0;
        c[1] = (uint32_t)product1;
        c[2] = c2;
        c[3] = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    uint64_t word = (uint64_t)c[1] << 32 | c[0];
    return (double)(word >> 11) * (1.0 / 9007199254740992.0);
}

/* visit(i, row[i]) for i = first, first + stride, ... before end. Eight loads are under way at a time. */
template <class visitor>
K_DEVICE void row_visit(const float *row, uint32_t first, uint32_t end, uint32_t stride,
                        const visitor &visit)
{
    for (uint32_t base = first; base < end; base += 8 * stride) {
        float values[8];
        K_UNROLL
        for (uint32_t j = 0; j < 8; j++)
            values[j] = base + j * stride < end ? row[base + j * stride] : 0.0f;
        K_UNROLL
        for (uint32_t j = 0; j < 8; j++)
            if (base + j * stride < end)
                visit(base + j * stride, values[j]);
    }
}

/* The sum of exp((values[i] - max) * scale) of the values of a chunk that are not below the threshold. Eight neighbouring
 * lanes call it, lane = 0 .. 7; all get the sum. */
K_DEVICE float chunk_exp_sum(const float *values, uint32_t count, uint32_t lane, float max,
                             float scale, float threshold)
{
    float sum = 0.0f;
    row_visit(values, lane, count, 8, [&](uint32_t, float x) {
        float e = sampling_exp((x - max) * scale);
        sum += x >= threshold ? e : 0.0f;
    });
    sum += k_shfl_xor(sum, 4);
    sum += k_shfl_xor(sum, 1);
    return sum + k_shfl_xor(sum, 2);
}

K_DEVICE double warp_running_sum(double value)
{
    for (uint32_t step = 1; step < 32; step *= 2) {
        double before = k_shfl_up(value, step);
        if (k_lane() >= step)
            value += before;
    }
    return value;
}

/* sums[i] = weights[0] + ... + weights[i]. count <= SAMPLING_CHUNKS_MAX; tiles: [32]. All threads of the block. A thread reads
 * only weights[i] with i % k_threads() = k_thread() before the first barrier: who writes those needs none. Ends with one. */
K_DEVICE void running_sums(k_sptr<double> weights, k_sptr<double> sums, k_sptr<double> tiles,
                           uint32_t count)
{
    for (uint32_t tile = k_warp(); tile < 32; tile += k_threads() / 32) {
        uint32_t i = tile * 32 + k_lane();
        double weight = 0.0;
        if (i < count)
            weight = weights[i];
        double sum = warp_running_sum(weight);
        if (i < count)
            sums[i] = sum;
        if (k_lane() == 31)
            tiles[tile] = sum;
    }
    k_sync();
    if (k_warp() == 0) {
        double own = tiles[k_lane()];
        double sum = k_shfl_up(warp_running_sum(own), 1);
        tiles[k_lane()] = k_lane() > 0 ? sum : 0.0;
    }
    k_sync();
    for (uint32_t i = k_thread(); i < count; i += k_threads()) {
        double before = tiles[i / 32];
        double sum = sums[i];
        sums[i] = before + sum;
    }
    k_sync();
}

K_DEVICE uint32_t warp_least(uint32_t value)
{
    for (uint32_t mask = 16; mask > 0; mask /= 2) {
        uint32_t other = k_shfl_xor(value, mask);
        value = other < value ? other : value;
    }
    return value;
}

/* The first of `count` weights whose running sum is above `left`; where rounding leaves none, the last that is not zero. Each
 * warp finds it for itself. */
K_DEVICE uint32_t pick_weighted(k_sptr<double> weights, k_sptr<double> sums, uint32_t count,
                                double left)
{
    uint32_t first = UINT32_MAX, last = 0;
    for (uint32_t i = k_lane(); i < count; i += 32) {
        double weight = weights[i];
        double sum = sums[i];
        if (weight > 0.0) {
            last = i;
            if (sum > left && first == UINT32_MAX)
                first = i;
        }
    }
    first = warp_least(first);
    last = ~warp_least(~last);
    return first != UINT32_MAX ? first : last;
}

#endif
