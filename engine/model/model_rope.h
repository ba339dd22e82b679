#ifndef PENSTOCK_MODEL_ROPE_H
#define PENSTOCK_MODEL_ROPE_H

#include "model_shape.h"

/* Angular frequency of each rotated pair, radians a position, with all scaling in it: out[d_rope /
 * 2]. `divisors`: [d_rope / 2] of rope_freqs.weight (llama3 scaling as llama.cpp's converter writes
 * it), or NULL. Linear: Chen et al. 2023 (position interpolation). YaRN: Peng et al. 2023,
 * section 3.2, with the rounding of llama.cpp's ggml_rope_yarn_corr_dims and transformers'
 * modeling_rope_utils.py, which agree. */
void model_rope_frequencies(const struct rope_shape *rope, const float *divisors, float *out);

/* What YaRN multiplies the rotated vectors by (its section 3.3 as sqrt(1/t)), times the file's own
 * factor. */
float model_rope_magnitude(const struct rope_shape *rope);

#endif
