#ifndef PENSTOCK_KERNELS_CUDA_TILE_TESTING_H
#define PENSTOCK_KERNELS_CUDA_TILE_TESTING_H

/* What the tests of tiles and of experts expect of a product. */

#include "product_testing.h"

/* Types that tiles multiply: all but the first of product_types, F32. */
#define TILE_TYPE_COUNT (ARRAY_COUNT(product_types) - 1)
static inline enum tensor_type tile_type(size_t index)
{
    CHECK(product_types[0] == TENSOR_F32);
    return product_types[1 + index];
}

/* Columns that a weight of this type can have, about `wanted`: whole blocks, of types without blocks a multiple of 8 that
 * is none of 32. */
static inline uint32_t tile_cols(enum tensor_type type, uint32_t wanted)
{
    uint32_t block = product_least_cols(type), blocks = (wanted + block - 1) / block;
    return block == 1 ? (wanted + 39) / 32 * 32 + 8 : blocks * block;
}

/* Codes with one scale, and floats: what a tile multiplies with is the file's element rounded to bf16, to the last bit. */
static inline bool tile_type_is_exact(enum tensor_type type)
{
    return type != TENSOR_Q4_1 && type != TENSOR_Q5_1 && type != TENSOR_Q4_K &&
           type != TENSOR_Q5_K && type != TENSOR_Q6_K;
}

/* Tiles read bf16, but for F16 weights. */
static inline double tile_row_value(const struct host_rows *rows, enum tensor_type type,
                                    uint32_t row, uint32_t col)
{
    size_t at = (size_t)row * rows->n_cols + col;
    return (double)(type == TENSOR_F16 ? f16_to_f32(rows->f16[at]) : bf16_to_f32(rows->bf16[at]));
}

/* Output `output` of a source with one row. Where weights are exact, sums in f32 of numbers of which tensor cores keep 24 bits are
 * left; else each element may be off by half a unit in the last place of bf16, with a sign of chance (six standard
 * deviations), and the scales by 2^-12. */
static inline struct expected tile_expected(const struct tensor_source *source, uint32_t output,
                                            const struct host_rows *rows, uint32_t row)
{
    uint32_t n_cols = source->n_cols;
    float *w = malloc(n_cols * sizeof *w);
    tensor_dequantise(source, output, 0, n_cols, w);
    bool is_exact = tile_type_is_exact(source->type);
    double sum = 0, magnitude = 0, squares = 0, x_sum = 0, w_max = 0;
    for (uint32_t c = 0; c < n_cols; c++) {
        double x = tile_row_value(rows, source->type, row, c);
        float used = w[c];
        if (is_exact && source->type != TENSOR_F16)
            used = bf16_to_f32(bf16_of(used));
        sum += (double)used * x;
        magnitude += fabs((double)used * x);
        squares += (double)used * x * (double)used * x;
        x_sum += fabs(x);
        w_max = fmax(w_max, fabs((double)used));
    }
    free(w);
    double rounding = is_exact ? 0 : 6 * 0x1p-9 * sqrt(squares) + 4 * w_max * x_sum * 0x1p-12;
    return (struct expected){sum, rounding + magnitude * 4e-6 + 1e-12};
}

/* The rows on the device in both forms that tiles read. */
static inline struct activation_view
tile_rows_put(struct device_rig *rig, const struct host_rows *rows, uint32_t first, uint32_t count)
{
    struct weight_reads reads = {.bf16 = true, .f16 = true};
    return host_rows_put(rig, rows, first, count, reads);
}

#endif
