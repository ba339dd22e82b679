#ifndef PENSTOCK_ENGINE_ENCODER_H
#define PENSTOCK_ENGINE_ENCODER_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics.h"
#include "status.h"
#include "tokenizer.h"

/* A BERT-type encoder on one slice: texts in, one vector (embedding models) or one score a class (cross-encoders) out. It
 * has no cache and no decode; its thread takes what waits, of however many requests, into one forward pass after the
 * other. A text's numbers do not depend on what it is computed with.
 *
 * Models: BERT, RoBERTa and XLM-RoBERTa (Devlin et al. 2019; Liu et al. 2019) from Hugging Face folders, with the pooling
 * and normalization that sentence-transformers' module files tell, or with the classification head of
 * *ForSequenceClassification; BERT from GGUF files. Oracle: sentence-transformers and transformers.
 *
 * Life: encoder_open -> encoder_submit from any thread -> encoder_close. */
typedef struct encoder encoder;

struct encoder_options {
    const char *model_path;      /* folder or GGUF file */
    const char *backend;         /* as engine_options */
    const char *slice_vendor;    /* as engine_options */
    uint32_t threads;            /* compute team; 0: cores of the slice */
    uint32_t context_max;        /* longest text, tokens; 0: the model's own */
    uint32_t batch_tokens_max;   /* rows of one pass; at least context_max is taken */
    uint32_t sequence_count_max; /* texts of one pass */
    uint32_t queue_requests_max; /* waiting requests */
    uint64_t queue_tokens_max;   /* their tokens together */
    metrics_registry *metrics;   /* borrowed; NULL: none */
    const char *served_name;     /* label model_name */
};

/* Whether the model at `path` is one for encoder_open: by config.json's "architectures" or GGUF's
 * general.architecture. Cheap; false for what cannot be read. */
bool encoder_can_open(const char *path);

struct encoder_info;
/* What can be told of the model without loading it; weight_bytes are the file's. Statuses as encoder_open. */
NODISCARD status encoder_file_info(const char *path, struct encoder_info *out,
                                   struct error_note *note);

/* STATUS_NOT_FOUND, STATUS_INVALID, STATUS_UNSUPPORTED, STATUS_TOO_LARGE, STATUS_IO, STATUS_NO_MEMORY, with a note. */
NODISCARD status encoder_open(const struct encoder_options *options, encoder **out,
                              struct error_note *note);
/* Waits for the pass that runs, ends what waits with STATUS_CLOSED, frees everything. Accepts NULL. */
void encoder_close(encoder *e);

struct encoder_info {
    const char *architecture; /* "bert", "roberta", ... */
    const char *backend;      /* the path chosen */
    uint64_t parameter_count, weight_bytes;
    uint32_t context_max; /* tokens of a text, special ones counted */
    uint32_t width;       /* of an embedding */
    uint32_t class_count; /* > 0: a cross-encoder; scores a text or a pair */
    uint32_t layers, vocabulary, threads;
    bool is_normalized; /* embeddings have length 1 */
};
const struct encoder_info *encoder_get_info(const encoder *e);
const tokenizer *encoder_get_tokenizer(const encoder *e); /* any thread */

/* Numbers of one text: `width` of an embedding, or class_count scores. */
static inline uint32_t encoder_output_count(const struct encoder_info *info)
{
    return info->class_count > 0 ? info->class_count : info->width;
}

struct encoder_request;
/* Encoder's thread; must not block. `result`: STATUS_OK, STATUS_CLOSED, STATUS_INTERNAL. The encoder has forgotten the
 * request when it calls. */
typedef void encoder_done_fn(struct encoder_request *request, status result);

/* Owned by the caller at one address from encoder_submit until on_done; what it points to is borrowed as long. */
struct encoder_request {
    uint32_t text_count;   /* > 0 */
    const int32_t *tokens; /* of all texts, special ones included */
    const uint32_t
        *text_start; /* [text_count + 1], rising; no text is empty or longer than context_max */
    const uint32_t *
        second_start; /* [text_count] index in the text from which it is the second of a pair; NULL: no pairs */
    float *out; /* [text_count, encoder_output_count] */
    encoder_done_fn *on_done;
    void *context;
    /* true: texts that wait are left out, on_done still comes; NULL: never */
    const _Atomic bool *is_unwanted;

    uint64_t busy_ns; /* set before on_done: its shares by tokens of the passes (time_shares.h) */
    uint64_t submitted_ns; /* the encoder's, as what follows */
    uint32_t next_text, pass_rows;
    struct encoder_request *next;
};

/* STATUS_OK; STATUS_FULL: the queue is at its limit; STATUS_INVALID: a text or token out of range; STATUS_CLOSED. Any
 * thread; never blocks. On anything but OK on_done does not come. */
NODISCARD status encoder_submit(encoder *e, struct encoder_request *request);

struct encoder_stats {
    uint32_t running, waiting; /* requests */
    uint64_t waiting_tokens, passes, texts, tokens;
    uint64_t busy_ns; /* in passes; the sum of what all requests are told */
    float pass_ms;    /* moving average */
};
void encoder_get_stats(const encoder *e, struct encoder_stats *out);

/* As engine_is_alive. */
bool encoder_is_alive(const encoder *e, uint64_t now_ns, uint64_t limit_ns);

#endif
