#ifndef PENSTOCK_MODEL_PRIVATE_H
#define PENSTOCK_MODEL_PRIVATE_H

#include "model.h"
#include "model_adapt.h"
#include "model_hidden.h"
#include "model_shape.h"
#include "model_weights.h"

/* What model.c, model_open.c and model_info.c share. */

/* One (a), (h) and (l) for each kind of mix: files have two or three. */
#define FORMS_MAX 32u

enum form_use { FORM_INPUT, FORM_GATED, FORM_LOGITS, FORM_SLOTS, FORM_GATED_SLOTS };

struct form {
    enum form_use use;
    uint32_t n_cols;
    uint64_t type_mask;
    activation *rows; /* owned */
};

/* What a layer reads through and how it attends, found once at open. */
struct layer_plan {
    /* Borrowed from `forms`; ffn_in is the router's in a mixture, whose experts read the slots. */
    activation *attention_in, *attention_out, *ffn_in, *ffn_gated, *slots_in;
    struct attention_shape attention;
    const struct rope_table *rope; /* borrowed from the model */
};

struct model {
    backend *b; /* borrowed */
    const struct backend_operations *operations;
    struct model_shape shape;
    struct model_options options;
    struct model_info info;
    struct model_weights weights;
    struct rope_table rope, local_rope;
    float *frequencies, *local_frequencies; /* owned; [d_rope / 2] */
    kv_store *kv;                           /* owned */
    expert_routes *routes;                  /* owned; NULL: no experts */
    struct adapt adapt;
    struct model_hidden hidden;

    struct form forms[FORMS_MAX];
    uint32_t form_count;
    struct layer_plan *layers; /* owned; [n_layers] */
    activation *logits_in;     /* borrowed from `forms` */

    float *x, *qkv, *logits; /* device, owned; [batch_tokens_max, d], [.., qkv width],
                                [logit_rows_max, vocabulary] */
    float *y;                /* device, owned; as x; NULL: no layer norms what it adds */
    float *router_logits;    /* device, owned; [batch_tokens_max, n_experts]; NULL: no experts */
    float *host_logits;      /* as logits: `logits` itself where the host can read it, else owned */
};

/* Facts of a file, without what only a backend knows (kv_block_bytes). */
struct model_info model_info_of(const model_source *source, const struct model_shape *shape);
struct kv_shape model_kv_shape(const struct model_shape *shape, uint32_t n_blocks,
                               enum kv_type type);

#endif
