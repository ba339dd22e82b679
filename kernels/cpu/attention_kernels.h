/* Attention over one chunk of positions of an f16 cache, written over lanes.h. Included once by
 * the file of each instruction set, which defines KERNEL(name), PANELS and PANEL_QUERIES.
 *
 * Both products, scores = queries x keys and out = weights x values, have the same shape: rows of
 * broadcast floats times a panel [k][16] of f16. panel_product keeps PANEL_QUERIES x PANELS
 * accumulators in registers, so that a panel vector is converted once for several queries and a
 * broadcast is used for several panels. Grouped queries of one KV head, and in prefill several
 * rows, share each load of a key or value. Every accumulator sums over k in order, whatever the
 * tile. */

#include "attention_chunk.h"

attention_function KERNEL(attention_f16);
void KERNEL(attention_merge)(const float *partial, uint32_t d_head, float *total);
void KERNEL(attention_sink)(float score, uint32_t d_head, float *total);
void KERNEL(attention_finish)(float *total, uint32_t d_head);

/* acc[q][p] += sum over k < count of rows[q][k] * panels[p][k * stride .. + 16]. */
INLINE void panel_step(const uint32_t n_queries, const uint32_t n_panels, const float *const *rows,
                       const uint16_t *const *panels, size_t stride, uint32_t k,
                       lanes acc[PANEL_QUERIES][PANELS])
{
    lanes panel[PANELS];
    UNROLL for (uint32_t p = 0; p < n_panels; p++) panel[p] =
        lanes_load_f16(panels[p] + k * stride);
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        lanes broadcast = lanes_set(rows[q][k]);
        UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[q][p] =
            lanes_fma(broadcast, panel[p], acc[q][p]);
    }
}

INLINE void clear_panels(const uint32_t n_queries, const uint32_t n_panels,
                         lanes acc[PANEL_QUERIES][PANELS])
{
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[q][p] = lanes_zero();
    }
}

/* Raw scores of `n_queries` queries for `n_panels` blocks of 16 positions. The values of the same
 * blocks, which follow the keys, are fetched meanwhile. */
INLINE void score_panels(const uint32_t n_queries, const uint32_t n_panels,
                         const float *const *queries, const uint16_t *const *keys, uint32_t d_head,
                         float *scores)
{
    lanes acc[PANEL_QUERIES][PANELS];
    clear_panels(n_queries, n_panels, acc);
    for (uint32_t k = 0; k < d_head; k += 2) {
        UNROLL for (uint32_t p = 0; p < n_panels; p++) _mm_prefetch(
            (const char *)(keys[p] + (size_t)(d_head + k) * KV_BLOCK_TOKENS), _MM_HINT_T0);
        panel_step(n_queries, n_panels, queries, keys, KV_BLOCK_TOKENS, k, acc);
        panel_step(n_queries, n_panels, queries, keys, KV_BLOCK_TOKENS, k + 1, acc);
    }
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++)
            lanes_store(scores + (size_t)q * CHUNK_TOKENS + p * LANES, acc[q][p]);
    }
}

/* Weighted values, columns [column, column + 16 * n_panels) of the blocks `values`, over `count`
 * positions. `next`: for each block, keys that will be wanted next, to be fetched meanwhile; NULL
 * for none. */
INLINE void value_panels(const uint32_t n_queries, const uint32_t n_panels, const float *weights,
                         const uint16_t *const *values, const uint16_t *const *next,
                         uint32_t column, uint32_t d_head, uint32_t count, float *out,
                         size_t out_stride)
{
    lanes acc[PANEL_QUERIES][PANELS];
    clear_panels(n_queries, n_panels, acc);
    for (uint32_t b = 0; b * KV_BLOCK_TOKENS < count; b++) {
        uint32_t left = count - b * KV_BLOCK_TOKENS;
        const float *rows[PANEL_QUERIES];
        const uint16_t *panels[PANELS];
        UNROLL for (uint32_t q = 0; q < n_queries; q++) rows[q] =
            weights + (size_t)q * CHUNK_TOKENS + b * KV_BLOCK_TOKENS;
        UNROLL for (uint32_t p = 0; p < n_panels; p++) panels[p] = values[b] + column + p * LANES;
        for (uint32_t k = 0; k < (left < KV_BLOCK_TOKENS ? left : KV_BLOCK_TOKENS); k++) {
            if (next[b] != NULL)
                UNROLL for (uint32_t p = 0; p < n_panels; p += 2) _mm_prefetch(
                    (const char *)(next[b] + k * d_head + column + p * LANES), _MM_HINT_T0);
            panel_step(n_queries, n_panels, rows, panels, d_head, k, acc);
        }
    }
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++)
            lanes_store(out + q * out_stride + column + p * LANES, acc[q][p]);
    }
}

#define QUERY_CASES(call)                                                                          \
    switch (n_queries) {                                                                           \
    case 1:                                                                                        \
        call(1);                                                                                   \
        break;                                                                                     \
    case 2:                                                                                        \
        call(2);                                                                                   \
        break;                                                                                     \
    case 3:                                                                                        \
        call(3);                                                                                   \
        break;                                                                                     \
    case 4:                                                                                        \
        call(4);                                                                                   \
        break;                                                                                     \
    case 5:                                                                                        \
        call(5);                                                                                   \
        break;                                                                                     \
    default:                                                                                       \
        call(6);                                                                                   \
        break;                                                                                     \
    }

