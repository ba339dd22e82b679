#ifndef PENSTOCK_MODEL_PART_H
#define PENSTOCK_MODEL_PART_H

#include "communicator.h"
#include "model_shape.h"

/* What of a model one rank has (Shoeybi et al. 2019, Megatron-LM, section 3): whole key heads with the query heads that read
 * them, the same columns of the MLP's two products, whole experts, and a range of the vocabulary. Where a model has fewer key
 * heads than there are ranks, several ranks hold the same one, for different query heads. Norms, the router and what else is
 * small is everybody's. Pure. */
struct model_part {
    uint32_t rank, size; /* size 1: all of it */
    uint32_t first_head, n_heads;
    uint32_t first_kv_head, n_kv_heads;
    uint32_t first_ffn, d_ffn;        /* of a dense MLP */
    uint32_t first_expert, n_experts; /* of a mixture; 0, 0 without */
    uint32_t first_token, vocabulary; /* rows of embedding and head */
    uint32_t vocabulary_unit;         /* of rank_share_first */
};

/* A range of a matrix' outputs or columns. */
struct model_span {
    uint32_t first, count;
};

/* STATUS_UNSUPPORTED: the model cannot be shared out so; the note has the numbers. */
NODISCARD status model_part_of(const struct model_shape *shape, uint32_t rank, uint32_t size,
                               struct model_part *out, struct error_note *note);

/* Cuts the shape down to the part: its heads and its MLP's columns. Experts and the vocabulary are counted whole. */
void model_part_narrow(const struct model_part *part, struct model_shape *shape);

/* Where each rank's query, key and value features are among those of all. */
void model_part_qkv(const struct model_part *part, const struct model_shape *whole,
                    struct model_span out[3]);

#endif
