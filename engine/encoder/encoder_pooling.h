#ifndef PENSTOCK_ENCODER_POOLING_H
#define PENSTOCK_ENCODER_POOLING_H

#include "encoder_weights.h"

/* From the last layer's rows of one text to the numbers that are asked for. Pure; on the host. */

/* rows: [n_rows, d]; out: [d]. Sums are made in double, in the order of the rows. As
 * sentence-transformers' Pooling and Normalize. */
void encoder_pool(const struct encoder_shape *shape, const float *rows, uint32_t n_rows,
                  float *out);

/* The class head over the first row: out: [class_count]. `hidden`: d floats of scratch. */
void encoder_classify(const struct encoder_shape *shape, const struct encoder_weights *weights,
                      const float *row, float *hidden, float *out);

#endif
