#ifndef PENSTOCK_KERNELS_CUDA_GATE_H
#define PENSTOCK_KERNELS_CUDA_GATE_H

#include "backend.h"
#include "device.h"

/* The functions of enum gate_kind. */

/* Of the gate alone; of GATE_SILU_CLAMPED what the clamped factor is multiplied with. */
K_DEVICE float gate_function(enum gate_kind kind, float g)
{
    switch (kind) {
    case GATE_SILU:
        return g / (1.0f + k_exp(-g));
    case GATE_GELU_TANH:
        return 0.5f * g * (1.0f + tanhf(0.79788456f * (g + 0.044715f * g * g * g)));
    case GATE_GELU_ERF:
        return 0.5f * g * (1.0f + erff(g * 0.70710678f));
    case GATE_SILU_CLAMPED:
        g = fminf(g, GATE_CLAMP);
        return g / (1.0f + k_exp(-GATE_ALPHA * g));
    }
    return 0.0f;
}

/* gate(g) * u. */
K_DEVICE float gate_value(enum gate_kind kind, float g, float u)
{
    if (kind == GATE_SILU_CLAMPED)
        u = fminf(fmaxf(u, -GATE_CLAMP), GATE_CLAMP) + 1.0f;
    return gate_function(kind, g) * u;
}

/* What is added to product `output` of a gated weight, the gate's first; width: of both. */
K_DEVICE float gated_term(const struct gated_terms &terms, uint32_t row, uint32_t output,
                          uint32_t width)
{
    float term = terms.bias != nullptr ? terms.bias[output] : 0.0f;
    return terms.rows != nullptr ? term + terms.rows[(uint64_t)row * width + output] : term;
}

#endif
