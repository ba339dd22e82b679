#ifndef PENSTOCK_KERNELS_CPU_QUANTISE_ROWS_H
#define PENSTOCK_KERNELS_CPU_QUANTISE_ROWS_H

/* Codes, scales and starts of activations (layout.h), row by row. */

#include "lanes.h"
#include "layout.h"

/* Codes and starts of one block of one row. */
INLINE void quantise_block(const float *values, lanes inverse, float step, struct row_tile *tile,
                           uint32_t r)
{
    lanes_store_codes(tile->codes[r], lanes_mul(lanes_load(values), inverse));
    lanes_store_codes(tile->codes[r] + LANES, lanes_mul(lanes_load(values + LANES), inverse));
    int32_t low, high;
    lanes_sum_codes(tile->codes[r], &low, &high);
    int32_t sum = low + high;
    tile->start_s4[r] = sum * ((8 << 16) - FORMAT_OFFSET(FORMAT_S4));
    tile->start_s5[0][r] = low * ((8 << 16) - FORMAT_OFFSET(FORMAT_S5));
    tile->start_s5[1][r] = high * ((8 << 16) - FORMAT_OFFSET(FORMAT_S5));
    tile->start_u6[0][r] = low * -FORMAT_OFFSET(FORMAT_U6);
    tile->start_u6[1][r] = high * -FORMAT_OFFSET(FORMAT_U6);
    tile->start_u8[r] = sum * -FORMAT_OFFSET(FORMAT_U8);
    tile->scale[r] = step;
}

/* Rows [row, row + n_rows) of a tile, one after the other. Symmetric int8 with the largest magnitude at 127, as Q8_0's own
 * quantiser. */
INLINE void quantise_rows(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span)
{
    uint32_t first = span * a->span_blocks;
    uint32_t left = a->n_blocks - first;
    uint32_t n_blocks = left < a->span_blocks ? left : a->span_blocks;
    struct row_tile *tile = activation_tile(a, row, first);
    for (uint32_t r = row; r < row + n_rows; r++) {
        const float *values = a->floats + r * a->float_stride + (size_t)first * BLOCK_COLS;
        lanes highest = lanes_zero();
        for (uint32_t c = 0; c < n_blocks * BLOCK_COLS; c += LANES)
            highest = lanes_max(highest, lanes_abs(lanes_load(values + c)));
        float top = lanes_highest(highest);
        lanes inverse = lanes_set(top > 0 ? 127.0f / top : 0.0f);
        for (uint32_t b = 0; b < n_blocks; b++)
            quantise_block(values + b * BLOCK_COLS, inverse, top / 127.0f, tile + b, r % TILE_ROWS);
    }
}

#endif
