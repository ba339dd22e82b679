#ifndef PENSTOCK_ENGINE_MODEL_H
#define PENSTOCK_ENGINE_MODEL_H

#include "backend.h"
#include "device_sampling.h"
#include "fim_tokens.h"
#include "model_source.h"
#include "pooling_facts.h"
#include "status.h"
#include "tokenizer_folder.h"

/* A decoder model on a backend: hyperparameters by a table of features, weights in the backend's
 * layout, and one function that runs a step. Owns its KV store. Thread: step, except
 * model_file_* which are pure. */
typedef struct model model;
typedef struct model_adapter model_adapter; /* model_adapter.h */

#define MODEL_NAME_MAX 96
struct model_info {
    const char *architecture; /* static */
    /* general.name in printable ASCII, cut to fit; "" when the file has none */
    char name[MODEL_NAME_MAX];
    uint32_t n_layers, d, n_heads, n_kv_heads, d_head, d_ffn, vocabulary;
    uint32_t context_trained;
    uint32_t window, windowed_layers;   /* layers that attend to the last `window` positions only */
    uint32_t n_experts, n_experts_used; /* of a layer, and of them for one token; 0: dense */
    uint64_t parameter_count; /* elements of the files' tensors; a tied head counts once */
    uint64_t weight_bytes;    /* in the backend's layout; from model_file_info: of the CPU paths */
    uint64_t
        kv_block_bytes; /* keys and values of KV_BLOCK_TOKENS positions, all layers; of all ranks */
    struct pooling_facts pooling; /* from model_file_info */
    bool has_unknown_pooling;     /* the files tell one that is none of those known */
    uint64_t mapped_ns; /* monotonic, when the weights were there; from model_file_info: 0 */
};

struct model_options {
    uint32_t batch_tokens_max; /* rows of one step */
    uint32_t logit_rows_max;   /* rows whose logits one step may ask for */
    uint32_t sequence_count_max;
    uint32_t context_max;
    uint32_t kv_blocks; /* blocks of KV_BLOCK_TOKENS */
    enum kv_type kv_type;
    /* Slots of a block each, in pinned memory of the host, for blocks that the cache has no room for; only where the backend
     * copies them (kv_save_blocks). 0: none */
    uint32_t host_slots;
    uint32_t adapter_rank_max; /* of LoRA adapters (model_adapter.h); 0: the model takes none */
    uint32_t adapters_max;     /* that are open at a time; counts on a device of its own */
    /* Where the weights in the backend's layout are kept for later starts, and looked for: a folder;
     * "auto": beside the model, or in the user's cache folder when that may not be written; "off" or
     * NULL: nowhere. Not needed after model_open. */
    const char *weight_cache;
    const char *model_path; /* of the source; needed for weight_cache */
    /* Tensor parallel: this many ranks compute each step together, each with its part of the weights and of the cache. 0, 1: one. The
     * backend given to model_open is the first's (rank_backend_open); the others open theirs, of what rank_backend
     * says that all have together, on threads of their own. No adapters with more than one. */
    uint32_t rank_count;
    struct backend_options rank_backend;
};

/* Loads from an open source, which must stay open until the model is closed. Counts in `options`
 * are > 0. STATUS_UNSUPPORTED names the architecture or feature, or why so many
 * ranks cannot share the model; STATUS_INVALID the key or
 * tensor that is wrong; STATUS_NO_MEMORY. */
NODISCARD status model_open(const model_source *source, backend *b,
                            const struct model_options *options, model **out,
                            struct error_note *note);
void model_close(model *m); /* accepts NULL */
const struct model_info *model_get_info(const model *m);

/* Reads only the hyperparameters: for sizing the cache before loading. Statuses as model_open. */
NODISCARD status model_file_info(const model_source *source, enum kv_type kv_type,
                                 struct model_info *out, struct error_note *note);

/* Whether `rank_count` ranks can share the model's heads, MLP or experts, and vocabulary. STATUS_OK; STATUS_UNSUPPORTED with the
 * numbers; else as model_file_info. That no block of a quantised matrix would have to be cut, model_open finds out. */
NODISCARD status model_file_check_ranks(const model_source *source, uint32_t rank_count,
                                        struct error_note *note);

