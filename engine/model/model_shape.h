#ifndef PENSTOCK_MODEL_SHAPE_H
#define PENSTOCK_MODEL_SHAPE_H

#include "model_family.h"
#include "model_source.h"
#include "status.h"

/* What kind of decoder a model is and how large it is: its row of the table of families, and the hyperparameters read and
 * checked against named limits. Pure. */

/* Four times the largest published decoder, or more. */
#define LAYERS_MAX 1024u

enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,
    ROPE_SCALING_LLAMA3,
    ROPE_SCALING_YARN
};

/* Divisors that a file keeps as tensors (rope_freqs.weight, rope_factors_*.weight) come on top of any of the scalings. */
struct rope_shape {
    uint32_t d_rope;
    double base;
    enum rope_scaling scaling;
    double factor;                  /* > 0; the context's growth */
    uint32_t context_original;      /* positions trained before the growth */
    double attention_factor;        /* multiplies the magnitude; 1 by default */
    double beta_fast, beta_slow;    /* YaRN */
    bool is_exact;                  /* YaRN: the ramp's ends are real numbers */
    double low_factor, high_factor; /* llama3 */
};

struct expert_facts {
    uint32_t n_experts; /* 0: the MLP is dense */
    uint32_t n_used;
    uint32_t d_hidden;
    enum router_kind router;
};

struct model_shape {
    const struct model_family *family;
    uint32_t n_layers, d, d_ffn, n_heads, n_kv_heads, d_head, vocabulary, context_trained;
    float rms_epsilon;
    float norm_offset; /* added to the gains of norms */
    float embedding_scale;
    float attention_scale;          /* of scores */
    float attention_cap, logit_cap; /* 0: none */
    bool is_head_tied;
    uint32_t window;                    /* of the layers that have one; 0: none has */
    uint64_t windowed[LAYERS_MAX / 64]; /* bit i: layer i has it */
    bool rope_is_interleaved;           /* rotated pairs are (2i, 2i+1); else NeoX halves */
    struct rope_shape rope;
    struct rope_shape local_rope; /* of layers with a window, in families with FAMILY_LOCAL_ROPE */
    struct expert_facts experts;
};

/* STATUS_INVALID: a key is missing or out of range; STATUS_UNSUPPORTED: the architecture or a feature of it. */
NODISCARD status model_shape_read(const model_source *source, struct model_shape *out,
                                  struct error_note *note);

/* Query, key and value features of one row. */
static inline uint32_t model_shape_qkv_width(const struct model_shape *shape)
{
    return (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
}

static inline bool model_shape_has_window(const struct model_shape *shape, uint32_t layer)
{
    return shape->window != 0 && (shape->windowed[layer / 64] >> (layer % 64) & 1) != 0;
}

static inline bool model_shape_is_local(const struct model_shape *shape, uint32_t layer)
{
    return family_has(shape->family, FAMILY_LOCAL_ROPE) && model_shape_has_window(shape, layer);
}

#endif
