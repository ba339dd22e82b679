#ifndef PENSTOCK_MODEL_SHAPE_H
#define PENSTOCK_MODEL_SHAPE_H

#include "backend.h"
#include "gguf.h"
#include "status.h"

/* What kind of decoder a file holds and how large it is: one row of the table of families, and the
 * hyperparameters read and checked against named limits. Pure. */

/* The features in which families differ. A new family is a row here; a feature that no row had
 * before is a column, its place in model_weights.c or model.c, and a tiny reference model
 * (tests/parity). */
struct model_family {
    const char *architecture; /* general.architecture, and the prefix of the family's keys */
    bool rope_is_interleaved; /* rotated pairs are (2i, 2i+1): the converter permutes Q and K; else
                                 NeoX halves */
    bool requires_qkv_bias;   /* else a bias is used where the file has one */
    bool scales_embedding;    /* by sqrt(d) */
    enum gate_kind gate;
};

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

/* rope.* keys. rope_freqs.weight (llama3) comes on top of any of the scalings. */
struct rope_shape {
    uint32_t d_rope;
    double base;
    enum rope_scaling scaling;
    double factor;             /* > 0; the context's growth */
    uint32_t context_original; /* positions trained before the growth */
    double attention_factor;   /* multiplies the magnitude; 1 by default */
    double beta_fast, beta_slow;
};

struct model_shape {
    const struct model_family *family;
    uint32_t n_layers, d, d_ffn, n_heads, n_kv_heads, d_head, vocabulary, context_trained;
    uint32_t window; /* 0: attends to all positions */
    float rms_epsilon;
    struct rope_shape rope;
};

/* STATUS_INVALID: a key is missing or out of range; STATUS_UNSUPPORTED: the architecture or a
 * feature of it. */
NODISCARD status model_shape_read(const gguf *file, struct model_shape *out,
                                  struct error_note *note);

/* Query, key and value features of one row. */
static inline uint32_t model_shape_qkv_width(const struct model_shape *shape)
{
    return (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
}

#endif
