#ifndef PENSTOCK_KERNELS_CUDA_PRODUCTS_H
#define PENSTOCK_KERNELS_CUDA_PRODUCTS_H

#include <stdbool.h>
#include <stdint.h>

#include "activation_view.h"
#include "backend.h"
#include "runtime/device_runtime.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Products of few rows, gathering of rows, low-rank changes, and what stands around a library's product of many rows. All
 * pointers in the arguments are device pointers; launches are queued on the stream and capturable.
 *
 * Order of summation: an element of a product is summed in one order that the weight's shape alone decides. So a row gives the
 * same bits alone and beside seven others. */

/* Rows that one pass over a weight serves. More take more passes, each of eight rows: right, and slower than a product made for
 * many rows where the weight is large. */
#define PRODUCT_FEW_ROWS 8u

/* y[r, o] = sum_c w[o, c] a[r, c] (+ bias[o]) (+ y[r, o]); reads the form of `a` that weight_view_reads tells. The weight is not
 * gated, or is and y gets the gate's and then the up projection's products: [n_rows, n_outputs of both]. */
struct product_args {
    struct weight_view w;
    struct activation_view a;
    uint32_t n_rows;
    const float *bias; /* [n_outputs], or NULL */
    bool accumulate;
    float *y; /* [n_rows, n_outputs] */
};
void product_few_launch(device_stream *stream, const struct product_args *args);

/* out[r, o] = gate(g[r, o]) u[r, o] with g and u the two halves' products and terms. The weight weight_view_is_joined. */
struct product_gated_args {
    struct weight_view w;
    struct activation_view a;
    uint32_t n_rows;
    struct gated_terms terms;
    enum gate_kind gate;
    struct activation_view out; /* rows of n_outputs / 2 */
};
void product_gated_few_launch(device_stream *stream, const struct product_gated_args *args);

/* The second half of matmul_gated where the two products are there already: y[r, 0 .. n) are the gate's, y[r, n .. 2 n) the up
 * projection's, n = out.n_cols. Any number of rows. */
struct gate_join_args {
    const float *y;
    uint32_t n_rows;
    struct gated_terms terms;
    enum gate_kind gate;
    struct activation_view out;
};
void gate_join_launch(device_stream *stream, const struct gate_join_args *args);

/* y[r, first_output + o] += bias[first_output + o], o < n_outputs, for products whose library adds none. */
struct bias_add_args {
    float *y;
    const float *bias;
    uint32_t n_rows, first_output, n_outputs, y_width;
};
void bias_add_launch(device_stream *stream, const struct bias_add_args *args);

/* out[o - first_output, c] = w[o, c] for outputs [first_output, first_output + n_outputs) of one part of a weight (counted in
 * the part), as bf16, or f16 (saturating): the matrix of a library's product. Columns [n_cols, out_stride) are written as 0. */
struct dequantise_args {
    struct weight_part part;
    uint32_t first_output; /* a multiple of 16 */
    uint32_t n_outputs;
    bool is_f16;
    uint16_t *out;
    uint32_t
        out_stride; /* elements; a multiple of 8, at least n_cols; at most n_cols rounded up to 64 */
};
void dequantise_launch(device_stream *stream, const struct dequantise_args *args);

/* x[r, :] = scale * row tokens[r] of `table`, or x[r, :] += it when accumulate. A token -1 - k is sampled[k]; one outside the
 * table gives zeros (nothing is read). */
struct embed_args {
    struct weight_view table;
    const int32_t *tokens;  /* [n_rows] */
    const int32_t *sampled; /* NULL: all tokens are known */
    uint32_t n_rows;
    float scale;
    bool accumulate;
    float *x; /* [n_rows, n_cols] */
};
void embed_launch(device_stream *stream, const struct embed_args *args);

/* Changes that one launch knows: they are among the kernel's arguments, which may be 4 KB. */
#define LOW_RANK_CHANGES_MAX 64u
struct low_rank_changes {
    struct low_rank items[LOW_RANK_CHANGES_MAX];
    uint32_t count;
};

/* y[r, first_output + o] += sum_k up[k, o] * (down[k] . a row r) for each row r of `rows` whose change is one of these, numbered from
 * first_change on; reads the best form that `a` has (f32, f16, bf16, codes). Two kernels. */
struct low_rank_args {
    struct low_rank_changes changes;
    uint32_t first_change;
    uint32_t rank_max; /* of all changes of the rows */
    struct low_rank_rows rows;
    struct activation_view a;
    float *scratch; /* [rows.n_rows, rank_max] */
    uint32_t first_output, y_width;
    float *y;
};
void low_rank_launch(device_stream *stream, const struct low_rank_args *args);

#ifdef __cplusplus
}
#endif

#endif
