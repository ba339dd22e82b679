#ifndef PENSTOCK_MODEL_ADAPT_H
#define PENSTOCK_MODEL_ADAPT_H

#include "model_adapter_private.h"

/* The adapters of one step: rows grouped by adapter, and the changes of each product. Owned by the model. */
struct adapt_group {
    const model_adapter *adapter;
    const uint32_t *rows;
    uint32_t n_rows;
};

struct adapt {
    backend *b;                      /* borrowed */
    const struct model_shape *shape; /* borrowed */
    struct adapt_group *groups;      /* owned; [sequence_count_max] */
    uint32_t group_count;
    uint32_t *rows;   /* owned; [batch_tokens_max] */
    float *scratch;   /* device, owned; [batch_tokens_max, rank_max] */
    float *row_terms; /* device, owned; [batch_tokens_max, 2 * d_ffn]; NULL: a mixture of experts */
};

/* STATUS_NO_MEMORY. A zeroed struct may be closed. */
NODISCARD status adapt_open(struct adapt *adapt, backend *b, const struct model_shape *shape,
                            const struct model_options *options);
void adapt_close(struct adapt *adapt);

/* Groups the rows of a step; adapters: [n_sequences], or NULL. */
void adapt_begin(struct adapt *adapt, const struct step_batch *batch,
                 const model_adapter *const *adapters);

/* Adds the changes of parts first..last of a layer to y, rows of `width`. */
void adapt_product(struct adapt *adapt, uint32_t layer, enum adapter_part first,
                   enum adapter_part last, const activation *in, uint32_t width, float *y);
/* The changes of gate and up as terms of the gated product of n_rows rows; NULL: none. */
const float *adapt_gated(struct adapt *adapt, uint32_t layer, const activation *in,
                         uint32_t n_rows);

#endif