static void score_queries(uint32_t n_queries, const float *const *queries,
                          const uint16_t *const *keys, uint32_t n_blocks, uint32_t d_head,
                          float *scores)
{
    uint32_t b = 0;
#define SCORE_ALL(n) score_panels(n, PANELS, queries, keys + b, d_head, scores + (size_t)b * LANES)
#define SCORE_ONE(n) score_panels(n, 1, queries, keys + b, d_head, scores + (size_t)b * LANES)
    for (; b + PANELS <= n_blocks; b += PANELS)
        QUERY_CASES(SCORE_ALL)
    for (; b < n_blocks; b++)
        QUERY_CASES(SCORE_ONE)
}

static void value_queries(uint32_t n_queries, const float *weights, const uint16_t *const *values,
                          const uint16_t *const *next, uint32_t d_head, uint32_t count, float *out,
                          size_t out_stride)
{
    uint32_t column = 0;
#define VALUE_ALL(n)                                                                               \
    value_panels(n, PANELS, weights, values, next, column, d_head, count, out, out_stride)
#define VALUE_ONE(n)                                                                               \
    value_panels(n, 1, weights, values, next, column, d_head, count, out, out_stride)
    for (; column + PANELS * LANES <= d_head; column += PANELS * LANES)
        QUERY_CASES(VALUE_ALL)
    for (; column < d_head; column += LANES)
        QUERY_CASES(VALUE_ONE)
}

/* Scores of one query into weights 2^(exponent - maximum); partial[0] = maximum, partial[1] = their
 * sum. Positions outside [first, end) get weight 0. A query with none keeps the lowest finite
 * maximum and the sum 0. */
static void softmax_chunk(const struct attention_tile *tile, uint32_t first, uint32_t end,
                          uint32_t count, float *scores, float *partial)
{
    partial[0] = scores_to_exponents(tile, first, end, count, scores);
    lanes maximum = lanes_set(partial[0]), total = lanes_zero();
    for (uint32_t c = 0; c < count; c += LANES) {
        lanes w = lanes_exp2_of_negative(lanes_sub(lanes_load(scores + c), maximum));
        total = lanes_add(total, w);
        lanes_store(scores + c, w);
    }
    partial[1] = lanes_sum(total);
}

void KERNEL(attention_f16)(const struct attention_tile *tile, uint32_t chunk, float *scores,
                           float *partials)
{
    struct chunk_view view;
    chunk_view_init(tile, chunk, &view);
    const uint16_t *keys[CHUNK_BLOCKS], *values[CHUNK_BLOCKS], *next[CHUNK_BLOCKS];
    for (uint32_t b = 0; b < view.n_blocks; b++) {
        keys[b] = (const uint16_t *)(const void *)view.heads[b];
        values[b] = keys[b] + (size_t)KV_BLOCK_TOKENS * tile->d_head;
        next[b] = (const uint16_t *)(const void *)view.next[b];
    }
    size_t stride = PARTIAL_FLOATS(tile->d_head);
    uint32_t parts = (tile->n_queries + PANEL_QUERIES - 1) / PANEL_QUERIES;
    for (uint32_t part = 0; part < parts; part++) {
        uint32_t q = tile->n_queries * part / parts;
        uint32_t n = tile->n_queries * (part + 1) / parts - q;
        score_queries(n, tile->queries + q, keys, view.n_blocks, tile->d_head,
                      scores + (size_t)q * CHUNK_TOKENS);
    }
    for (uint32_t q = 0; q < tile->n_queries; q++)
        softmax_chunk(tile, view_offset(&view, tile->first[q]), view_offset(&view, tile->end[q]),
                      view.n_blocks * KV_BLOCK_TOKENS, scores + (size_t)q * CHUNK_TOKENS,
                      partials + q * stride);
    for (uint32_t part = 0; part < parts; part++) {
        uint32_t q = tile->n_queries * part / parts;
        uint32_t n = tile->n_queries * (part + 1) / parts - q;
        value_queries(n, scores + (size_t)q * CHUNK_TOKENS, values, next, tile->d_head, view.count,
                      partials + q * stride + 2, stride);
    }
}

void KERNEL(attention_merge)(const float *partial, uint32_t d_head, float *total)
{
    float maximum = partial[0] > total[0] ? partial[0] : total[0];
    float keep = exp2f(total[0] - maximum), take = exp2f(partial[0] - maximum);
    total[0] = maximum;
    total[1] = total[1] * keep + partial[1] * take;
    lanes keep_lanes = lanes_set(keep), take_lanes = lanes_set(take);
    for (uint32_t i = 0; i < d_head; i += LANES) {
        lanes kept = lanes_mul(lanes_load(total + 2 + i), keep_lanes);
        lanes_store(total + 2 + i, lanes_fma(lanes_load(partial + 2 + i), take_lanes, kept));
    }
}

void KERNEL(attention_sink)(float score, uint32_t d_head, float *total)
{
    float exponent = score * LOG2_E; /* of 2, as the maxima of partials are */
    if (exponent <= total[0]) {
        total[1] += exp2f(exponent - total[0]);
        return;
    }
    float keep = exp2f(total[0] - exponent);
    lanes keep_lanes = lanes_set(keep);
    total[0] = exponent;
    total[1] = total[1] * keep + 1.0f;
    for (uint32_t i = 0; i < d_head; i += LANES)
        lanes_store(total + 2 + i, lanes_mul(lanes_load(total + 2 + i), keep_lanes));
}

void KERNEL(attention_finish)(float *total, uint32_t d_head)
{
    lanes inverse = lanes_set(1.0f / total[1]);
    for (uint32_t i = 0; i < d_head; i += LANES)
        lanes_store(total + 2 + i, lanes_mul(lanes_load(total + 2 + i), inverse));
}
