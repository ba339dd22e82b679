#ifndef PENSTOCK_KERNELS_PLAIN_BLOCK_H
#define PENSTOCK_KERNELS_PLAIN_BLOCK_H

#include <stdint.h>

#include "backend.h"

/* The coded formats as one: what every repacking begins with. */

#define PLAIN_BLOCK_COLS 32u

/* 32 elements of a row. element = d * code + minimum; Q6_K has another d for its second 16 elements (and its minimum is -32 d
 * for both), Q8_0's codes have 128 added (and its minimum is 0, not set), and MXFP4's are 16 + 2 * element. */
struct plain_block {
    uint8_t codes[PLAIN_BLOCK_COLS];
    float d[2];    /* the second only of Q6_K */
    float minimum; /* not of Q6_K and Q8_0 */
};

/* Elements [32 * index, 32 * index + 32) of the row of `type` (a coded one) that begins at `row`. */
void plain_block_read(enum tensor_type type, const uint8_t *row, uint32_t index,
                      struct plain_block *out);

#endif
