#ifndef PENSTOCK_KERNELS_CPU_ROPE_H
#define PENSTOCK_KERNELS_CPU_ROPE_H

#include <stdint.h>

#include "backend.h"

/* Cosines and sines of a step's rows. All layers of a step rotate by the same angles, so they are
 * computed once, when the positions or the table change, in double; two tables are remembered, for
 * models that alternate (local and global). */
struct rope_angles {
    const float *frequencies; /* borrowed; NULL: empty */
    uint32_t d_rope;
    float magnitude;
    bool is_interleaved;
    uint32_t n_rows;
    uint32_t *positions; /* owned; [rows_max] */
    float *cosines;      /* owned; [rows_max, d_max], rows of d_max floats */
    float *sines;        /* owned; interleaved: per element, -sin then sin; else per pair */
};

struct rope_cache {
    struct rope_angles angles[2];
    uint32_t latest; /* index last used */
    uint32_t rows_max, d_max;
};

/* Makes room; forgets what was there. */
NODISCARD status rope_cache_reserve(struct rope_cache *cache, uint32_t rows_max, uint32_t d_max);
void rope_cache_deinit(struct rope_cache *cache);

const struct rope_angles *rope_cache_get(struct rope_cache *cache, const struct rope_table *rope,
                                         const uint32_t *positions, uint32_t n_rows);

#endif
