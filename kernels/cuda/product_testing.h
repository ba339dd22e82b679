#ifndef PENSTOCK_KERNELS_CUDA_PRODUCT_TESTING_H
#define PENSTOCK_KERNELS_CUDA_PRODUCT_TESTING_H

/* Weights and activations for the tests of products: on a device, and as the values that they stand for. */

#include "device_testing.h"
#include "kernel_testing.h"
#include "products.h"
#include "weight_pack.h"

static const enum tensor_type product_types[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_F8_E4M3, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,
    TENSOR_Q5_1, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K,    TENSOR_Q6_K, TENSOR_MXFP4};

/* Columns of the type's block, or an odd count for types that take any. */
static inline uint32_t product_least_cols(enum tensor_type type)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(type, &elements, &bytes));
    return elements;
}

/* A weight's image on the device. */
static inline struct weight_view weight_put(struct device_rig *rig,
                                            const struct tensor_source *sources, uint32_t count,
                                            bool is_gated)
{
    struct weight_layout layout;
    assert_int_equal(weight_layout_plan(sources, count, is_gated, &layout), STATUS_OK);
    uint8_t *image = malloc(layout.bytes);
    for (uint32_t i = 0; i < layout.piece_count; i++)
        weight_piece_pack(&layout, sources, i, image + weight_layout_piece(&layout, i).offset);
    struct weight_view view = weight_layout_view(&layout, device_rig_put(rig, image, layout.bytes));
    free(image);
    return view;
}

static inline float *random_floats(size_t count, uint64_t *seed)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = random_float(seed);
    return values;
}

static inline uint16_t bf16_of(float value)
{
    uint32_t bits = f32_to_bits(value);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Rows in every form that products read. */
struct host_rows {
    uint32_t n_rows, n_cols;
    float *f32;
    uint16_t *bf16, *f16;
    int8_t *codes; /* where n_cols is a multiple of 32; else unused */
    float *scales, *sums;
};

static inline void host_rows_quantise(struct host_rows *rows, size_t group)
{
    float highest = 0;
    for (size_t i = 32 * group; i < 32 * (group + 1); i++)
        highest = fmaxf(highest, fabsf(rows->f32[i]));
    int sum = 0;
    for (size_t i = 32 * group; i < 32 * (group + 1); i++) {
        rows->codes[i] = (int8_t)(highest > 0 ? lrintf(rows->f32[i] * (127 / highest)) : 0);
        sum += rows->codes[i];
    }
    rows->scales[group] = highest / 127;
    rows->sums[group] = rows->scales[group] * (float)sum;
}

static inline struct host_rows host_rows_create(uint32_t n_rows, uint32_t n_cols, uint64_t *seed)
{
    size_t count = (size_t)n_rows * n_cols, groups = (count + 31) / 32;
    struct host_rows rows = {.n_rows = n_rows,
                             .n_cols = n_cols,
                             .f32 = malloc(count * sizeof(float)),
                             .bf16 = malloc(count * sizeof(uint16_t)),
                             .f16 = malloc(count * sizeof(uint16_t)),
                             .codes = malloc(count),
                             .scales = malloc(groups * sizeof(float)),
                             .sums = malloc(groups * sizeof(float))};
    for (size_t i = 0; i < count; i++) {
        rows.f32[i] = random_float(seed) * (float)(1 + i / 32 % 3);
        rows.bf16[i] = bf16_of(rows.f32[i]);
        rows.f16[i] = f32_to_f16(rows.f32[i]);
    }
    for (size_t group = 0; n_cols % 32 == 0 && group < groups; group++)
        host_rows_quantise(&rows, group);
    return rows;
}

static inline void host_rows_free(struct host_rows *rows)
{
    free(rows->f32);
    free(rows->bf16);
    free(rows->f16);
    free(rows->codes);
    free(rows->scales);
    free(rows->sums);
}

/* The value of an element as weights of `type` see it. */
static inline double host_rows_value(const struct host_rows *rows, enum tensor_type type,
                                     uint32_t row, uint32_t col)
{
    size_t at = (size_t)row * rows->n_cols + col;
    switch (type) {
    case TENSOR_F32:
        return (double)rows->f32[at];
    case TENSOR_F16:
        return (double)f16_to_f32(rows->f16[at]);
    case TENSOR_BF16:
    case TENSOR_F8_E4M3:
        return (double)bf16_to_f32(rows->bf16[at]);
    default:
        return (double)rows->scales[at / 32] * rows->codes[at];
    }
}

/* Rows [first, first + count) on the device, in the forms that are read and no other. */
static inline struct activation_view host_rows_put(struct device_rig *rig,
                                                   const struct host_rows *rows, uint32_t first,
                                                   uint32_t count, struct weight_reads reads)
{
    size_t at = (size_t)first * rows->n_cols, n = (size_t)count * rows->n_cols;
    struct activation_view view = {.n_cols = rows->n_cols};
    if (reads.f32)
        view.f32 = device_rig_put(rig, rows->f32 + at, n * sizeof(float));
    if (reads.f16)
        view.f16 = device_rig_put(rig, rows->f16 + at, n * sizeof(uint16_t));
    if (reads.bf16)
        view.bf16 = device_rig_put(rig, rows->bf16 + at, n * sizeof(uint16_t));
    if (reads.codes) {
        view.codes = device_rig_put(rig, rows->codes + at, n);
        view.scales = device_rig_put(rig, rows->scales + at / 32, n / 32 * sizeof(float));
        view.sums = device_rig_put(rig, rows->sums + at / 32, n / 32 * sizeof(float));
    }
    return view;
}

/* What a product should be, and by how much it may be off. */
struct expected {
    double value, tolerance;
};

/* Of one output (row `output` of `source`) and one row. Elements that are scaled once are exact on a device; the k types' scales
 * are products, rounded to f16: 2^-12 of the scaled code and of the minimum, each of which may be twice the row's largest
 * element. Then sums in f32: tensor cores cut what they add to 24 bits or so. */
static inline struct expected product_expected(const struct tensor_source *source, uint32_t output,
                                               const struct host_rows *rows, uint32_t row)
{
    uint32_t n_cols = source->n_cols;
    float *w = malloc(n_cols * sizeof *w);
    tensor_dequantise(source, output, 0, n_cols, w);
    double sum = 0, magnitude = 0, x_sum = 0, w_max = 0;
    for (uint32_t c = 0; c < n_cols; c++) {
        double x = host_rows_value(rows, source->type, row, c);
        sum += (double)w[c] * x;
        magnitude += fabs((double)w[c] * x);
        x_sum += fabs(x);
        w_max = fmax(w_max, fabs((double)w[c]));
    }
    free(w);
    bool is_k = source->type == TENSOR_Q4_K || source->type == TENSOR_Q5_K;
    double scales = is_k                          ? 4 * w_max * x_sum * 0x1p-12
                    : source->type == TENSOR_Q6_K ? magnitude * 0x1p-11
                                                  : 0;
    return (struct expected){sum, scales + (magnitude + w_max * x_sum) * 1e-6 + 1e-12};
}

#endif
