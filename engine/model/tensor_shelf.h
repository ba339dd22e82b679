#ifndef PENSTOCK_TENSOR_SHELF_H
#define PENSTOCK_TENSOR_SHELF_H

#include "gguf.h"

/* The tensors of a file, taken off one by one under their expected shapes. What is still there at
 * the end was not understood. */
struct tensor_shelf {
    const gguf *file;        /* borrowed */
    bool *is_taken;          /* owned; [tensor count] */
    struct error_note *note; /* or NULL */
    uint32_t layer;          /* in the names of layer tensors */
};

NODISCARD status tensor_shelf_init(struct tensor_shelf *shelf, const gguf *file,
                                   struct error_note *note);
void tensor_shelf_deinit(struct tensor_shelf *shelf);

/* "blk.<layer>.<suffix>" when suffix begins with a dot, else the name itself. */
#define TENSOR_NAME_MAX 64
const char *tensor_shelf_name(const struct tensor_shelf *shelf, const char *suffix,
                              char name[TENSOR_NAME_MAX]);

/* Takes a matrix of n_outputs rows; n_outputs == 1 also fits a tensor of one dimension. *out has
 * data == NULL when it is absent and not required. STATUS_INVALID names the tensor, its shape and
 * the one expected. */
NODISCARD status tensor_shelf_take(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                                   uint32_t n_outputs, uint32_t n_cols, struct tensor_source *out);

/* STATUS_UNSUPPORTED: a tensor is left, named in the note. */
NODISCARD status tensor_shelf_check_empty(const struct tensor_shelf *shelf);

#endif
