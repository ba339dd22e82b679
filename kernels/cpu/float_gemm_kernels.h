/* Products with float weights (F16, BF16, F32), written over lanes.h. Included once by the file of
 * each instruction set, which defines KERNEL(name) and FLOAT_ROWS, the rows whose accumulators fit
 * the registers.
 *
 * Even and odd columns have sums of their own, added at the end: two independent chains a row hide
 * half of the multiply-add's latency at one row, and the order of a row's sum does not depend on
 * the number of rows. */

#include "kernel_table.h"
#include "lanes.h"

#define FLOAT_CHAINS 2u

#if defined(__clang__)
#define FLOAT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FLOAT_UNROLL _Pragma("GCC unroll 16")
#endif

void KERNEL(gemm_floats)(const struct segment *segment, uint32_t group, uint32_t n_groups,
                         const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                         size_t tile_stride);

INLINE lanes load_column(const enum weight_format format, const uint8_t *data, size_t column)
{
    if (format == FORMAT_F8)
        return lanes_load_f8(data + column * LANES);
    if (format == FORMAT_F32)
        return lanes_load((const float *)data + column * LANES);
    if (format == FORMAT_F16)
        return lanes_load_f16((const uint16_t *)data + column * LANES);
    return lanes_load_bf16((const uint16_t *)data + column * LANES);
}

/* sums[r] = the products of `n_cols` columns with each row. */
INLINE void float_columns(const enum weight_format format, const uint32_t n_rows,
                          const uint8_t *data, uint32_t n_cols, const float *x, size_t x_stride,
                          lanes sums[FLOAT_ROWS][FLOAT_CHAINS])
{
    FLOAT_UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r][0] = sums[r][1] = lanes_zero();
    uint32_t c = 0;
    for (; c + FLOAT_CHAINS <= n_cols; c += FLOAT_CHAINS) {
        FLOAT_UNROLL for (uint32_t k = 0; k < FLOAT_CHAINS; k++)
        {
            lanes w = load_column(format, data, c + k);
            FLOAT_UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r][k] =
                lanes_fma(w, lanes_set(x[r * x_stride + c + k]), sums[r][k]);
        }
    }
    if (c < n_cols) {
        lanes w = load_column(format, data, c);
        FLOAT_UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r][0] =
            lanes_fma(w, lanes_set(x[r * x_stride + c]), sums[r][0]);
    }
}

INLINE void float_rows(const enum weight_format format, const uint32_t n_rows, const uint8_t *data,
                       uint32_t n_cols, const float *x, size_t x_stride, float *tile,
                       size_t tile_stride)
{
    lanes sums[FLOAT_ROWS][FLOAT_CHAINS];
    float_columns(format, n_rows, data, n_cols, x, x_stride, sums);
    FLOAT_UNROLL for (uint32_t r = 0; r < n_rows; r++)
        lanes_store(tile + r * tile_stride, lanes_add(sums[r][0], sums[r][1]));
}

/* Parts one after the other, each under its scales, added up in the tile. */
INLINE void f8_rows(const uint32_t n_rows, const struct segment *segment, const uint8_t *data,
                    const float *x, size_t x_stride, float *tile, size_t tile_stride)
{
    uint32_t part_cols = segment->part_cols;
    for (uint32_t first = 0; first < segment->n_cols; first += part_cols) {
        const uint8_t *part = data + f8_part_offset(part_cols, first);
        uint32_t left = segment->n_cols - first;
        lanes sums[FLOAT_ROWS][FLOAT_CHAINS], scale = lanes_load((const float *)(const void *)part);
        float_columns(FORMAT_F8, n_rows, part + F8_SCALE_BYTES, left < part_cols ? left : part_cols,
                      x + first, x_stride, sums);
        FLOAT_UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            lanes sum = lanes_add(sums[r][0], sums[r][1]);
            lanes before = first > 0 ? lanes_load(tile + r * tile_stride) : lanes_zero();
            lanes_store(tile + r * tile_stride, lanes_fma(sum, scale, before));
        }
    }
}

/* Full sets of rows, else one by one: fewer variants than the formats above, which are used more. */
static void f8_part(uint32_t n_rows, const struct segment *segment, const uint8_t *data,
                    const float *x, size_t x_stride, float *tile, size_t tile_stride)
{
    if (n_rows == FLOAT_ROWS) {
        f8_rows(FLOAT_ROWS, segment, data, x, x_stride, tile, tile_stride);
        return;
    }
    for (uint32_t r = 0; r < n_rows; r++)
        f8_rows(1, segment, data, x + r * x_stride, x_stride, tile + r * tile_stride, tile_stride);
}

INLINE void float_part(const enum weight_format format, uint32_t n_rows, const uint8_t *data,
                       uint32_t n_cols, const float *x, size_t x_stride, float *tile,
                       size_t tile_stride)
{
    switch (n_rows) {
    case 1:
        float_rows(format, 1, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    case 2:
        float_rows(format, 2, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    case 3:
        float_rows(format, 3, data, n_cols, x, x_stride, tile, tile_stride);
        break;
#if FLOAT_ROWS > 3
    case 4:
        float_rows(format, 4, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    case 5:
        float_rows(format, 5, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    case 6:
        float_rows(format, 6, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    case 7:
        float_rows(format, 7, data, n_cols, x, x_stride, tile, tile_stride);
        break;
    default:
        float_rows(format, 8, data, n_cols, x, x_stride, tile, tile_stride);
        break;
#endif
    }
}

void KERNEL(gemm_floats)(const struct segment *segment, uint32_t group, uint32_t n_groups,
                         const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                         size_t tile_stride)
{
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint8_t *data = segment->data + (group + g) * segment->group_bytes;
        for (uint32_t r = 0; r < n_rows; r += FLOAT_ROWS) {
            uint32_t left = n_rows - r < FLOAT_ROWS ? n_rows - r : FLOAT_ROWS;
            const float *x = a->floats + (row + r) * a->float_stride;
            float *out = tile + r * tile_stride + g * GROUP_OUTPUTS;
            if (segment->format == FORMAT_F8)
                f8_part(left, segment, data, x, a->float_stride, out, tile_stride);
            else if (segment->format == FORMAT_F16)
                float_part(FORMAT_F16, left, data, segment->n_cols, x, a->float_stride, out,
                           tile_stride);
            else if (segment->format == FORMAT_BF16)
                float_part(FORMAT_BF16, left, data, segment->n_cols, x, a->float_stride, out,
                           tile_stride);
            else
                float_part(FORMAT_F32, left, data, segment->n_cols, x, a->float_stride, out,
                           tile_stride);
        }
    }
}
