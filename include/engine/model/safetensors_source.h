#ifndef PENSTOCK_ENGINE_SAFETENSORS_SOURCE_H
#define PENSTOCK_ENGINE_SAFETENSORS_SOURCE_H

#include "backend.h"
#include "safetensors.h"

/* Tensors of safetensors files as kernels read them. */

/* F32, F16 and BF16; false: another type. */
bool safetensors_float_type(enum safetensors_type type, enum tensor_type *out);

/* A matrix of floats, or a vector as its one row; it borrows the tensor's data, which may lie at any byte. False: another
 * type or shape. */
bool safetensors_source(const struct safetensors_tensor *tensor, struct tensor_source *out);

#endif
