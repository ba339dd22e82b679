/* Rotation and attention over the cache. */
#include "reference_private.h"

#include <math.h>
#include <string.h>

#include "check.h"

static void rotate_head(float *head, const struct rope_table *rope, uint32_t position)
{
    uint32_t pairs = rope->d_rope / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        double angle = (double)position * (double)rope->frequencies[i];
        double c = cos(angle) * (double)rope->magnitude;
        double s = sin(angle) * (double)rope->magnitude;
        float *first = head + (rope->is_interleaved ? 2 * i : i);
        float *second = head + (rope->is_interleaved ? 2 * i + 1 : i + pairs);
        double x = *first, y = *second;
        *first = (float)(x * c - y * s);
        *second = (float)(x * s + y * c);
    }
}

/* Norm, where the head has one, and rotation. */
static void turn_head(float *head, const float *gain, const struct attention_shape *shape,
                      const struct rope_table *rope, uint32_t position)
{
    if (gain != NULL)
        reference_norm_row(head, gain, shape->gain_epsilon, shape->d_head, head);
    rotate_head(head, rope, position);
}

/* Offset, in bytes, of one token's vector of one head. */
static size_t kv_offset(const kv_store *kv, const struct step_batch *batch, uint32_t sequence,
                        uint32_t position, uint32_t layer, uint32_t head)
{
    const struct kv_shape *shape = &kv->shape;
    uint32_t block = batch->block_tables[(size_t)sequence * batch->block_table_stride +
                                         position / KV_BLOCK_TOKENS];
    CHECK(block < shape->n_blocks && layer < shape->n_layers);
    size_t index = ((size_t)layer * shape->n_blocks + block) * shape->n_kv_heads + head;
    return (index * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS) * reference_vector_bytes(shape);
}

void reference_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                              const struct attention_shape *shape, const struct step_batch *batch,
                              kv_store *kv, uint32_t layer)
{
    (void)b;
    uint32_t d = shape->d_head;
    CHECK(d == kv->shape.d_head);
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * d;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *row = qkv + (size_t)r * stride;
        uint32_t position = batch->row_position[r];
        for (uint32_t h = 0; h < shape->n_heads; h++)
            turn_head(row + h * d, shape->query_gain, shape, rope, position);
        for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
            float key[HEAD_MAX];
            memcpy(key, row + (shape->n_heads + h) * d, d * sizeof(float));
            turn_head(key, shape->key_gain, shape, rope, position);
            const float *value = row + (shape->n_heads + shape->n_kv_heads + h) * d;
            if (kv->shape.type == KV_INT8)
                reference_vector_rotate(&kv->shape, key);
            size_t at = kv_offset(kv, batch, batch->row_sequence[r], position, layer, h);
            reference_vector_write(&kv->shape, key, kv->keys + at);
            reference_vector_write(&kv->shape, value, kv->values + at);
        }
    }
}

/* One query head of one row. `scores` has room for position + 1 doubles, `out` for d_head floats.
 */
static void attend(const float *query, const struct attention_shape *shape,
                   const struct step_batch *batch, const kv_store *kv, uint32_t layer, uint32_t row,
                   uint32_t head, double *scores, float *out)
{
    uint32_t kv_head = head / (shape->n_heads / shape->n_kv_heads);
    uint32_t position = batch->row_position[row];
    uint32_t sequence = batch->row_sequence[row];
    uint32_t first =
        shape->window != 0 && position >= shape->window ? position - shape->window + 1 : 0;
    double maximum = -INFINITY;
    float vector[HEAD_MAX], turned[HEAD_MAX];
    memcpy(turned, query, shape->d_head * sizeof(float));
    if (kv->shape.type == KV_INT8)
        reference_vector_rotate(&kv->shape, turned);
    for (uint32_t p = first; p <= position; p++) {
        reference_vector_read(&kv->shape,
                              kv->keys + kv_offset(kv, batch, sequence, p, layer, kv_head), vector);
        double sum = dot(turned, vector, shape->d_head) * (double)shape->scale;
        if (shape->soft_cap > 0)
            sum = (double)shape->soft_cap * tanh(sum / (double)shape->soft_cap);
        scores[p] = sum;
        maximum = fmax(maximum, sum);
    }
    double total = 0;
    if (shape->sinks != NULL) {
        maximum = fmax(maximum, (double)shape->sinks[head]);
        total = exp((double)shape->sinks[head] - maximum);
    }
    double sums[HEAD_MAX] = {0};
    for (uint32_t p = first; p <= position; p++) {
        double share = exp(scores[p] - maximum);
        total += share;
        reference_vector_read(
            &kv->shape, kv->values + kv_offset(kv, batch, sequence, p, layer, kv_head), vector);
        for (uint32_t i = 0; i < shape->d_head; i++)
            sums[i] += share * (double)vector[i];
    }
    for (uint32_t i = 0; i < shape->d_head; i++)
        out[i] = (float)(sums[i] / total);
}

void reference_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                         const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                         activation *out)
{
    CHECK(out->n_cols == shape->n_heads * shape->d_head && batch->n_rows <= out->rows_max);
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        CHECK(batch->row_position[r] < of_backend(b)->positions_max);
        for (uint32_t h = 0; h < shape->n_heads; h++)
            attend(qkv + (size_t)r * stride + h * shape->d_head, shape, batch, kv, layer, r, h,
                   of_backend(b)->scores,
                   out->values + (size_t)r * out->n_cols + h * shape->d_head);
    }
}
