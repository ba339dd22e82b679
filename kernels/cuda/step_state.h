#ifndef PENSTOCK_KERNELS_CUDA_STEP_STATE_H
#define PENSTOCK_KERNELS_CUDA_STEP_STATE_H

#include <stdint.h>

/* The description of the running step on the device. The addresses are the same in every step (the arrays are made once,
 * for the largest one), so that a graph can hold them; only what they hold changes, by one copy before the step.
 *
 * Launch extents may be larger than counts: rows from counts[0] on and sequences from counts[1] on are padding that a graph's
 * bucket asked for. A padded row has token 0, position 0 and a sequence of its own, whose block table holds the cache's trash
 * block (number n_blocks) alone. Padding is there in steps of one row a sequence only. */
struct step_state {
    const int32_t *tokens;        /* [n_rows]; -1 - k: what sample k of the step before gave */
    const uint32_t *row_position; /* [n_rows] */
    const uint32_t *row_sequence; /* [n_rows] */
    const uint32_t *row_start;    /* [n_sequences + 1]; padded sequences have one row each */
    const uint32_t *block_tables; /* [n_sequences, block_table_stride] */
    const uint32_t *logit_rows;   /* [logit rows]; padded ones are row 0 */
    uint32_t block_table_stride;
    /* [3]: rows, sequences and logit rows of the batch without padding */
    const uint32_t *counts;
};

#endif
