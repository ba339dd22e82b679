#include "safetensors_source.h"

bool safetensors_float_type(enum safetensors_type type, enum tensor_type *out)
{
    switch (type) {
    case SAFETENSORS_F32:
        *out = TENSOR_F32;
        return true;
    case SAFETENSORS_F16:
        *out = TENSOR_F16;
        return true;
    case SAFETENSORS_BF16:
        *out = TENSOR_BF16;
        return true;
    default:
        return false;
    }
}

bool safetensors_source(const struct safetensors_tensor *tensor, struct tensor_source *out)
{
    const uint64_t *dimensions = tensor->dimensions;
    bool is_matrix = tensor->dimension_count == 2;
    struct tensor_source source = {.data = tensor->data};
    if (!safetensors_float_type(tensor->type, &source.type) ||
        (!is_matrix && tensor->dimension_count != 1) || dimensions[0] > UINT32_MAX ||
        dimensions[1] > UINT32_MAX)
        return false;
    source.n_outputs = is_matrix ? (uint32_t)dimensions[0] : 1;
    source.n_cols = (uint32_t)dimensions[is_matrix ? 1 : 0];
    *out = source;
    return true;
}
