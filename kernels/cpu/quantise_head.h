#ifndef PENSTOCK_KERNELS_CPU_QUANTISE_HEAD_H
#define PENSTOCK_KERNELS_CPU_QUANTISE_HEAD_H

#include <math.h>

#include "kernel_table.h"
#include "lanes.h"

/* Keys, values and queries as codes of an int8 cache: what the store and attention share. Included
 * by the files of kernels alone. */

/* Of a vector's codes: code = round(element * factor), element = code * scale. */
struct head_scale {
    float factor, scale;
};

/* The largest magnitude becomes 127. */
INLINE struct head_scale head_scale_find(const float *vector, uint32_t d_head)
{
    lanes magnitudes = lanes_zero();
    for (uint32_t i = 0; i < d_head; i += LANES)
        magnitudes = lanes_max(magnitudes, lanes_abs(lanes_load(vector + i)));
    float highest = lanes_highest(magnitudes);
    return (struct head_scale){.factor = highest > KV_INT8_LEAST ? 127.0f / highest : 0.0f,
                               .scale = highest / 127.0f};
}

/* Turns a key or query as enum kv_type tells (butterflies of ever wider stride), without the
 * normalisation: the scale of its codes takes that. */
INLINE void head_rotate(const float *head, uint32_t d_head, float *out)
{
    uint32_t size = kv_rotation_size(d_head);
    for (uint32_t i = 0; i < d_head; i += LANES)
        lanes_store(out + i, lanes_hadamard(lanes_load(head + i)));
    for (uint32_t stride = LANES; stride < size; stride *= 2)
        for (uint32_t pair = 0; pair < d_head; pair += 2 * stride)
            for (uint32_t i = pair; i < pair + stride; i += LANES) {
                lanes a = lanes_load(out + i), b = lanes_load(out + i + stride);
                lanes_store(out + i, lanes_add(a, b));
                lanes_store(out + i + stride, lanes_sub(a, b));
            }
}

INLINE float head_rotation_scale(uint32_t d_head)
{
    return 1.0f / sqrtf((float)kv_rotation_size(d_head));
}

#endif
