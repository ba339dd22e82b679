#ifndef PENSTOCK_BENCH_STEP_COST_H
#define PENSTOCK_BENCH_STEP_COST_H

#include "gguf.h"
#include "model.h"

/* What a step has to move and to compute at least, whatever computes it. */

struct model_cost {
    double layer_bytes;                   /* weights that every step reads */
    double head_bytes;                    /* and those of a step with logits */
    double layer_products, head_products; /* multiply-adds a row */
    double token_bytes;                   /* keys and values of a position, all layers */
    double pair_products; /* multiply-adds of attention for one row and one position, all layers */
};

/* The input table is left out: a row of it is read for a token. The head's bytes are those of the file, which a backend's
 * layout comes close to. */
struct model_cost model_cost_of(const gguf *file, const struct model_info *info);

struct step_cost {
    double bytes;                      /* weights, and keys and values of every sequence once */
    double product_ops, attention_ops; /* multiply and add counted as two */
};

/* One step of `batch` sequences of one row each, with `context` positions. */
struct step_cost decode_cost(const struct model_cost *per, uint32_t batch, uint32_t context);

/* All steps of a prompt, `step_tokens` tokens each. */
struct step_cost prefill_cost(const struct model_cost *per, uint32_t tokens, uint32_t step_tokens);

#endif
