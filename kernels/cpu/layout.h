#ifndef PENSTOCK_KERNELS_CPU_LAYOUT_H
#define PENSTOCK_KERNELS_CPU_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "huge_arena.h"

/* How the CPU backend holds weights, activations and the cache.
 *
 * Weights. A weight is a list of segments, one a source; a segment is a list of groups of 16
 * outputs; a group is a list of blocks of 32 columns. Codes are unsigned and affine: w = d * code +
 * m, per output and block, d and m in f16. The 512 codes of a block lie as eight vectors of 64
 * bytes, step s = 0..7: byte 4 o + i is output o, column 4 s + i. That is what vpdpbusd multiplies
 * with four activation bytes broadcast to all lanes, sixteen dot products at once and no horizontal
 * add; an AMX B tile is the same bytes.
 *
 *   low nibbles   4 x 64 bytes: line l has step l in its low nibbles, step l + 4 in its high ones
 *   fifth bits    64 bytes (U5): bit s of byte 4 o + i belongs to step s
 *   bits 4, 5     2 x 64 bytes (U6): line h, bits 2 t and 2 t + 1 belong to step 4 h + t
 *   d             16 f16 (U6: 2 x 16, for columns 0..15 and 16..31)
 *   m             16 f16, only when the format has minima; otherwise m = -offset * d is implied
 *
 * U8 has 8 x 64 bytes of codes and no nibbles. Float formats keep their elements: [n_cols][16] in
 * each group. Outputs that pad the last group of a segment are zero.
 *
 * Activations. Per row and 32 columns: signed codes and one f32 scale, with scale * (sum of codes)
 * for the minima, also for each half (U6). They are made once by the producer and read by all
 * consumers. */

#define GROUP_OUTPUTS    16u
#define BLOCK_COLS       32u
#define SOURCE_COUNT_MAX 8u

enum weight_format {
    FORMAT_U4,     /* Q4_0 */
    FORMAT_U4_MIN, /* Q4_1, Q4_K */
    FORMAT_U5,     /* Q5_0 */
    FORMAT_U5_MIN, /* Q5_1, Q5_K */
    FORMAT_U6,     /* Q6_K */
    FORMAT_U8,     /* Q8_0 */
    FORMAT_F16,
    FORMAT_BF16,
    FORMAT_F32
};

#define FORMAT_IS_FLOAT(format) ((format) >= FORMAT_F16)

/* Bytes of a block of 16 outputs and 32 columns, and where its scales begin. */
#define NIBBLE_BYTES 256u
#define SCALES_AT(format)                                                                          \
    ((format) == FORMAT_U8                                                                         \
         ? 512u                                                                                    \
         : NIBBLE_BYTES + ((format) == FORMAT_U5 || (format) == FORMAT_U5_MIN ? 64u                \
                           : (format) == FORMAT_U6                            ? 128u               \
                                                                              : 0u))
#define BLOCK_BYTES(format)                                                                        \
    (SCALES_AT(format) +                                                                           \
     ((format) == FORMAT_U4_MIN || (format) == FORMAT_U5_MIN || (format) == FORMAT_U6 ? 64u        \
                                                                                      : 32u))
/* The implied m is -OFFSET * d. */
#define FORMAT_OFFSET(format)                                                                      \
    ((format) == FORMAT_U4   ? 8.0f                                                                \
     : (format) == FORMAT_U5 ? 16.0f                                                               \
     : (format) == FORMAT_U6 ? 32.0f                                                               \
                             : 128.0f)

struct segment {
    enum weight_format format;
    uint32_t first_output; /* in the stacked weight */
    uint32_t n_outputs;
    uint32_t n_groups;
    uint32_t n_cols;
    size_t group_bytes; /* a multiple of 32 */
    uint8_t *data;      /* inside the weight's piece; [n_groups][group_bytes] */
};

struct weight {
    struct segment segments[SOURCE_COUNT_MAX];
    uint32_t segment_count;
    uint32_t n_outputs; /* of all segments; of one of the two when gated */
    uint32_t n_cols;
    uint32_t n_groups; /* of all segments; of one of the two when gated */
    uint64_t bytes;
    struct huge_slab *slab; /* counted; holds the segments' data */
    bool is_gated;          /* segment 0 is the gate, segment 1 the up projection, of equal shape */
    bool needs_codes;       /* some segment is quantised */
    bool needs_floats;      /* some segment is of floats */
};

/* Four rows of 32 columns: all that a product needs of them at fixed distances from one pointer, so
 * that 16 rows take four address registers. */
#define ROWS_PER_TILE 4u

struct row_tile {
    _Alignas(64) int8_t codes[ROWS_PER_TILE][BLOCK_COLS];
    float scale[ROWS_PER_TILE];
    float sum[ROWS_PER_TILE];      /* scale * sum of the 32 codes */
    float sum_low[ROWS_PER_TILE];  /* the same of codes 0..15 */
    float sum_high[ROWS_PER_TILE]; /* and 16..31 */
};

struct activation {
    uint32_t n_cols;
    uint32_t n_blocks; /* of 32 columns */
    uint32_t rows_max;
    struct row_tile *tiles; /* owned; [rows_max / 4, rounded up][n_blocks]; NULL when floats are all
                               that is read */
    float *floats;          /* owned; NULL when codes are all that is read */
    size_t float_stride;    /* floats a row */
};

static inline struct row_tile *activation_tile(const struct activation *a, uint32_t row,
                                               uint32_t block)
{
    return a->tiles + (size_t)(row / ROWS_PER_TILE) * a->n_blocks + block;
}

/* Cache of one layer, block and KV head: keys [d_head][16 tokens], so that the scores of 16
 * positions are multiply-adds over d_head without horizontal sums, then values [16 tokens][d_head];
 * f16. All layers of a block lie together: a short sequence touches few pages of memory (with the
 * layers outermost the first prompt after a start faults in a huge page for each of them), and a
 * block is copied in one piece. */
struct kv_store {
    struct kv_shape shape;
    size_t head_halves;  /* 2 * 16 * d_head */
    size_t block_halves; /* of one layer: n_kv_heads * head_halves */
    uint16_t *data;      /* owned; [n_blocks][n_layers][n_kv_heads][head_halves] */
};

static inline uint16_t *kv_head_data(const struct kv_store *kv, uint32_t layer, uint32_t block,
                                     uint32_t head)
{
    size_t index = (size_t)block * kv->shape.n_layers + layer;
    return kv->data + index * kv->block_halves + head * kv->head_halves;
}

#endif
