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
 * outputs; a group is a list of blocks of 32 columns, of which the formats scaled by integers take
 * SPAN_BLOCKS together as a span. Codes
 * are unsigned. The 512 codes of a block lie as eight vectors of 64 bytes, step s = 0..7: byte 4 o + i
 * is output o, column 4 s + i. That is what vpdpbusd multiplies with four activation bytes broadcast
 * to all lanes, sixteen dot products at once and no horizontal add; an AMX B tile is the same bytes.
 *
 *   low nibbles   4 x 64 bytes: line l has step l in its low nibbles, step l + 4 in its high ones
 *   fifth bits    64 bytes (S5): bit s of byte 4 o + i belongs to step s
 *   bits 4, 5     2 x 64 bytes (U6): line h, bits 2 t and 2 t + 1 belong to step 4 h + t
 *
 * U8 has 8 x 64 bytes of codes and no nibbles. What follows a block's codes differs:
 *
 * S4, S5 ("scaled by integers"). An element is D * (s * (code - offset) + 8 * m), offset half the
 * codes' range, with 16 x (int16 s, int16 m) behind the block's codes and 16 f32 D behind the last
 * block of the span. So what a span's blocks add up to is an integer: the dot products of a block,
 * which fit 16 bits since the codes are centred, and the sum of its activations side by side in
 * one 32-bit lane are multiplied with (s, m) by one vpdpwssd; only the span's sum becomes a float. D is
 * the smallest that keeps that sum within 32 bits (SPAN_SCALE_MAX), which leaves s about 15 bits.
 *
 * U6, U8 (their dot products need more than 16 bits). An element is d * (code - offset), with 16 f16 d
 * behind the codes (U6: 2 x 16, for columns 0..15 and 16..31).
 *
 * Float formats keep their elements: [n_cols][16] in each group. F8 (E4M3) has its columns in parts that
 * share a scale, the source's: 16 f32 scales, then the part's elements. Outputs that pad the last group
 * of a segment are zero.
 *
 * Activations. Rows of f32 that a norm, attention or a gate writes, and beside them, for weights with
 * codes, signed codes with one scale a row and span (a block, when no segment of the weight is scaled
 * by integers), made once by the producer and read by all consumers. A product needs sum((code - offset) * activation); the offset's part,
 * -offset * sum(activation), is the same for all outputs, so it is what the sum starts from. */

#define GROUP_OUTPUTS    16u
#define BLOCK_COLS       32u
#define SPAN_BLOCKS      2u /* what wider ones cost in accuracy: bench/NOTES.md */
#define SPAN_COLS        (SPAN_BLOCKS * BLOCK_COLS)
#define SOURCE_COUNT_MAX 8u

enum weight_format {
    FORMAT_S4, /* Q4_0, Q4_1, Q4_K */
    FORMAT_S5, /* Q5_0, Q5_1, Q5_K, MXFP4 */
    FORMAT_U6, /* Q6_K */
    FORMAT_U8, /* Q8_0 */
    FORMAT_F16,
    FORMAT_BF16,
    FORMAT_F32,
    FORMAT_F8
};

#define FORMAT_IS_FLOAT(format)  ((format) >= FORMAT_F16)
#define FORMAT_IS_SCALED(format) ((format) == FORMAT_S4 || (format) == FORMAT_S5)

/* Bytes of a block of 16 outputs and 32 columns, and where its scales begin. */
#define NIBBLE_BYTES 256u
#define SCALES_AT(format)                                                                          \
    ((format) == FORMAT_U8 ? 512u                                                                  \
                           : NIBBLE_BYTES + ((format) == FORMAT_S5   ? 64u                         \
                                             : (format) == FORMAT_U6 ? 128u                        \
                                                                     : 0u))
#define BLOCK_BYTES(format) (SCALES_AT(format) + ((format) == FORMAT_U8 ? 32u : 64u))
/* Bytes behind the blocks of a span. */
#define SPAN_TAIL_BYTES(format) (FORMAT_IS_SCALED(format) ? 64u : 0u)
#define FORMAT_OFFSET(format)                                                                      \
    ((format) == FORMAT_S4 ? 8 : (format) == FORMAT_S5 ? 16 : (format) == FORMAT_U6 ? 32 : 128)

/* Largest s, or m, or what they add up to in S4 (S5: 2 s + m). A block adds at most 32512 times that to
 * its span's sum: 32 (16) centred codes of at most 8 (16) times activations of 127, and 8 times 32 (16)
 * activations. */
#define SPAN_SCALE_MAX (65000 / (int)SPAN_BLOCKS)
_Static_assert(SPAN_SCALE_MAX <= INT16_MAX, "scales are 16 bits");

struct segment {
    enum weight_format format;
    uint32_t first_output; /* in the stacked weight */
    uint32_t n_outputs;
    uint32_t n_groups;
    uint32_t n_cols;
    uint32_t part_cols; /* F8: columns of a scale; else 0 */
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
    struct huge_slab *slab; /* counted; holds the segments' data. NULL: they lie in an image */
    bool is_gated;          /* segment 0 is the gate, segment 1 the up projection, of equal shape */
    bool needs_codes;       /* some segment is quantised */
    bool needs_spans;       /* some segment is scaled by integers */
    bool needs_floats;      /* some segment is of floats */
};

