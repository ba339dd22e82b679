#ifndef PENSTOCK_MODEL_PRIVATE_H
#define PENSTOCK_MODEL_PRIVATE_H

#include "communicator.h"
#include "model.h"
#include "model_adapt.h"
#include "model_hidden.h"
#include "model_host.h"
#include "model_part.h"
#include "model_ranks.h"
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
    struct model_part part;
    struct model_shape shape; /* of the part: its heads, its columns of the MLP */
    struct model_options options;
    struct model_info info;
    struct model_weights weights;
    struct rope_table rope, local_rope;
    float *frequencies, *local_frequencies; /* owned; [d_rope / 2] */
    kv_store *kv;                           /* owned */
    struct model_host host;
    expert_routes *routes; /* owned; NULL: no experts */
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

    /* The step launched last; its pointers are good until the next launch, if it has any that count then. */
    struct model_step step;
    uint32_t open_count; /* launched and not collected */
    uint32_t *all_rows;  /* owned; 0 .. logit_rows_max - 1; NULL where the host reads the logits */

    bool is_asleep, has_dropped_weights; /* model_sleep.c */
    const model_source *source;          /* borrowed for the model's life */

    /* Of one of several ranks; NULL else. */
    communicator *c;      /* owned */
    int32_t *part_tokens; /* owned; [batch_tokens_max] tokens as rows of the part's embedding */
    float *part_logits;   /* device, owned; [logit_rows_max, part's vocabulary] */
    struct model_ranks *ranks; /* owned; the first rank's: the others. The others have no logits. */
};

/* Opens the part of one rank of a group; `group` NULL: the whole model. Of options, rank_count counts and rank_backend does not. */
NODISCARD status model_open_rank(const model_source *source, backend *b,
                                 const struct model_options *options, communicator_group *group,
                                 uint32_t rank, model **out, struct error_note *note);
/* model_launch and model_collect of one rank alone, without the others. */
NODISCARD status model_rank_launch(model *m, const struct model_step *step, uint64_t *ticket);
NODISCARD status model_rank_collect(model *m, uint64_t ticket, struct model_result *out);

/* After model_weights_unload: as they were, by the backend's allocation anew. On failure there are none. With a note. */
NODISCARD status model_read_weights_again(model *m, struct error_note *note);

/* Facts of a file, without what only a backend knows (kv_block_bytes). */
struct model_info model_info_of(const model_source *source, const struct model_shape *shape);
struct kv_shape model_kv_shape(const struct model_shape *shape, uint32_t n_blocks,
                               enum kv_type type);

#endif
