#ifndef PENSTOCK_GATEWAY_API_OPENAI_RESPONSE_H
#define PENSTOCK_GATEWAY_API_OPENAI_RESPONSE_H

#include "buffer.h"
#include "engine.h"
#include "openai.h"

/* Structs -> response JSON, appended to a buffer; no tree is built, and failure is the buffer's
 * own. Oracle: the types of the official Python client, version 3; vLLM for what OpenAI does not
 * have (stop_reason, token_ids). Any thread that owns the buffers. */

/* What all parts of one answer share. Texts are borrowed. */
struct api_answer {
    const char *id;          /* "chatcmpl-..." */
    uint64_t created_s;      /* Unix time */
    const char *model;       /* as the client named it */
    const char *fingerprint; /* "fp_..." */
    bool is_chat;
    bool is_usage_wanted; /* streams: chunks carry "usage":null until the last */
};

struct api_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
};

/* Log probabilities of one choice, gathered as tokens come: items of "content" for chat, the four
 * parallel arrays for text completions. Owned by one thread. */
struct api_logprobs {
    bool is_chat;
    const tokenizer *tokenizer; /* borrowed */
    struct buffer items[4];     /* chat: [0] content; text: tokens, token_logprobs, top_logprobs,
                                   text_offset */
    uint64_t text_offset;       /* code points of the text before the next token */
};
/* `bytes_max` is the ceiling of each of the arrays. */
void api_logprobs_init(struct api_logprobs *logprobs, bool is_chat, const tokenizer *t,
                       size_t bytes_max);
void api_logprobs_deinit(struct api_logprobs *logprobs);
void api_logprobs_add(struct api_logprobs *logprobs, const struct engine_token *tokens,
                      uint32_t count);
/* Writes the object and forgets the items (not the offset). */
void api_logprobs_write(struct api_logprobs *logprobs, struct buffer *out);

struct api_choice {
    uint32_t index;
    struct text_slice text;
    struct api_logprobs *logprobs; /* NULL: not asked for */
    const int32_t *token_ids;      /* NULL: not asked for */
    uint32_t token_count;
    const int32_t *prompt_ids; /* text completions; NULL: not asked for */
    uint32_t prompt_count;
    enum finish_reason finish;   /* FINISH_STOP or FINISH_LENGTH; chunks: FINISH_NONE too */
    struct text_slice stop_text; /* the stop string that matched; empty: none */
    int32_t stop_token;          /* -1: none, or the model's own end */
};

/* A whole answer: begin, each choice by rising index, end. `prompt_ids` (chat; NULL: not asked
 * for). */
void api_completion_write_begin(struct buffer *out, const struct api_answer *answer);
void api_completion_write_choice(struct buffer *out, const struct api_answer *answer,
                                 const struct api_choice *choice);
void api_completion_write_end(struct buffer *out, const struct api_answer *answer,
                              const struct api_usage *usage, const int32_t *prompt_ids,
                              uint32_t prompt_count);

/* Server-sent events, one JSON chunk each. The first of a chat choice names the role, and the first
 * of an answer may carry the prompt's ids. `usage` (NULL: none): continuous_usage_stats. */
void api_chunk_write_role(struct buffer *out, const struct api_answer *answer, uint32_t index,
                          const int32_t *prompt_ids, uint32_t prompt_count,
                          const struct api_usage *usage);
/* Text, log probabilities and ids; `finish` is not looked at. */
void api_chunk_write_delta(struct buffer *out, const struct api_answer *answer,
                           const struct api_choice *choice, const struct api_usage *usage);
/* The choice's last chunk: finish_reason and stop_reason. */
void api_chunk_write_finish(struct buffer *out, const struct api_answer *answer,
                            const struct api_choice *choice, const struct api_usage *usage);
/* stream_options.include_usage: usage beside an empty list of choices. */
void api_chunk_write_usage(struct buffer *out, const struct api_answer *answer,
                           const struct api_usage *usage);
void api_event_write_error(struct buffer *out, const struct api_error *error);
void api_event_write_done(struct buffer *out);

/* GET /v1/models and /v1/models/{id}. */
struct api_model {
    const char *id, *root; /* root: the name that an alias stands for */
    uint64_t created_s;
    uint32_t context_max; /* tokens */
};
void api_model_write(struct buffer *out, const struct api_model *model);
void api_models_write(struct buffer *out, const struct api_model *models, size_t count);

/* POST /tokenize and /detokenize. */
void api_tokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count,
                        uint32_t context_max, bool with_texts);
void api_detokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count);

#endif
