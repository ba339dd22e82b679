#ifndef PENSTOCK_CUDA_ACTIVATION_VIEW_H
#define PENSTOCK_CUDA_ACTIVATION_VIEW_H

#include <stdint.h>

/* Rows that products read, as kernels see them: device pointers to each form that somebody wants, NULL for the others. All
 * forms say the same values. F32 weights read f32; F16 read f16; BF16 and F8 read bf16; coded types read codes of up to
 * eight rows and bf16 of more.
 *
 * Codes: int8, in groups of ACTIVATION_GROUP columns. A group's scale is its largest magnitude / 127, its codes are
 * round(x / scale), and its sum is scale * (the sum of its codes): what a constant offset of a weight's codes is multiplied
 * with. n_cols is a multiple of ACTIVATION_GROUP where codes are wanted. Every pointer is 16-byte aligned. */
#define ACTIVATION_GROUP 32u

struct activation_view {
    uint32_t n_cols;
    uint16_t *bf16; /* [n_rows, n_cols] */
    uint16_t *f16;  /* [n_rows, n_cols]; beyond its range: the largest there is */
    int8_t *codes;  /* [n_rows, n_cols] */
    float *scales;  /* [n_rows, n_cols / 32], with codes */
    float *sums;    /* [n_rows, n_cols / 32], with codes */
    float *f32;     /* [n_rows, n_cols] */
};

#endif
