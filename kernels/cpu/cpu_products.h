#ifndef PENSTOCK_KERNELS_CPU_PRODUCTS_H
#define PENSTOCK_KERNELS_CPU_PRODUCTS_H

#include "cpu_backend.h"

/* The pieces of a product, for plain ones (cpu_products.c) and those of experts (cpu_experts.c). */

/* Pieces a member's range is cut into: enough that the last ones even out, few enough that claiming
 * them costs nothing. */
#define PIECES_PER_MEMBER 8u

/* Two groups of gate and up: 32 columns of the output, which are one block of its codes. */
#define UNIT_GROUPS  2u
#define UNIT_OUTPUTS (UNIT_GROUPS * GROUP_OUTPUTS)

struct product_job {
    struct cpu_backend *cpu;
    const weight *w;
    const activation *a;
    uint32_t row; /* of the block of rows; a multiple of TILE_ROWS */
    uint32_t n_rows;
    const float *bias;
    const float *row_terms; /* of a gated product; see gated_terms */
    bool accumulate;
    float *y;
    enum gate_kind gate;
    activation *out;
};

/* Groups [group, group + n_groups) of one segment, at most what a tile holds, for all rows of the
 * block. */
void product_multiply_groups(const struct product_job *job, const struct segment *segment,
                             uint32_t group, uint32_t n_groups, float *tile);

static inline uint32_t product_gated_units(const weight *w)
{
    return (w->n_groups + UNIT_GROUPS - 1) / UNIT_GROUPS;
}

/* One unit of a gated product for all rows of the block, into the floats of `out`. */
void product_gated_unit(const struct product_job *job, uint32_t unit,
                        struct member_scratch *scratch);

#endif