/* Sixteen rows of 32 columns: all that a product needs of them at fixed distances from one pointer.
 * The codes are an AMX A tile. An odd number of cache lines, so that the tiles of one row's blocks
 * do not fall into the same few sets of the L1 cache. */
#define TILE_ROWS 16u

struct row_tile {
    _Alignas(64) int8_t codes[TILE_ROWS][BLOCK_COLS];
    /* What the sums of dot products start from. S: -offset * sum of codes, with the part for the
     * minima, 8 * sum of codes, in the upper 16 bits. */
    int32_t start_s4[TILE_ROWS];
    int32_t start_s5[2][TILE_ROWS]; /* columns 0..15, 16..31 */
    int32_t start_u6[2][TILE_ROWS];
    int32_t start_u8[TILE_ROWS];
    float scale[TILE_ROWS]; /* of the row's span; the same in all its blocks */
};

static inline size_t segment_group_bytes(enum weight_format format, uint32_t n_cols)
{
    size_t n_blocks = n_cols / BLOCK_COLS;
    return n_blocks * BLOCK_BYTES(format) +
           (n_blocks + SPAN_BLOCKS - 1) / SPAN_BLOCKS * SPAN_TAIL_BYTES(format);
}

/* Of block `block` in a group of a format of codes. */
static inline size_t block_offset(enum weight_format format, uint32_t block)
{
    return (size_t)block * BLOCK_BYTES(format) +
           (size_t)(block / SPAN_BLOCKS) * SPAN_TAIL_BYTES(format);
}

/* An E4M3's bits as an f16's are a number 2^8 times smaller; the scales make up for it. */
#define F8_AS_HALF 256.0f
/* F8: where the part that begins at column `column` lies in a group. */
#define F8_SCALE_BYTES (GROUP_OUTPUTS * sizeof(float))
static inline size_t f8_part_offset(uint32_t part_cols, uint32_t column)
{
    return column / part_cols * F8_SCALE_BYTES + (size_t)column * GROUP_OUTPUTS;
}

static inline size_t f8_group_bytes(uint32_t part_cols, uint32_t n_cols)
{
    size_t parts = ((size_t)n_cols + part_cols - 1) / part_cols;
    return (parts * F8_SCALE_BYTES + (size_t)n_cols * GROUP_OUTPUTS + 31) / 32 * 32;
}

struct activation {
    uint32_t n_cols;
    uint32_t n_blocks;    /* of 32 columns */
    uint32_t span_blocks; /* that share a scale; SPAN_BLOCKS or 1 */
    uint32_t rows_max;
    struct row_tile
        *tiles;    /* owned; [rows_max / 16, rounded up][n_blocks]; NULL when floats are all
                               that is read */
    float *floats; /* owned; [rows_max][float_stride] */
    size_t float_stride;
};

static inline struct row_tile *activation_tile(const struct activation *a, uint32_t row,
                                               uint32_t block)
{
    return a->tiles + (size_t)(row / TILE_ROWS) * a->n_blocks + block;
}

/* Cache of one layer, block and KV head: 16 keys, then 16 values.
 *
 *   KV_F16   keys [d_head][16 tokens], so that the scores of 16 positions are multiply-adds over
 *            d_head without horizontal sums; values [16 tokens][d_head]
 *   KV_INT8  a key or value is scale * code, codes -127..127, scale f32 and of its own:
 *            keys [d_head / 4][16 tokens][4] of u8, 128 + code; 16 scales;
 *            values [16 tokens / 4][d_head][4 tokens] of s8; 16 scales.
 *            Four codes side by side are what vpdpbusd multiplies with four of a query (keys), or
 *            with the weights of four positions (values): 16 sums at once, none of them horizontal.
 *
 * All layers of a block lie together: a short sequence touches few pages of memory (with the
 * layers outermost the first prompt after a start faults in a huge page for each of them), and a
 * block is copied in one piece. */
struct kv_store {
    struct kv_shape shape;
    size_t head_bytes;
    size_t layer_bytes; /* n_kv_heads * head_bytes */
    uint8_t *data;      /* owned; [n_blocks][n_layers][n_kv_heads][head_bytes] */
};

static inline uint8_t *kv_head_data(const struct kv_store *kv, uint32_t layer, uint32_t block,
                                    uint32_t head)
{
    size_t index = (size_t)block * kv->shape.n_layers + layer;
    return kv->data + index * kv->layer_bytes + head * kv->head_bytes;
}

/* Where the parts of a KV_INT8 head lie. */
#define KV_SCALES_BYTES              (KV_BLOCK_TOKENS * sizeof(float))
#define KV_INT8_KEY_SCALES(d_head)   ((size_t)KV_BLOCK_TOKENS * (d_head))
#define KV_INT8_VALUES(d_head)       (KV_INT8_KEY_SCALES(d_head) + KV_SCALES_BYTES)
#define KV_INT8_VALUE_SCALES(d_head) (KV_INT8_VALUES(d_head) + KV_INT8_KEY_SCALES(d_head))
#define KV_INT8_HEAD_BYTES(d_head)   (KV_INT8_VALUE_SCALES(d_head) + KV_SCALES_BYTES)

#endif
