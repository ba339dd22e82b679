/* The cache of keys and values: two arrays [n_layers][n_blocks][n_kv_heads][16] of vectors;
 * a vector is d_head halves, or d_head codes and their scale, or d_head bytes of E4M3. */
#include "reference_private.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "memory.h"

void reference_kv_destroy(backend *b, kv_store *kv)
{
    (void)b;
    if (kv == NULL)
        return;
    memory_release(kv->keys);
    memory_release(kv->values);
    memory_release(kv);
}

size_t reference_vector_bytes(const struct kv_shape *shape)
{
    switch (shape->type) {
    case KV_INT8:
        return shape->d_head + sizeof(float);
    case KV_FP8:
        return shape->d_head;
    default:
        return shape->d_head * sizeof(uint16_t);
    }
}

/* Keys, or values, of one block of one layer, all heads. */
static size_t kv_layer_bytes(const struct kv_shape *shape)
{
    return (size_t)shape->n_kv_heads * KV_BLOCK_TOKENS * reference_vector_bytes(shape);
}

uint64_t reference_kv_block_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_layers * kv_layer_bytes(shape) * 2;
}

status reference_kv_create(backend *b, const struct kv_shape *shape, kv_store **out)
{
    CHECK(shape->type < KV_TYPE_COUNT);
    if (shape->d_head > HEAD_MAX)
        return STATUS_UNSUPPORTED;
    struct reference_backend *reference = of_backend(b);
    uint64_t positions = (uint64_t)shape->n_blocks * KV_BLOCK_TOKENS;
    if (positions > reference->positions_max) {
        double *scores = memory_allocate_array(positions, sizeof(double));
        if (scores == NULL)
            return STATUS_NO_MEMORY;
        memory_release(reference->scores);
        reference->scores = scores;
        reference->positions_max = positions;
    }
    kv_store *kv = memory_allocate_array(1, sizeof(*kv));
    if (kv == NULL)
        return STATUS_NO_MEMORY;
    kv->shape = *shape;
    size_t bytes = (size_t)shape->n_layers * shape->n_blocks * kv_layer_bytes(shape);
    kv->keys = memory_allocate_array(bytes, 1);
    kv->values = memory_allocate_array(bytes, 1);
    if (kv->keys == NULL || kv->values == NULL) {
        reference_kv_destroy(b, kv);
        return STATUS_NO_MEMORY;
    }
    *out = kv;
    return STATUS_OK;
}

void reference_kv_copy_blocks(backend *b, kv_store *kv, const uint32_t *from, const uint32_t *to,
                              uint32_t count)
{
    (void)b;
    size_t bytes = kv_layer_bytes(&kv->shape);
    for (uint32_t layer = 0; layer < kv->shape.n_layers; layer++) {
        size_t base = (size_t)layer * kv->shape.n_blocks;
        for (uint32_t i = 0; i < count; i++) {
            CHECK(from[i] < kv->shape.n_blocks && to[i] < kv->shape.n_blocks);
            memcpy(kv->keys + (base + to[i]) * bytes, kv->keys + (base + from[i]) * bytes, bytes);
            memcpy(kv->values + (base + to[i]) * bytes, kv->values + (base + from[i]) * bytes,
                   bytes);
        }
    }
}

static void write_codes(const float *vector, uint32_t d, uint8_t *out)
{
    float highest = 0;
    for (uint32_t i = 0; i < d; i++)
        highest = fmaxf(highest, fabsf(vector[i]));
    float factor = highest > KV_INT8_LEAST ? 127.0f / highest : 0.0f;
    for (uint32_t i = 0; i < d; i++)
        out[i] = (uint8_t)(int8_t)rintf(vector[i] * factor);
    float scale = highest / 127.0f;
    memcpy(out + d, &scale, sizeof(scale));
}

void reference_vector_write(const struct kv_shape *shape, const float *vector, uint8_t *out)
{
    if (shape->type == KV_INT8) {
        write_codes(vector, shape->d_head, out);
        return;
    }
    if (shape->type == KV_FP8) {
        for (uint32_t i = 0; i < shape->d_head; i++)
            out[i] = f32_to_f8_e4m3(vector[i]);
        return;
    }
    for (uint32_t i = 0; i < shape->d_head; i++) {
        uint16_t half = f32_to_f16(vector[i]);
        memcpy(out + i * sizeof(half), &half, sizeof(half));
    }
}

void reference_vector_rotate(const struct kv_shape *shape, float *head)
{
    uint32_t size = kv_rotation_size(shape->d_head);
    double turned[HEAD_MAX];
    for (uint32_t i = 0; i < shape->d_head; i++) {
        turned[i] = 0;
        for (uint32_t k = 0; k < size; k++) {
            double element = head[i - i % size + k];
            turned[i] += __builtin_parity(i % size & k) ? -element : element;
        }
    }
    for (uint32_t i = 0; i < shape->d_head; i++)
        head[i] = (float)(turned[i] / sqrt((double)size));
}

void reference_vector_read(const struct kv_shape *shape, const uint8_t *in, float *vector)
{
    float scale = 0;
    if (shape->type == KV_INT8)
        memcpy(&scale, in + shape->d_head, sizeof(scale));
    for (uint32_t i = 0; i < shape->d_head; i++) {
        if (shape->type == KV_INT8)
            vector[i] = scale * (float)(int8_t)in[i];
        else if (shape->type == KV_FP8)
            vector[i] = f8_e4m3_to_f32(in[i]);
        else
            vector[i] = load_f16(in + i * sizeof(uint16_t));
    }
}
