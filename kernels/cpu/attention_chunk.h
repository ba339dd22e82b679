#ifndef PENSTOCK_KERNELS_CPU_ATTENTION_CHUNK_H
#define PENSTOCK_KERNELS_CPU_ATTENTION_CHUNK_H

#include <math.h>

#include "kernel_table.h"
#include "lanes.h"

/* What the attention kernels of all cache types share: where a chunk's data lies, and the softmax
 * of its scores. Included by the files of attention kernels alone. */

/* The part of a chunk that some query of the tile wants. */
struct chunk_view {
    uint32_t base;  /* its first position, that of a block */
    uint32_t count; /* positions */
    uint32_t n_blocks;
    const uint8_t *heads[CHUNK_BLOCKS]; /* of the tile's layer and KV head */
    /* What this member most likely wants after this chunk, to be fetched meanwhile; NULL: nothing.
     */
    const uint8_t *next[CHUNK_BLOCKS];
};

/* The next chunk's heads, or the next head's first ones (tiles are numbered with the heads
 * innermost). */
static inline void find_next_heads(const struct attention_tile *tile, uint32_t chunk_end,
                                   uint32_t end, const uint8_t *next[CHUNK_BLOCKS])
{
    uint32_t position = chunk_end, head = tile->kv_head;
    for (uint32_t b = 0; b < CHUNK_BLOCKS; b++)
        next[b] = NULL;
    if (chunk_end >= end) {
        position = 0;
        head++;
    }
    if (head >= tile->kv->shape.n_kv_heads)
        return;
    for (uint32_t b = 0; b < CHUNK_BLOCKS && position + b * KV_BLOCK_TOKENS < end; b++)
        next[b] =
            kv_head_data(tile->kv, tile->layer, tile->blocks[position / KV_BLOCK_TOKENS + b], head);
}

static inline void chunk_view_init(const struct attention_tile *tile, uint32_t chunk,
                                   struct chunk_view *view)
{
    uint32_t base = UINT32_MAX, end = 0;
    for (uint32_t q = 0; q < tile->n_queries; q++) {
        base = tile->first[q] < base ? tile->first[q] : base;
        end = tile->end[q] > end ? tile->end[q] : end;
    }
    base -= base % KV_BLOCK_TOKENS;
    uint32_t chunk_end = (chunk + 1) * CHUNK_TOKENS;
    view->base = base > chunk * CHUNK_TOKENS ? base : chunk * CHUNK_TOKENS;
    view->count = (end < chunk_end ? end : chunk_end) - view->base;
    view->n_blocks = (view->count + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    for (uint32_t b = 0; b < view->n_blocks; b++)
        view->heads[b] = kv_head_data(
            tile->kv, tile->layer, tile->blocks[view->base / KV_BLOCK_TOKENS + b], tile->kv_head);
    find_next_heads(tile, chunk_end, end, view->next);
}

/* `position` relative to the view; 0 if it lies before. */
static inline uint32_t view_offset(const struct chunk_view *view, uint32_t position)
{
    return position > view->base ? position - view->base : 0;
}

/* Lanes c .. c + 15 of a row of positions that lie in [first, end); the others become `other`. */
INLINE lanes keep_positions(lanes a, uint32_t c, uint32_t first, uint32_t end, float other)
{
    if (c >= first && c + LANES <= end)
        return a;
    uint32_t from = first > c ? first - c : 0, to = end > c ? end - c : 0;
    return lanes_keep(a, from < LANES ? from : LANES, to < LANES ? to : LANES, other);
}

#define LOG2_E 1.44269504088896341f

/* Raw scores of one query as exponents of 2, in place, those of positions outside [first, end) as
 * -infinity; returns the highest, or the lowest finite one if there are none. */
static inline float scores_to_exponents(const struct attention_tile *tile, uint32_t first,
                                        uint32_t end, uint32_t count, float *scores)
{
    lanes scale =
        lanes_set(tile->soft_cap > 0 ? tile->scale / tile->soft_cap : tile->scale * LOG2_E);
    lanes highest = lanes_set(-1e30f);
    for (uint32_t c = 0; c < count; c += LANES) {
        lanes s = lanes_mul(lanes_load(scores + c), scale);
        if (tile->soft_cap > 0)
            s = lanes_mul(lanes_set(tile->soft_cap * LOG2_E), lanes_tanh(s));
        s = keep_positions(s, c, first, end, -INFINITY);
        highest = lanes_max(highest, s);
        lanes_store(scores + c, s);
    }
    return lanes_highest(highest);
}

#endif
