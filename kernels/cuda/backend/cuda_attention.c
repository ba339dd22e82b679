/* Attention, and the rotation of its queries and keys. */

#include <string.h>

#include "check.h"
#include "cuda_backend.h"

#define FREQUENCIES_MAX (ROPE_HEAD_MAX / 2)

/* The table's frequencies on the device. Few tables exist (a model has one or two), each is copied once. */
static const float *frequencies_of(struct cuda_backend *b, const struct rope_table *rope)
{
    struct rope_copies *copies = &b->ropes;
    size_t bytes = rope->d_rope / 2 * sizeof(float);
    CHECK(rope->d_rope >= 2 && rope->d_rope <= ROPE_HEAD_MAX);
    for (uint32_t i = 0; i < ROPE_TABLES_MAX; i++)
        if (copies->d_rope[i] == rope->d_rope &&
            memcmp(copies->host + i * FREQUENCIES_MAX, rope->frequencies, bytes) == 0)
            return copies->device + i * FREQUENCIES_MAX;
    CHECK(b->graphs.captured == NULL);
    uint32_t i = copies->next++ % ROPE_TABLES_MAX;
    copies->d_rope[i] = rope->d_rope;
    memcpy(copies->host + i * FREQUENCIES_MAX, rope->frequencies, bytes);
    device_copy_to_device(b->stream, copies->device + i * FREQUENCIES_MAX, rope->frequencies,
                          bytes);
    return copies->device + i * FREQUENCIES_MAX;
}

void cuda_rope_kv_append(backend *base, float *qkv, const struct rope_table *rope,
                         const struct attention_shape *shape, const struct step_batch *batch,
                         kv_store *kv, uint32_t layer)
{
    struct cuda_backend *b = of_cuda(base);
    struct step_view view = step_view_of(b, batch);
    const struct rope_append_args args = {
        .qkv = qkv,
        .n_rows = view.n_rows,
        .n_heads = shape->n_heads,
        .frequencies = frequencies_of(b, rope),
        .d_rope = rope->d_rope,
        .magnitude = rope->magnitude,
        .is_interleaved = rope->is_interleaved,
        .query_gain = shape->query_gain,
        .key_gain = shape->key_gain,
        .gain_epsilon = shape->gain_epsilon,
        .kv = cuda_kv_layer(kv, layer),
        .state = view.state,
    };
    rope_append_launch(b->stream, &args);
}

status attention_reserve(struct cuda_backend *b, const struct step_limits *limits)
{
    uint32_t chunks = attention_chunks(limits->block_table_stride * KV_BLOCK_TOKENS);
    return scratch_reserve(
        b, &b->partials,
        attention_partial_bytes(limits->sequences_max, chunks, limits->n_heads, limits->d_head));
}

void cuda_attention(backend *base, const float *qkv, const struct attention_shape *shape,
                    const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                    activation *out)
{
    struct cuda_backend *b = of_cuda(base);
    struct step_view view = step_view_of(b, batch);
    uint32_t chunks = attention_chunks(view.positions_max);
    uint64_t bytes =
        attention_partial_bytes(view.n_sequences, chunks, shape->n_heads, shape->d_head);
    if (scratch_reserve(b, &b->partials, bytes) != STATUS_OK) {
        device_stream_fail(b->stream, "attention", "no memory is left");
        return;
    }
    const struct attention_args args = {
        /* its queries' places may be written to, and nobody reads them afterwards */
        .qkv = (float *)(uintptr_t)qkv,
        .kv = cuda_kv_layer(kv, layer),
        .state = view.state,
        .n_heads = shape->n_heads,
        .scale = shape->scale,
        .soft_cap = shape->soft_cap,
        .window = shape->window,
        .sinks = shape->sinks,
        .n_rows = view.n_rows,
        .n_sequences = view.n_sequences,
        .may_have_split = view.has_split,
        .may_have_long = view.has_long,
        .chunks = chunks,
        .partials = b->partials.memory,
        .multiprocessors = b->multiprocessors,
        .out = activation_write(out, view.n_rows),
    };
    attention_launch(b->stream, &args);
}

void cuda_attention_full(backend *base, const float *qkv, const struct attention_shape *shape,
                         const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                         activation *out)
{
    struct cuda_backend *b = of_cuda(base);
    uint32_t n_rows = row_start[n_sequences];
    const struct attention_full_args args = {
        .qkv = (float *)(uintptr_t)qkv,
        .n_heads = shape->n_heads,
        .n_kv_heads = shape->n_kv_heads,
        .d_head = shape->d_head,
        .scale = shape->scale,
        .row_start = loose_copy(b, row_start, (n_sequences + 1) * sizeof(*row_start)),
        .n_rows = n_rows,
        .n_sequences = n_sequences,
        .scratch = scratch,
        .multiprocessors = b->multiprocessors,
        .out = activation_write(out, n_rows),
    };
    attention_full_launch(b->stream, &args);
}
