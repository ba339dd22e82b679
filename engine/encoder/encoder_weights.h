#ifndef PENSTOCK_ENCODER_WEIGHTS_H
#define PENSTOCK_ENCODER_WEIGHTS_H

#include "encoder_shape.h"
#include "safetensors.h"

/* All weights of an encoder in the backend's layout, from either kind of file. */

/* A product: its matrix and bias. Two of equal columns and types read their rows in the same form, so
 * they can share an activation. */
struct encoder_matrix {
    weight *w;   /* owned */
    float *bias; /* device, owned; [n_outputs] */
    uint32_t n_cols;
    uint64_t type_mask; /* 1 << enum tensor_type */
};

struct encoder_norm {
    float *gain, *bias; /* device, owned; [d] */
};

struct encoder_layer {
    struct encoder_matrix qkv, attention_out, up, down;
    struct encoder_norm attention_norm, output_norm;
};

/* A head's matrix on the host: it sees one row a text. */
struct host_matrix {
    float *rows, *bias; /* owned; [n_outputs, n_cols], [n_outputs] */
    uint32_t n_outputs, n_cols;
};

struct encoder_weights {
    backend *b;                         /* borrowed */
    weight *tokens, *positions, *types; /* owned; tables */
    struct encoder_norm embedding_norm;
    struct encoder_layer *layers; /* owned; [n_layers] */
    uint32_t n_layers;
    struct host_matrix head_dense, head_out; /* of a class head */
    uint64_t bytes, parameter_count;
};

/* Exactly one of the files is given. STATUS_INVALID: a tensor is missing or of a wrong shape;
 * STATUS_UNSUPPORTED: of a type the backend does not take; STATUS_NO_MEMORY. `out` may be given to
 * encoder_weights_unload after any outcome. */
NODISCARD status encoder_weights_load(const safetensors *folder, const gguf *file, backend *b,
                                      const struct encoder_shape *shape,
                                      struct encoder_weights *out, struct error_note *note);
void encoder_weights_unload(struct encoder_weights *weights);

#endif
