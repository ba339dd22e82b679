#ifndef PENSTOCK_CUDA_ATTENTION_H
#define PENSTOCK_CUDA_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "activation_view.h"
#include "cache.h"

/* Softmax attention over the paged cache, and over whole sequences (encoders).
 *
 * Two kernels share a step's sequences, each finding its own on the device, so that grids depend on extents alone:
 *   split  sequences with at most ATTENTION_SPLIT_ROWS rows in this step (decoding; a few drafts): their positions are cut
 *          into chunks, a block computes one head's chunk, a second kernel joins the chunks.
 *   long   the others (prompts): a block computes 128 or 64 rows of a head's queries over all their positions.
 * What a row becomes depends on its own sequence alone (its length, its window, how many rows it has in this step), never on
 * what else is in the step.
 *
 * Thread: the step thread. Launches only; errors are the stream's. */

#ifdef __cplusplus
extern "C" {
#endif

#define ATTENTION_SPLIT_ROWS   8u
#define ATTENTION_CHUNK_TOKENS 256u
#define ATTENTION_CHUNKS_MAX   64u

/* Whether there are kernels for heads of this size. */
bool attention_supports(uint32_t d_head);

/* Chunks that one sequence's partial results have room for, when sequences have at most `positions` positions. */
static inline uint32_t attention_chunks(uint32_t positions)
{
    uint32_t chunks =
        positions / ATTENTION_CHUNK_TOKENS + (positions % ATTENTION_CHUNK_TOKENS != 0 ? 1 : 0);
    if (chunks < ATTENTION_SPLIT_ROWS)
        return ATTENTION_SPLIT_ROWS;
    return chunks < ATTENTION_CHUNKS_MAX ? chunks : ATTENTION_CHUNKS_MAX;
}

/* Bytes of `partials` for steps of at most n_sequences sequences: in each chunk and head an output and its share. */
static inline uint64_t attention_partial_bytes(uint32_t n_sequences, uint32_t chunks,
                                               uint32_t n_heads, uint32_t d_head)
{
    return (uint64_t)n_sequences * chunks * n_heads * (d_head + 1) * sizeof(float);
}

struct attention_args {
    /* [n_rows, (n_heads + 2 n_kv_heads) * d_head], whose queries rope_append has turned. Their place may be written to. */
    float *qkv;
    struct kv_layer kv;
    struct step_state
        state; /* counts tells how many sequences there are; positions of a sequence's rows ascend */
    uint32_t n_heads;
    float scale, soft_cap; /* of struct attention_shape, as the next two */
    uint32_t window;
    const float *sinks;           /* [n_heads] or NULL */
    uint32_t n_rows, n_sequences; /* at least as many as counts says */
    /* The caller knows whether there may be sequences of at most, and of more than ATTENTION_SPLIT_ROWS rows: a kernel that
     * would find none is not launched. */
    bool may_have_split, may_have_long;
    uint32_t chunks; /* attention_chunks() of the longest sequence there may be */
    float *partials; /* attention_partial_bytes(n_sequences, ...); may be shared by all layers */
    uint32_t multiprocessors;
    struct activation_view out; /* n_cols = n_heads * d_head */
};
void attention_launch(device_stream *stream, const struct attention_args *args);

/* Attention of every row over all rows of its own sequence, before and after it. */
struct attention_full_args {
    float *qkv; /* as above; nothing is turned */
    uint32_t n_heads, n_kv_heads, d_head;
    float scale;
    const uint32_t *row_start; /* [n_sequences + 1], device */
    uint32_t n_rows, n_sequences;
    void *scratch; /* attention_full_scratch_bytes */
    uint32_t multiprocessors;
    struct activation_view out;
};
void attention_full_launch(device_stream *stream, const struct attention_full_args *args);

/* Keys and values as f16, each sequence from a multiple of 16 rows on: what backend.h says of attention_full's scratch. */
static inline uint64_t attention_full_scratch_bytes(uint32_t n_rows, uint32_t n_sequences,
                                                    uint32_t n_kv_heads, uint32_t d_head)
{
    return ((uint64_t)n_rows + 15ull * n_sequences) * n_kv_heads * d_head * sizeof(float);
}

#ifdef __cplusplus
}
#endif

#endif
