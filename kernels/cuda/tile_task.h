#ifndef PENSTOCK_KERNELS_CUDA_TILE_TASK_H
#define PENSTOCK_KERNELS_CUDA_TILE_TASK_H

#include "activation_view.h"
#include "backend.h"
#include "runtime/device_runtime.h"
#include "weights.h"

/* What the tile kernel does, as tile_product.cu (plain rows) and experts_product.cu (slots of experts) ask for it.
 *
 * A block multiplies 64 outputs with up to 64 rows. Its eight warps are two halves of 32 outputs (of a gated weight: 32 of the
 * gate's and the same 32 of the up projection's, so that it can join them) by four quarters of the columns. */

#define TILE_THREADS 256u
#define TILE_OUTPUTS 64u /* of a block */
#define TILE_HALF    32u /* of a half of it */
/* Columns of a stage: a group of 32 for each of the four warps that share a half. Two cells of a band, so that a stage of 64
 * outputs is 4.6 KB of four-bit codes. */
#define TILE_COLS 128u
/* Stages in shared memory, of which all but one are on their way. An H200 hides its latency behind some 40 KB a
 * multiprocessor: three stages of 4.6 KB in each of three blocks. */
#define TILE_STAGES   4u
#define TILE_ROWS_MAX 64u

/* Bytes of a row of a stage: of the activation, and of 16-bit weights. */
#define TILE_ROW_BYTES (2u * TILE_COLS)

/* Tiles of a part of so many outputs. */
WEIGHT_FACT uint32_t tile_count_of(uint32_t n_outputs, bool is_gated)
{
    return is_gated ? (n_outputs + TILE_HALF - 1) / TILE_HALF
                    : (n_outputs + TILE_OUTPUTS - 1) / TILE_OUTPUTS;
}

struct tile_task {
    /* The weight: parts, or those of an expert when expert_parts is not NULL (parts[i] then tells n_outputs and form). */
    struct weight_part parts[WEIGHT_PART_MAX];
    uint32_t part_count;
    bool is_gated;        /* out is written, else y */
    uint32_t tile_count;  /* of all parts, in the order of blocks */
    uint32_t split_count; /* blocks that share a tile's columns */
    uint32_t split_stages;
    uint32_t half_bytes;                    /* of a stage: the most that a half's weights take */
    const struct weight_part *expert_parts; /* [n_experts, part_count] */
    const uint32_t *starts;             /* [n_experts + 1] slots of experts, with expert_parts */
    uint32_t first_expert, last_expert; /* that have slots; the last is not one of them */
    /* The rows. Of experts: the slots that `starts` tells, and n_rows is not read. */
    const uint16_t *bf16, *f16;
    uint32_t n_cols, n_rows;
    /* What becomes of the products. */
    const float *bias;
    uint32_t bias_stride;   /* from one expert to the next */
    const float *gate_rows; /* gated_terms.rows */
    bool accumulate;
    float *y;
    uint32_t y_width;
    enum gate_kind gate;
    struct activation_view out;
    float *partial; /* [split_count, n_rows, tile_count * 64], when there is more than one split */
};

/* Fills in what follows from the weight: its parts, tiles, splits and stages. */
void tile_task_of(const struct weight_view *w, bool is_gated, bool is_split,
                  struct tile_task *task);
/* Rows of a block for a weight and so many rows that share it. */
uint32_t tile_rows_of(const struct tile_task *task, uint32_t n_rows);
/* row_tiles: blocks along the rows, each of tile_rows (8, 16, 32 or 64). */
void tile_task_launch(device_stream *stream, const struct tile_task *task, uint32_t tile_rows,
                      uint32_t row_tiles);

#endif
