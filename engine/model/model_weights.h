#ifndef PENSTOCK_MODEL_WEIGHTS_H
#define PENSTOCK_MODEL_WEIGHTS_H

#include "model_part.h"
#include "model_shape.h"
#include "weight_cache.h"
#include "weight_cache_writer.h"

/* All weights of a decoder, or a rank's part of them, in the backend's layout. Every tensor's shape is checked against the
 * hyperparameters, and every tensor of the file must have been used: one left over is a feature
 * that we would silently leave out. */

/* One matrix, and which tensor types it was made of: two weights with the same columns and types
 * read their input rows in the same form, so they can share an activation. */
struct matrix {
    weight *w;         /* owned, but for a tied head; NULL in a pass that writes */
    const float *bias; /* device, owned; NULL: none */
    uint32_t n_cols;
    uint64_t type_mask; /* 1 << enum tensor_type */
};

/* One matrix an expert, all of one shape and form. */
struct expert_matrix {
    weight **w;  /* owned, as the weights in it; [n_experts], NULL where another rank has it */
    float *bias; /* device, owned; [n_experts, biases]; NULL: none */
    uint32_t n_cols;
    uint64_t type_mask;
};

struct model_layer {
    /* Device, owned; [d]. The post norms are NULL in families without. */
    float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm;
    float *query_gain, *key_gain;     /* device, owned; [d_head]; NULL: heads are not normed */
    float *sinks;                     /* device, owned; [n_heads]; NULL: none */
    struct matrix qkv, attention_out; /* rows of Q, then K, then V */
    struct matrix gate_up, down;      /* of a dense MLP */
    struct matrix router;             /* of a mixture: [n_experts, d] */
    struct expert_matrix expert_gate_up, expert_down;
};

/* Host, owned; [d_rope / 2] each, or NULL: what each pair's frequency is divided by. */
struct rope_divisors {
    float *always;         /* rope_freqs.weight */
    float *short_, *long_; /* LongRoPE: contexts up to the original one, and beyond */
};

struct model_weights {
    backend *b;                 /* borrowed */
    uint32_t n_layers;          /* of `layers` */
    uint32_t n_experts;         /* of a layer; 0: dense */
    struct model_layer *layers; /* owned */
    struct matrix embedding;    /* [vocabulary, d] */
    struct matrix head;         /* the embedding itself when the head is tied */
    bool is_head_tied;
    float *output_norm; /* device, owned; [d] */
    struct rope_divisors rope;
    uint64_t bytes;      /* in the backend's layout */
    weight_cache *cache; /* owned; what the weights lie in. NULL: in the backend's memory */
};

/* How matrices get into the backend's layout: both NULL, laid out from the file; `cache`, taken out
 * of it; `writer`, laid out, appended and let go, which leaves every `w` NULL. Borrowed. */
struct weight_route {
    weight_cache *cache;
    weight_cache_writer *writer;
};

/* shape: of the whole model. STATUS_INVALID: a tensor is missing or of a wrong shape, or the cache is not this model's;
 * STATUS_UNSUPPORTED: a tensor the architecture does not use, a bias that cannot be fused, or a part that cannot be cut out;
 * STATUS_NO_MEMORY; STATUS_IO from the writer. `out` may be given to model_weights_unload after any
 * outcome. */
NODISCARD status model_weights_load(const model_source *source, backend *b,
                                    const struct model_shape *shape, const struct model_part *part,
                                    const struct weight_route *route, struct model_weights *out,
                                    struct error_note *note);
/* Leaves `weights` as after a load that failed at once. */
void model_weights_unload(struct model_weights *weights);

#endif
