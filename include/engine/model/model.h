#ifndef PENSTOCK_ENGINE_MODEL_H
#define PENSTOCK_ENGINE_MODEL_H

#include "backend.h"
#include "gguf.h"
#include "status.h"
#include "tokenizer.h"

/* A decoder model on a backend: hyperparameters by a table of features, weights in the backend's layout, and one function
 * that runs a step. Owns its KV store. Thread: step, except model_file_* which are pure. */
typedef struct model model;

struct model_info {
    const char *architecture, *name; /* live as long as the model */
    uint32_t n_layers, d, n_heads, n_kv_heads, d_head, d_ffn, vocabulary;
    uint32_t context_trained;
    uint64_t parameter_count, weight_bytes, kv_block_bytes;
};

struct model_options {
    uint32_t batch_tokens_max;   /* rows of one step */
    uint32_t logit_rows_max;     /* rows whose logits one step may ask for */
    uint32_t sequence_count_max;
    uint32_t context_max;
    uint32_t kv_blocks;          /* blocks of KV_BLOCK_TOKENS */
    enum kv_type kv_type;
};

/* Loads from an open file (borrowed for the model's life). STATUS_UNSUPPORTED names the architecture or feature. */
NODISCARD status model_open(const gguf *file, backend *b, const struct model_options *options, model **out,
                            struct error_note *note);
void model_close(model *m);
const struct model_info *model_get_info(const model *m);

/* Reads only the hyperparameters: for sizing the cache before loading. Texts point into the file. */
NODISCARD status model_file_info(const gguf *file, enum kv_type kv_type, struct model_info *out, struct error_note *note);

struct model_step {
    const int32_t *tokens;        /* [batch.n_rows] */
    struct step_batch batch;
    const uint32_t *logit_rows;   /* [logit_row_count] rows of the batch */
    uint32_t logit_row_count;
};
/* Runs the step; logits: host [logit_row_count, vocabulary] f32, valid until the next step. Allocates nothing.
 * STATUS_INTERNAL: the device failed. */
NODISCARD status model_forward(model *m, const struct model_step *step, const float **logits);

/* Copy on write. */
void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count);

/* The vocabulary and the chat template of a file. */
NODISCARD status model_file_tokenizer(const gguf *file, tokenizer **out, struct error_note *note);
bool model_file_chat_template(const gguf *file, struct text_slice *out);

#endif
