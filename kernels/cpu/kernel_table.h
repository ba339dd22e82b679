#ifndef PENSTOCK_KERNELS_CPU_KERNEL_TABLE_H
#define PENSTOCK_KERNELS_CPU_KERNEL_TABLE_H

#include "layout.h"

/* What an instruction set has to provide. Every function works on a piece that one member of the
 * team owns; cpu_operations.c cuts the work into pieces. No result depends on how many rows or
 * groups a call covers: each row's sums are made in the same order by every variant, which is what
 * makes a row's result independent of its batch. */

/* Groups of outputs that a product call covers at most. */
#define TILE_GROUPS 8u
/* Rows that a product call covers at most: of gemm_tiles; the others take TILE_ROWS. */
#define CALL_ROWS_MAX (2 * TILE_ROWS)
/* Floats of a product tile: two groups of all rows, or few rows of many groups. */
#define TILE_FLOATS (CALL_ROWS_MAX * GROUP_OUTPUTS * 2)

/* `row` is a multiple of TILE_ROWS.
 * tile[r * tile_stride + 16 * g + lane] = the product of row `row + r` with output 16 * (group + g)
 * + lane, for r < n_rows
 * and g < n_groups (<= TILE_GROUPS). */
typedef void gemm_function(const struct segment *segment, uint32_t group, uint32_t n_groups,
                           const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                           size_t tile_stride);

/* Positions of a chunk of attention: scores of a chunk are made, normalised by the chunk's own
 * maximum and summed from zero; chunks are then merged in order. So it does not matter which member
 * computes which chunk. */
#define CHUNK_TOKENS 128u
#define CHUNK_BLOCKS (CHUNK_TOKENS / KV_BLOCK_TOKENS)
/* Query vectors (rows x heads of one KV head) of an attention tile. */
#define TILE_QUERIES 24u
#define HEAD_MAX     256u

/* A query as attention over an int8 cache reads it: code * scale, codes -127..127, in the
 * instruction set's own order. */
struct query_codes {
    _Alignas(64) uint8_t row[2 * HEAD_MAX];
    float scale;
    int32_t start; /* of its sums with stored keys, which are 128 too high */
};

typedef void query_function(const float *query, uint32_t d_head, struct query_codes *out);

/* One tile: queries [0, n_queries) against the cache of one sequence and KV head. */
struct attention_tile {
    const float *queries[TILE_QUERIES];
    const struct query_codes *codes; /* of the queries; NULL when floats are read */
    uint32_t first[TILE_QUERIES];    /* positions [first, end) are attended to */
    uint32_t end[TILE_QUERIES];
    uint32_t n_queries;
    uint32_t d_head;
    float scale;
    float soft_cap;
    const uint32_t *blocks; /* the sequence's block table */
    const struct kv_store *kv;
    uint32_t layer;
    uint32_t kv_head;
};

/* Partial result of one query: sums of 2^(exponent - maximum), exponent = score * log2(e), and of the
 * values weighted by it. A partial is d_head + 2 floats: maximum, total, values. */
#define PARTIAL_FLOATS(d_head) ((size_t)(d_head) + 2)

/* Puts a key and a value of one head into slot `token` (0..15) of a block's head. Several members
 * may do so for different slots of one head at once. */
typedef void kv_store_function(const float *key, const float *value, uint32_t d_head,
                               uint32_t token, uint8_t *head_data);

/* partials[q] = positions of chunk `chunk` for every query of the tile. `scores`: TILE_QUERIES *
 * CHUNK_TOKENS floats of scratch. */
typedef void attention_function(const struct attention_tile *tile, uint32_t chunk, float *scores,
                                float *partials);

/* What depends on the type of the cache. */
struct kv_kernels {
    kv_store_function *store_head;
    query_function *quantise_query; /* NULL when floats are read */
    attention_function *attention_chunk;
};

/* Some queries of one sequence and head against all its keys, without a cache. */
struct full_tile {
    const float *queries; /* of the first row; rows `stride` apart */
    const float *keys;    /* [d_head][key_stride]: a key is a column; key_stride a multiple of 16 */
    const float *values;  /* of the first key; rows `stride` apart */
    float *out;           /* of the first row; rows `out_stride` apart */
    size_t stride, key_stride, out_stride;
    uint32_t n_rows, n_keys, d_head;
    float scale;
};

struct cpu_kernels {
    const char *name; /* of the backend */

    gemm_function *gemm_codes;
    gemm_function *gemm_floats;
    /* gemm_codes for many rows at a time, with equal results; NULL: none. From how many rows on it is the faster
     * one is measured at start (cpu_tiles.h). */
    gemm_function *gemm_tiles;

    /* y row r (stride y_stride) = tile row r (+ bias) (+ y), n_outputs <= tile_stride floats. */
    void (*tile_store)(const float *tile, size_t tile_stride, uint32_t n_rows, uint32_t n_outputs,
                       const float *bias, bool accumulate, float *y, size_t y_stride);

    /* gate[i] = kind(gate[i]) * up[i]; count a multiple of 16. */
    void (*gate_apply)(enum gate_kind kind, const float *gate, const float *up, uint32_t count,
                       float *out);

    /* x[i] = cap * tanh(x[i] / cap), any count. */
    void (*soft_cap)(float *x, uint64_t count, float cap);

    /* The sum of x[i] * y[i], any count. */
    float (*dot)(const float *x, const float *y, uint32_t count);

    /* y[i] += factor * x[i], any count. */
    void (*add_scaled)(const float *x, float factor, uint32_t count, float *y);

    /* Codes, scale and starts of span `span` of rows [row, row + n_rows), one tile's, from their
     * floats. */
    void (*quantise_span)(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span);

    /* out[c] = x[c] * gain[c] / the root of the mean square. */
    void (*rms_norm_row)(const float *x, const float *gain, float epsilon, uint32_t d, float *out);

    /* In place and to `out`: as backend.h's layer_norm. */
    void (*layer_norm_row)(float *x, const float *gain, const float *bias, float epsilon,
                           uint32_t d, float *out);
    void (*add_row)(const float *x, uint32_t d, float *y); /* y += x */
    /* `scores`: n_keys floats, rounded up to 16. */
    void (*attend_rows)(const struct full_tile *tile, float *scores);

    /* Rotates the first d_rope elements of a head; `cosines` and `sines` as rope.c lays them out.
     */
    void (*rope_head)(const float *head, uint32_t d_head, uint32_t d_rope, bool is_interleaved,
                      const float *cosines, const float *sines, float *out);

    struct kv_kernels kv[KV_TYPE_COUNT]; /* by enum kv_type */

    /* Adds `partial` to `total` (both d_head + 2 floats). */
    void (*attention_merge)(const float *partial, uint32_t d_head, float *total);

    /* Adds a score that has no value to `total`. */
    void (*attention_sink)(float score, uint32_t d_head, float *total);

    /* values of `total` divided by its sum, in place. */
    void (*attention_finish)(float *total, uint32_t d_head);
};

#endif
