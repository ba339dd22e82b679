#ifndef PENSTOCK_ENCODER_MODEL_H
#define PENSTOCK_ENCODER_MODEL_H

#include "encoder_weights.h"

/* An encoder on a backend: one forward pass and what is made of its last layer. Thread: the one that
 * opened the backend. */
typedef struct encoder_model encoder_model;

/* Takes over the shape; the files must stay open as long as the model. STATUS_INVALID,
 * STATUS_UNSUPPORTED, STATUS_NO_MEMORY. */
NODISCARD status encoder_model_open(const safetensors *folder, const gguf *file, backend *b,
                                    const struct encoder_shape *shape, uint32_t rows_max,
                                    uint32_t texts_max, encoder_model **out,
                                    struct error_note *note);
void encoder_model_close(encoder_model *m); /* accepts NULL */

const struct encoder_weights *encoder_model_weights(const encoder_model *m);

/* One pass over whole texts. */
struct encoder_pass {
    uint32_t text_count;
    const int32_t *tokens, *positions, *types; /* [rows] */
    const uint32_t *row_start;                 /* [text_count + 1]; no text is empty */
    float *const *out; /* [text_count]: d numbers of an embedding, or class_count scores */
};
/* Allocates nothing. STATUS_INTERNAL: the device failed. */
NODISCARD status encoder_model_run(encoder_model *m, const struct encoder_pass *pass);

#endif
