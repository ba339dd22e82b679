#ifndef PENSTOCK_WEIGHT_CUT_H
#define PENSTOCK_WEIGHT_CUT_H

#include "model_part.h"
#include "tensor_shelf.h"

/* Parts of a file's matrices. STATUS_UNSUPPORTED: the part would begin or end inside of a block of the file's format, or of what
 * one factor scales; the shelf's note names the tensor and has the numbers. */

/* Outputs of a matrix: they lie together, so that nothing is copied. */
NODISCARD status weight_cut_outputs(const struct tensor_shelf *shelf, const char *suffix,
                                    const struct tensor_source *whole, struct model_span span,
                                    struct tensor_source *out);

/* Columns of a matrix: copied row by row, for as long as tensor_shelf_forget is not called. STATUS_NO_MEMORY. */
NODISCARD status weight_cut_columns(struct tensor_shelf *shelf, const char *suffix,
                                    struct model_span span, struct tensor_source *source);

#endif
