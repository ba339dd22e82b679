#ifndef PENSTOCK_GATEWAY_API_OPENAI_RESPONSE_H
#define PENSTOCK_GATEWAY_API_OPENAI_RESPONSE_H

#include "wire_format.h"

/* Structs -> response JSON, appended to a buffer; no tree is built, and failure is the buffer's
 * own. What answers to completions look like is in wire_format.h; here is what they are made of and
 * what stands beside them. Oracle: the types of the official Python client, version 3; vLLM for
 * what OpenAI does not have (stop_reason, token_ids). Any thread that owns the buffers. */

/* Log probabilities of one choice, gathered as tokens come: items of "content" for chat, the four
 * parallel arrays for text completions. Owned by one thread. */
struct api_logprobs {
    bool is_chat;
    bool shows_ids;             /* tokens are named "token_id:17" */
    bool shows_special;         /* control tokens are part of the text, for text_offset */
    const tokenizer *tokenizer; /* borrowed */
    struct buffer items
        [4]; /* chat: [0] content, [1] what write_new wrote; text: tokens, token_logprobs, top_logprobs,
                                   text_offset */
    uint64_t text_offset; /* code points of the text before the next token */
};
/* `bytes_max` is the ceiling of each of the arrays. */
void api_logprobs_init(struct api_logprobs *logprobs, bool is_chat, const tokenizer *t,
                       size_t bytes_max);
void api_logprobs_deinit(struct api_logprobs *logprobs);
void api_logprobs_add(struct api_logprobs *logprobs, const struct engine_token *tokens,
                      uint32_t count);
/* Writes the object and forgets the items (not the offset). */
void api_logprobs_write(struct api_logprobs *logprobs, struct buffer *out);
/* Chat's kind, as a list: what has come since this was called last; and all there has been. NULL:
 * an empty list. */
void api_logprobs_write_new(struct api_logprobs *logprobs, struct buffer *out);
void api_logprobs_write_all(struct api_logprobs *logprobs, struct buffer *out);

/* What the engine said of a prompt's own tokens. Borrowed. */
struct api_prompt_scores {
    const tokenizer *tokenizer;
    const int32_t *ids; /* [count] */
    uint32_t count;
    const struct token_score *scores; /* [count]; the first is not set */
    const struct token_logprob
        *alternatives; /* [count, width], best first; the first are not set */
    uint32_t width;
    uint32_t asked_count; /* alternatives that prompt_logprobs asks for; <= width */
    uint32_t shown_count; /* and those that echo with logprobs does */
};
/* Text completions with echo: the prompt's tokens come first. `has_bos`: the first was added by the
 * server and is not in the text. */
void api_logprobs_add_prompt(struct api_logprobs *logprobs, const struct api_prompt_scores *scores,
                             bool has_bos);
/* The list of prompt_logprobs, as vLLM has it: null, then for each token an object by token id. */
void api_prompt_scores_write(const struct api_prompt_scores *scores, struct buffer *out);

/* GET /v1/models and /v1/models/{id}. */
enum api_capability { /* bits */
                      API_CAN_CHAT = 1,
                      API_CAN_COMPLETE = 2,
                      API_CAN_CALL_TOOLS = 4,
                      API_CAN_STRUCTURE = 8,
                      API_CAN_INFILL = 16,
                      API_CAN_EMBED = 32,
                      API_CAN_RERANK = 64,
                      API_CAN_SCORE = 128
};
struct api_model {
    const char *id, *root; /* root: the name that an alias stands for; an adapter's path */
    const char *parent;    /* the model that it adapts; NULL: it is no adapter */
    uint64_t created_s;
    uint32_t context_max;  /* tokens; 0: not known yet */
    uint32_t capabilities; /* enum api_capability; 0: not known yet */
};
void api_model_write(struct buffer *out, const struct api_model *model);

/* GET /tokenizer_info. Texts NULL: none. */
struct api_tokenizer_info {
    uint32_t vocabulary, context_max;
    const char *bos, *eos;
    struct text_slice chat_template;
};
void api_tokenizer_info_write(struct buffer *out, const struct api_tokenizer_info *info);

/* POST /tokenize and /detokenize. */
void api_tokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count,
                        uint32_t context_max, bool with_texts);
void api_detokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count);

#endif
