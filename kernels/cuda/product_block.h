#ifndef PENSTOCK_KERNELS_CUDA_PRODUCT_BLOCK_H
#define PENSTOCK_KERNELS_CUDA_PRODUCT_BLOCK_H

#include "product_few.h"

/* The blocks of products of few rows: eight warps, and their results in shared memory, to be added in order. */

#define WARPS 8u

/* Floats of a warp's results: [8 rows][16 outputs], with 4 between so that lanes that store side by side hit different banks. */
#define TILE_STRIDE (WEIGHT_BAND_OUTPUTS + 4u)
#define TILE        (TILE_STRIDE * PRODUCT_FEW_ROWS)

/* A warp's results to its place. */
template <bool NARROW>
K_DEVICE void few_store(k_sptr<float> sums, uint32_t warp, uint32_t lane, const float c[4])
{
    K_UNROLL
    for (uint32_t i = 0; i < 4; i += NARROW ? 2 : 1) {
        uint32_t row = NARROW ? lane % 4 : 2 * (lane % 4) + i % 2;
        sums[warp * TILE + row * TILE_STRIDE + lane / 4 + 8 * (i / 2)] = c[i];
    }
}

/* Output o of a band and row n: the results of n_splits warps from `warp` on, `step` apart. */
K_DEVICE float few_sum(k_sptr<float> sums, uint32_t warp, uint32_t step, uint32_t n_splits,
                       uint32_t o, uint32_t n)
{
    float sum = 0.0f;
    for (uint32_t s = 0; s < n_splits; s++) {
        float part = sums[(warp + s * step) * TILE + n * TILE_STRIDE + o];
        sum += part;
    }
    return sum;
}

static inline uint32_t ceiling(uint32_t count, uint32_t size)
{
    return (count + size - 1) / size;
}

#endif
