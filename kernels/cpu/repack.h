#ifndef PENSTOCK_KERNELS_CPU_REPACK_H
#define PENSTOCK_KERNELS_CPU_REPACK_H

#include "layout.h"
#include "team.h"

/* The format that tensors of `type` are repacked to; false for an unknown type. */
bool repack_format(enum tensor_type type, enum weight_format *out);

/* Fills segment->data (n_groups * group_bytes, any content) from `source`, on the team, so that
 * each member touches first what it will read. */
void repack_segment(struct team *team, const struct tensor_source *source, struct segment *segment);

/* Writes scale * row `output` (of this segment) as f32. */
void segment_read_row(const struct segment *segment, uint32_t output, float scale, float *out);

#endif
