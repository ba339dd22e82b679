#ifndef PENSTOCK_CUDA_SAMPLING_KERNELS_H
#define PENSTOCK_CUDA_SAMPLING_KERNELS_H

#include "sampling_shape.h"

/* The three launches of a sampling, in this order. */
void sampling_read_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape);
void sampling_part_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape);
void sampling_draw_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape);

#endif
