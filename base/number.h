#ifndef PENSTOCK_BASE_NUMBER_H
#define PENSTOCK_BASE_NUMBER_H

#include "buffer.h"

/* Appends the shortest of "%.15g", "%.16g", "%.17g" that reads back equal: "0.1", "3", "1e+300".
 * `value` must be finite. */
void number_write_shortest(struct buffer *out, double value);

#endif
