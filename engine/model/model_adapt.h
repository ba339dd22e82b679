#ifndef PENSTOCK_MODEL_ADAPT_H
#define PENSTOCK_MODEL_ADAPT_H

#include "model_adapter_private.h"

/* The adapters of one step: which rows have which, and the changes of each product. Owned by the model. */
struct adapt {
    backend *b;                      /* borrowed */
    const struct model_shape *shape; /* borrowed */
    struct adapter_slots slots;
    const model_adapter **adapters; /* owned; [sequence_count_max]: of the step, each once */
    uint32_t adapter_count;
    struct low_rank *changes; /* owned; as adapters: what they do to one product */
    uint32_t rows_max;
    uint32_t *rows;        /* owned; [2, batch_tokens_max]: rows, and their adapters' numbers */
    uint32_t *device_rows; /* device, owned; as rows */
    struct low_rank_rows which;
    float *scratch;   /* device, owned; [batch_tokens_max, rank_max] */
    float *row_terms; /* device, owned; [batch_tokens_max, 2 * d_ffn]; NULL: a mixture of experts */
};

/* STATUS_NO_MEMORY. A zeroed struct may be closed. */
NODISCARD status adapt_open(struct adapt *adapt, backend *b, const struct model_shape *shape,
                            const struct model_options *options);
void adapt_close(struct adapt *adapt);

/* Tells the rows of a step; adapters: [n_sequences], or NULL. */
void adapt_begin(struct adapt *adapt, const struct step_batch *batch,
                 const model_adapter *const *adapters);

/* Adds the changes of parts first..last of a layer to y, rows of `width`. */
void adapt_product(struct adapt *adapt, uint32_t layer, enum adapter_part first,
                   enum adapter_part last, const activation *in, uint32_t width, float *y);
/* The changes of gate and up as terms of the gated product of n_rows rows; NULL: none. */
const float *adapt_gated(struct adapt *adapt, uint32_t layer, const activation *in,
                         uint32_t n_rows);

#endif
