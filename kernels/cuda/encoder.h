#ifndef PENSTOCK_CUDA_ENCODER_H
#define PENSTOCK_CUDA_ENCODER_H

#include <stdint.h>

#include "activation_view.h"
#include "runtime/device_runtime.h"

/* What only encoders do to rows. As rows.h. */

#ifdef __cplusplus
extern "C" {
#endif

/* x row r = (x row r - its mean) / sqrt(its variance + epsilon) * gain + bias, in place, and in every form that `out` has.
 * Ba et al. 2016, "Layer Normalization". */
struct layer_norm_args {
    float *x;          /* [n_rows, d] */
    const float *gain; /* [d] */
    const float *bias; /* [d] */
    uint32_t n_rows;
    uint32_t d; /* out.n_cols */
    float epsilon;
    struct activation_view out;
};
void layer_norm_launch(device_stream *stream, const struct layer_norm_args *args);

/* out[r, c] = the gate's function of y[r, c]: SiLU, GELU by tanh or by erf. */
struct activate_args {
    const float *y; /* [n_rows, out.n_cols] */
    uint32_t n_rows;
    uint32_t kind; /* enum gate_kind, not GATE_SILU_CLAMPED */
    struct activation_view out;
};
void activate_launch(device_stream *stream, const struct activate_args *args);

#ifdef __cplusplus
}
#endif

#endif