struct model_step {
    /* [batch.n_rows]; -1 - k: what sample k of the step before gives (model_runs_ahead) */
    const int32_t *tokens;
    struct step_batch batch;
    const uint32_t *logit_rows; /* [logit_row_count] rows of the batch, rising */
    uint32_t logit_row_count;
    /* Rows of the batch whose hidden state after the last norm is wanted; each is added to [d] numbers of the caller's. */
    const uint32_t *hidden_rows; /* [hidden_row_count] */
    double *const *hidden_sums;  /* [hidden_row_count]; host */
    uint32_t hidden_row_count;
    const model_adapter *const *adapters; /* [batch.n_sequences], each may be NULL; or NULL: none */
    /* What a device is to do with logits (model_is_queued): tokens that it samples itself, with masks as step_sample's; and rows
     * of logits that the host is to see, by number. */
    const struct device_sample *samples; /* [sample_count] */
    uint32_t sample_count;
    const uint32_t *masks; /* [mask_count, mask words] */
    uint32_t mask_count;
    const uint32_t *host_rows; /* [host_row_count] */
    uint32_t host_row_count;
};

/* A device of its own runs the model's steps: it is asked for one, and its results are waited for later. Else a step is done
 * when model_launch returns, and the host sees all its logits. */
bool model_is_queued(const model *m);
/* A step may be launched before the one before it is collected, with tokens that only the device knows. At most
 * MODEL_STEPS_MAX are under way. */
bool model_runs_ahead(const model *m);
#define MODEL_STEPS_MAX 2u

/* Starts the step. Allocates nothing, and but for host_rows, hidden_rows and hidden_sums reads nothing of the caller's later; a step
 * with those is collected before another is launched. Tokens must be in the vocabulary, positions below context_max, and
 * counts within the options: the caller has checked them. ticket: for model_collect. STATUS_INTERNAL: the device failed. */
NODISCARD status model_launch(model *m, const struct model_step *step, uint64_t *ticket);

/* What a step has brought, valid until the next step is launched. */
struct model_result {
    const float *logits; /* host [logit_row_count, vocabulary] f32: all of them, or host_rows */
    const struct device_sample_result *samples; /* [sample_count] */
};
/* Waits for a launched step; in the order of their launches. STATUS_INTERNAL: the device failed, and nothing of the step may be
 * used. */
NODISCARD status model_collect(model *m, uint64_t ticket, struct model_result *out);

/* Launches a step without samples, and collects it with all its logits. */
NODISCARD status model_forward(model *m, const struct model_step *step, const float **logits);

/* What samples of `slot` wish for from now on (device_sampling.h). Only where model_is_queued. STATUS_INTERNAL. */
NODISCARD status model_set_sampling(model *m, uint32_t slot,
                                    const struct device_sampling_state *state);

/* For a time without steps: the memory of the cache and of the step's buffers goes back to the system, and with it what they
 * hold. Level 1 leaves the weights where they are; level 2 lets the system have those that lie in a weight cache, which
 * are read again at the end. A device with memory of its own gives it back: its weights go to the host's memory at level 1, and at
 * level 2 are read again out of the files at the end. Again with a higher level: sleeps deeper. */
void model_sleep(model *m, uint32_t level);
/* The end of it; the cache's content is undefined. STATUS_OK, also where it did not sleep; STATUS_IO, STATUS_INVALID: the
 * weights cannot be had again, STATUS_NO_MEMORY: the device has no memory for them now: with a note, and it sleeps on. */
NODISCARD status model_wake(model *m, struct error_note *note);

/* Has the operating system find the memory of a block of the cache; what it holds stays. Between steps. */
void model_kv_touch_block(model *m, uint32_t block);

/* Slots below the cache: host_slots, or none where a rank's host has no such memory to pin. block_ns: what it takes to copy a
 * block of all ranks into or out of one, as measured when the model was opened. */
uint32_t model_host_slots(const model *m, uint64_t *block_ns);
/* Whole blocks over all layers, each to its slot or from it, between the cache and the slots: queued between the steps around them, and in the
 * order of the calls. */
void model_kv_save_blocks(model *m, const uint32_t *blocks, const uint32_t *slots, uint32_t count);
void model_kv_load_blocks(model *m, const uint32_t *slots, const uint32_t *blocks, uint32_t count);

/* Copy on write: whole blocks over all layers. Pairs do not overlap. */
void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count);

/* The text side: a folder's own files, or what a GGUF file says of its vocabulary, with llama.cpp's defaults for what it
 * leaves out (src/llama-vocab.cpp), and its chat template. Statuses as tokenizer_create and tokenizer_folder_open;
 * STATUS_INVALID also where the vocabulary is larger than the model's. On failure nothing is left to deinit. */
NODISCARD status model_file_text(const model_source *source, struct tokenizer_folder *out,
                                 struct error_note *note);
/* The tokens for filling in the middle: those that the file names, or that are known by their texts. False: not all three
 * are there. */
bool model_file_fim_tokens(const model_source *source, const tokenizer *t, struct fim_tokens *out);

#endif
