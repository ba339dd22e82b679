#ifndef PENSTOCK_TENSOR_SHELF_H
#define PENSTOCK_TENSOR_SHELF_H

#include "model_source_private.h"

/* Copies for one weight: gate and up of an expert put in order, or a matrix put in order, its columns cut, and their factors. */
#define SHELF_COPIES_MAX 3u

/* The tensors of a model, taken off one by one under their expected shapes. What is still there at
 * the end was not understood. */
struct tensor_shelf {
    const model_source *source;     /* borrowed */
    bool *is_taken;                 /* owned; [tensor count] */
    struct error_note *note;        /* or NULL */
    uint32_t layer;                 /* in the names of layer tensors */
    void *copies[SHELF_COPIES_MAX]; /* owned; of what lies in another order, or is cut */
    uint32_t copy_count;
};

/* One of a stack of matrices. */
struct stack_place {
    uint32_t index, count; /* {0, 1}: a tensor that is no stack */
};

NODISCARD status tensor_shelf_init(struct tensor_shelf *shelf, const model_source *source,
                                   struct error_note *note);
void tensor_shelf_deinit(struct tensor_shelf *shelf);

/* "blk.<layer>.<suffix>" when suffix begins with a dot, else the name itself. */
#define TENSOR_NAME_MAX 64
const char *tensor_shelf_name(const struct tensor_shelf *shelf, const char *suffix,
                              char name[TENSOR_NAME_MAX]);
bool tensor_shelf_has(const struct tensor_shelf *shelf, const char *suffix);

/* Takes a matrix of n_outputs rows; n_outputs == 1 also fits a tensor of one dimension. *out has
 * data == NULL when it is absent and not required. A matrix that lies in another order is copied, for
 * as long as tensor_shelf_forget is not called. STATUS_INVALID names the tensor, its shape and
 * the one expected; STATUS_NO_MEMORY. */
NODISCARD status tensor_shelf_take(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                                   uint32_t n_outputs, uint32_t n_cols, struct tensor_source *out);
/* Matrix place.index of a stack of place.count. */
NODISCARD status tensor_shelf_take_stacked(struct tensor_shelf *shelf, const char *suffix,
                                           struct stack_place place, uint32_t n_outputs,
                                           uint32_t n_cols, struct tensor_source *out);
/* Marks a tensor that may be there as taken: another rank has it. */
void tensor_shelf_pass_over(struct tensor_shelf *shelf, const char *suffix);
/* Room for a copy; NULL when there is none, with a note. */
void *tensor_shelf_allocate(struct tensor_shelf *shelf, uint64_t bytes);
/* Frees the copies. */
void tensor_shelf_forget(struct tensor_shelf *shelf);

/* A stack of `rows` vectors of `n` numbers as floats. *is_found: false when it is absent and not required. */
NODISCARD status tensor_shelf_read_floats(struct tensor_shelf *shelf, const char *suffix,
                                          bool is_required, uint32_t rows, uint32_t n, float *out,
                                          bool *is_found);

/* STATUS_UNSUPPORTED: a tensor is left, named in the note. */
NODISCARD status tensor_shelf_check_empty(const struct tensor_shelf *shelf);

#endif
