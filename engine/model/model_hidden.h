#ifndef PENSTOCK_ENGINE_MODEL_HIDDEN_H
#define PENSTOCK_ENGINE_MODEL_HIDDEN_H

#include "model.h"

/* The last hidden states of a step where the host reads them: what embeddings are made of. They are few numbers beside the
 * step's, so the host computes their norm itself, and in double. Thread: step. */
struct model_hidden {
    backend *b;
    const float *x; /* device, borrowed: [rows_max, d] */
    float *host_x;  /* `x` itself where the host can read it, else owned */
    float *gain;    /* owned; [d] */
    uint32_t d;
    float epsilon;
};

/* `x` and `gain` ([d], device) are those of the model. STATUS_OK, STATUS_NO_MEMORY or STATUS_INTERNAL. */
NODISCARD status hidden_open(struct model_hidden *hidden, backend *b, float *x, uint32_t rows_max,
                             uint32_t d, const float *gain, float epsilon);
void hidden_close(struct model_hidden *hidden); /* also when opening failed */

/* Behind the layers of a step that was synchronized: adds what `step` asks for. STATUS_INTERNAL: the device failed. */
NODISCARD status hidden_add(struct model_hidden *hidden, const struct model_step *step);

#endif
