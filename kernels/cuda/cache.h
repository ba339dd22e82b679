#ifndef PENSTOCK_CUDA_CACHE_H
#define PENSTOCK_CUDA_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "device_runtime.h"
#include "step_state.h"

/* The paged cache of keys and values on a device: its layout, what a step appends to it, and whole blocks of it copied.
 *
 * A layer has keys and values apart, each [page][kv head][16 tokens][d_head], so that what one head has of a page is one
 * run of memory: 4 KiB for d_head 128 of f16. f16; int8 codes, whose scales are [page][kv head][16] of f32 (the keys turned
 * as backend.h says); or e4m3 as it is, beyond its range the largest there is. Pages are n_blocks + 1: the last is where
 * padded rows of a step go, and nothing reads it.
 *
 * All pointers are device pointers, 16-byte aligned; grids depend on the extents in the arguments alone.
 * Thread: the step thread. Launches only; errors are the stream's. */

#ifdef __cplusplus
extern "C" {
#endif

/* One layer of a cache. */
struct kv_layer {
    enum kv_type type;
    uint32_t n_kv_heads, d_head; /* d_head: a multiple of 16 */
    void *keys, *values;
    float *key_scales, *value_scales; /* KV_INT8; else NULL */
};

/* Bytes of the keys (or of the values) of one page of one layer; of the scales of either of them (0 but for KV_INT8).
 * Multiples of 16. */
static inline uint64_t kv_page_bytes(const struct kv_shape *shape)
{
    uint64_t elements = (uint64_t)shape->n_kv_heads * KV_BLOCK_TOKENS * shape->d_head;
    return shape->type == KV_F16 ? 2 * elements : elements;
}

static inline uint64_t kv_page_scale_bytes(const struct kv_shape *shape)
{
    return shape->type == KV_INT8 ? 4ull * shape->n_kv_heads * KV_BLOCK_TOKENS : 0;
}

/* Turns the queries of each row in place and puts its key and value into the cache, at the row's position of its sequence.
 * Query and key heads: an RMS norm where there are gains, then RoPE; with KV_INT8 both are then turned by the Walsh-Hadamard
 * transform of backend.h (attention reads them so). Angles are position * frequency in double, reduced before they
 * become f32. */
struct rope_append_args {
    float *qkv; /* [n_rows, (n_heads + 2 n_kv_heads) * d_head] */
    uint32_t n_rows, n_heads;
    const float *frequencies; /* [d_rope / 2] */
    uint32_t d_rope;          /* even, <= d_head */
    float magnitude;
    bool is_interleaved;
    const float *query_gain, *key_gain; /* [d_head] or NULL */
    float gain_epsilon;
    struct kv_layer kv; /* d_head <= ROPE_HEAD_MAX */
    struct step_state state;
};
#define ROPE_HEAD_MAX 256u
void rope_append_launch(device_stream *stream, const struct rope_append_args *args);

/* Layers of a cache as one thing: layer l begins `layer_bytes` (`scale_layer_bytes`) * l behind the first. */
struct kv_pages {
    struct kv_shape shape;
    struct kv_layer first;
    uint64_t layer_bytes, scale_layer_bytes;
};

/* Page to[i] becomes what page from[i] is, in every layer; from and to: device, [count]. No page is in both. */
void kv_copy_pages_launch(device_stream *stream, const struct kv_pages *pages, const uint32_t *from,
                          const uint32_t *to, uint32_t count);

/* Page pages[i] to and from image i of `images`, [count, kv_page_image_bytes]: memory of the device, or pinned memory of the
 * host, which the device reads and writes directly. An image is, for each layer, keys, values, key scales and value
 * scales of the page. */
void kv_save_pages_launch(device_stream *stream, const struct kv_pages *pages,
                          const uint32_t *numbers, uint32_t count, void *images);
void kv_load_pages_launch(device_stream *stream, const struct kv_pages *pages,
                          const uint32_t *numbers, uint32_t count, const void *images);

static inline uint64_t kv_page_image_bytes(const struct kv_shape *shape)
{
    return 2 * (kv_page_bytes(shape) + kv_page_scale_bytes(shape)) * shape->n_layers;
}

#ifdef __cplusplus
}
#endif

#endif
