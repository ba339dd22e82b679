#ifndef PENSTOCK_CUDA_ROW_BLOCK_H
#define PENSTOCK_CUDA_ROW_BLOCK_H

#include "device.h"

/* A block works on one row of d columns of f32: each thread on four neighbouring columns at a time, which are one load and
 * one store of 16 bytes, the block's threads on ROW_TILE neighbouring ones. Rows of up to 64 KB stay in L1 between the
 * passes of a norm. */
#define ROW_THREADS 256u
#define ROW_WARPS   (ROW_THREADS / 32)
#define ROW_TILE    (4 * ROW_THREADS)

/* The first column of a thread in the tile at `tile`. */
K_DEVICE uint32_t row_first(uint32_t tile)
{
    return tile + 4 * k_thread();
}

/* Columns [first, first + 4); zeros beyond the row. */
K_DEVICE void row_load(const float *row, uint32_t first, uint32_t d, float values[4])
{
    if (d % 4 == 0 && first < d) {
        k_u4 raw = k_load16(row + first);
        memcpy(values, &raw, sizeof raw);
        return;
    }
    for (uint32_t i = 0; i < 4; i++)
        values[i] = first + i < d ? row[first + i] : 0.0f;
}

K_DEVICE void row_store(float *row, uint32_t first, uint32_t d, const float values[4])
{
    if (d % 4 == 0 && first < d) {
        k_u4 raw;
        memcpy(&raw, values, sizeof raw);
        k_store16(row + first, raw);
        return;
    }
    for (uint32_t i = 0; i < 4; i++)
        if (first + i < d)
            row[first + i] = values[i];
}

/* The sum over the block, in one order. warps: [ROW_WARPS], used for no other sum. */
K_DEVICE float row_block_sum(k_sptr<float> warps, float value)
{
    float sum = k_warp_sum(value);
    if (k_lane() == 0)
        warps[k_warp()] = sum;
    k_sync();
    sum = 0.0f;
    for (uint32_t w = 0; w < ROW_WARPS; w++)
        sum += warps[w];
    return sum;
}

/* This thread's share of the sum of the row's squares. */
K_DEVICE float row_squares(const float *row, uint32_t d)
{
    float squares = 0.0f;
    for (uint32_t tile = 0; tile < d; tile += ROW_TILE) {
        float values[4];
        row_load(row, row_first(tile), d, values);
        for (uint32_t i = 0; i < 4; i++)
            squares += values[i] * values[i];
    }
    return squares;
}

#endif
