#ifndef PENSTOCK_KERNELS_CUDA_TILE_PRODUCT_H
#define PENSTOCK_KERNELS_CUDA_TILE_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

#include "activation_view.h"
#include "backend.h"
#include "runtime/device_runtime.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Products on tensor cores straight from a packed weight: for more rows than the few-row kernels take and fewer than pay
 * for dequantising a whole weight, and for experts at any number of rows. Weights of every form but F32; the activation is
 * read as bf16, by F16 weights as f16, never as codes. Weights become bf16 with one rounding (F16 stay f16), products are
 * summed in f32.
 *
 * Order of summation: decided by the weight's shape alone. A row gives the same bits alone and beside any others, in a
 * product of any number of rows.
 *
 * All pointers in the arguments are device pointers; launches are queued on the stream and capturable. */

/* Whether all parts of a weight are of forms, and its columns of a number (a multiple of 8), that tiles take. */
bool tile_product_takes(const struct weight_view *w);
/* Whether they also join its halves: it is gated, and both read the same form of an activation. */
bool tile_gated_takes(const struct weight_view *w);

/* Bytes that `workspace` needs for products of up to rows_max rows; 0: none, it may be NULL. What it holds before and after is of
 * no use to anybody: one serves all products of a stream. */
uint64_t tile_workspace_bytes(const struct weight_view *w, uint32_t rows_max);

/* y[r, o] = sum_c w[o, c] a[r, c] (+ bias[o]) (+ y[r, o]). The weight is not gated, or is and y gets the gate's and then the up
 * projection's products: [n_rows, n_outputs of both]. One kernel, or two where the columns are split over blocks. */
struct tile_product_args {
    struct weight_view w;
    struct activation_view a;
    uint32_t n_rows;
    const float *bias; /* [n_outputs], or NULL */
    bool accumulate;
    float *y; /* [n_rows, n_outputs] */
    void *workspace;
};
void tile_product_launch(device_stream *stream, const struct tile_product_args *args);

/* out[r, o] = gate(g[r, o]) u[r, o] with g and u the two halves' products and terms. For weights that tile_gated_takes. */
struct tile_gated_args {
    struct weight_view w;
    struct activation_view a;
    uint32_t n_rows;
    struct gated_terms terms;
    enum gate_kind gate;
    struct activation_view out; /* rows of n_outputs / 2 */
    void *workspace;
};
void tile_gated_launch(device_stream *stream, const struct tile_gated_args *args);

#ifdef __cplusplus
}
#endif

#endif
