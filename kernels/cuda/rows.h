#ifndef PENSTOCK_CUDA_ROWS_H
#define PENSTOCK_CUDA_ROWS_H

#include <stdint.h>

#include "activation_view.h"
#include "runtime/device_runtime.h"

/* What is done to rows of f32, one after the other: norms, caps. All pointers are device pointers to rows of d (or
 * n_cols) columns; grids depend on nothing but the extents in the arguments. Sums are added in an order that
 * depends on d alone, so a row's result is the same whatever else is in the step.
 *
 * Thread: the step thread. Launches only; errors are the stream's. */

#ifdef __cplusplus
extern "C" {
#endif

/* out row r = x row i * gain / sqrt(mean of x row i squared + epsilon), with i = rows != NULL ? rows[r] : r, in every form
 * that `out` has. Zhang and Sennrich 2019, "Root mean square layer normalization". */
struct rms_norm_args {
    const float *x;       /* [*, d] */
    const float *gain;    /* [d] */
    const uint32_t *rows; /* [n_rows], or NULL */
    uint32_t n_rows;
    uint32_t d; /* out.n_cols */
    float epsilon;
    struct activation_view out;
};
void rms_norm_launch(device_stream *stream, const struct rms_norm_args *args);

/* x row r += y row r * gain / sqrt(mean of y row r squared + epsilon). */
struct rms_norm_add_args {
    const float *y;    /* [n_rows, d] */
    const float *gain; /* [d] */
    float *x;          /* [n_rows, d]; not y */
    uint32_t n_rows, d;
    float epsilon;
};
void rms_norm_add_launch(device_stream *stream, const struct rms_norm_add_args *args);

/* x[i] = cap * tanh(x[i] / cap) for i in [0, count). x: 16-byte aligned. */
void soft_cap_launch(device_stream *stream, float *x, uint64_t count, float cap);

#ifdef __cplusplus
}
#endif

#endif
