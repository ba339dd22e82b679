#ifndef PENSTOCK_KERNELS_KERNEL_TESTING_H
#define PENSTOCK_KERNELS_KERNEL_TESTING_H

/* What the tests of the operations and the kernel benchmark share: random tensors of every format,
 * the paths of this CPU, and a way to read an activation through the public table alone (a product
 * with an identity matrix). */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "check.h"
#include "half.h"

static inline uint32_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Uniform in [-1, 1). */
static inline float random_float(uint64_t *state)
{
    return (float)((int32_t)(random_next(state) & 0xffffff) - 0x800000) / (float)0x800000;
}

static inline void put_f16(uint8_t *at, float value)
{
    uint16_t half = f32_to_f16(value);
    memcpy(at, &half, sizeof(half));
}

/* Random codes, and scales that give weights of magnitude about 0.05. */
static inline void random_block(enum tensor_type type, uint8_t *block, uint32_t bytes,
                                uint64_t *state)
{
    for (uint32_t i = 0; i < bytes; i++)
        block[i] = (uint8_t)random_next(state);
    float d = random_float(state) * 0.01f;
    switch (type) {
    case TENSOR_F32: {
        float value = random_float(state) * 0.05f;
        memcpy(block, &value, sizeof(value));
        break;
    }
    case TENSOR_F16:
        put_f16(block, random_float(state) * 0.05f);
        break;
    case TENSOR_BF16: {
        uint16_t high = (uint16_t)(f32_to_bits(random_float(state) * 0.05f) >> 16);
        memcpy(block, &high, sizeof(high));
        break;
    }
    case TENSOR_Q4_1:
    case TENSOR_Q5_1:
        put_f16(block + 2, random_float(state) * 0.05f);
        put_f16(block, d);
        break;
    case TENSOR_Q4_0:
    case TENSOR_Q5_0:
        put_f16(block, d);
        break;
    case TENSOR_Q8_0:
        put_f16(block, d * 0.05f);
        break;
    case TENSOR_Q4_K:
    case TENSOR_Q5_K:
        put_f16(block, d * 0.01f);
        put_f16(block + 2, d * 0.01f);
        break;
    case TENSOR_Q6_K:
        put_f16(block + 208, d * 0.001f);
        break;
    case TENSOR_MXFP4:
        block[0] = (uint8_t)(119 + random_next(state) % 4);
        break;
    case TENSOR_F8_E4M3:
        block[0] = (uint8_t)((block[0] & 0x7f) == 0x7f ? 0x81 : block[0]);
        break;
    }
}

/* The data is the caller's (free). */
static inline struct tensor_source random_tensor(enum tensor_type type, uint32_t n_outputs,
                                                 uint32_t n_cols, uint64_t *state)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(type, &elements, &bytes) && n_cols % elements == 0);
    size_t blocks = (size_t)n_outputs * (n_cols / elements);
    uint8_t *data = malloc(blocks * bytes);
    CHECK(data != NULL);
    for (size_t i = 0; i < blocks; i++)
        random_block(type, data + i * bytes, bytes, state);
    struct tensor_source tensor = {
        .type = type, .data = data, .n_outputs = n_outputs, .n_cols = n_cols};
    if (type != TENSOR_F8_E4M3)
        return tensor;
    tensor.scale_outputs = 24; /* of groups of 16 and of columns, none that fits */
    tensor.scale_cols = 96;
    uint64_t count = tensor_scale_count(&tensor);
    float *scales = malloc(count * sizeof *scales);
    CHECK(scales != NULL);
    for (uint64_t i = 0; i < count; i++)
        scales[i] = (1.5f + random_float(state)) * 2e-4f;
    tensor.scales = scales;
    return tensor;
}

static inline void tensor_free(struct tensor_source *tensor)
{
    free((void *)(uintptr_t)tensor->data);
    free((void *)(uintptr_t)tensor->scales);
    tensor->data = tensor->scales = NULL;
}

/* n x n: F32, or Q8_0 with scale 1, whose products give back an activation's own values. */
static inline weight *identity_weight(backend *b, enum tensor_type type, uint32_t n)
{
    uint32_t elements, bytes;
    CHECK(type == TENSOR_F32 || type == TENSOR_Q8_0);
    CHECK(tensor_type_block(type, &elements, &bytes));
    uint8_t *data = calloc((size_t)n * (n / elements), bytes);
    CHECK(data != NULL);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *block = data + ((size_t)i * (n / elements) + i / elements) * bytes;
        if (type == TENSOR_F32) {
            float one = 1.0f;
            memcpy(block, &one, sizeof(one));
        } else {
            put_f16(block, 1.0f);
            block[2 + i % elements] = 1;
        }
    }
    struct tensor_source source = {.type = type, .data = data, .n_outputs = n, .n_cols = n};
    weight *w = NULL;
    CHECK(b->operations->weight_create(b, &source, 1, &w) == STATUS_OK);
    free(data);
    return w;
}

/* The cache types of the CPU paths: those before KV_FP8. */
#define CPU_KV_TYPE_COUNT ((uint32_t)KV_FP8)

static const enum backend_path fast_paths[] = {BACKEND_AVX2, BACKEND_AVX_VNNI, BACKEND_AVX512_VNNI,
                                               BACKEND_AMX};

static inline backend *backend_open_or_die(enum backend_path path, uint32_t threads)
{
    struct backend_options options = {.path = path, .threads = threads};
    struct error_note note = {""};
    backend *b = NULL;
    CHECK(backend_open(&options, &b, &note) == STATUS_OK);
    return b;
}

#endif
