#ifndef PENSTOCK_WEIGHT_LOADER_H
#define PENSTOCK_WEIGHT_LOADER_H

#include "model_weights.h"
#include "tensor_shelf.h"
#include "weight_cut.h"

/* Matrices and vectors off a shelf of tensors into the backend's layout: what the parts of a decoder
 * are loaded with. Every function tells what went wrong in the shelf's note. */

/* The most tensors that are stacked into one matrix: Q, K and V. */
#define STACK_MAX 3u

struct weight_loader {
    struct tensor_shelf shelf;
    const struct model_shape *shape; /* of the whole model */
    const struct model_part *part;
    const struct weight_route *route;
    struct model_weights *out;
};

/* One row of a matrix to build: its sources' names and how many outputs each has, and what of it this rank takes. */
struct stack {
    const char *suffixes[STACK_MAX];
    uint32_t n_outputs[STACK_MAX];
    uint32_t count;
    uint32_t n_cols; /* unused for vectors */
    /* Of the outputs of all sources, counted through; each lies in one source. 0: all of them, as they are stacked. */
    struct model_span outputs[STACK_MAX];
    uint32_t span_count;
    struct model_span columns; /* count 0: all */
};

/* Bit of a type in type_mask. */
uint64_t weight_type_mask(enum tensor_type type);
/* Tell what went wrong, and give the status on. */
status weight_refuse(struct weight_loader *l, status s, const char *suffix);
status weight_refuse_memory(const struct weight_loader *l);
/* Takes the stack's sources off the shelf, and what of them this rank takes: stack_source_count of them. */
NODISCARD status weight_take_stack(struct weight_loader *l, const struct stack *stack,
                                   struct tensor_source *sources, struct matrix *out);
static inline uint32_t stack_source_count(const struct stack *stack)
{
    return stack->span_count != 0 ? stack->span_count : stack->count;
}
/* By the route, from the image's sources. `suffix` is for messages. */
NODISCARD status weight_make(struct weight_loader *l, struct weight_image *image,
                             const char *suffix, weight **out);
NODISCARD status weight_load_matrix(struct weight_loader *l, const struct stack *stack,
                                    struct matrix *out);
/* Puts floats on the device. */
NODISCARD status weight_upload_floats(struct weight_loader *l, const float *values, uint32_t count,
                                      float **out);
/* Vectors of whatever type, one after the other, into host floats. *is_found: all are there; none:
 * STATUS_OK too. */
NODISCARD status weight_take_vectors(struct weight_loader *l, const struct stack *stack,
                                     bool is_required, float *out, bool *is_found);
/* Vectors stacked into one on the device, `offset` added; *out stays NULL when they are absent and not
 * required. */
NODISCARD status weight_load_vector(struct weight_loader *l, const struct stack *stack,
                                    bool is_required, float offset, float **out);
NODISCARD status weight_load_bias(struct weight_loader *l, const struct stack *stack,
                                  bool is_required, struct matrix *matrix);
/* The bias of a product whose sum is taken over the ranks: the first rank adds it. */
NODISCARD status weight_load_sum_bias(struct weight_loader *l, const char *suffix, uint32_t width,
                                      struct matrix *matrix);
NODISCARD status weight_load_norm(struct weight_loader *l, const char *suffix, uint32_t width,
                                  float **out);

/* weight_experts.c: the router and the experts of one layer. */
NODISCARD status weight_load_experts(struct weight_loader *l, struct model_layer *layer);

#endif
