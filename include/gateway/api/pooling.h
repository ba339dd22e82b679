#ifndef PENSTOCK_GATEWAY_API_POOLING_H
#define PENSTOCK_GATEWAY_API_POOLING_H

#include "openai.h"

/* The wire formats of models that turn texts into numbers: OpenAI's embeddings, and rerank and score as vLLM has them
 * (Cohere's and Jina's forms). Bodies -> structs with every field checked; answers -> JSON. Oracle: the official OpenAI client, vLLM
 * (entrypoints/openai/protocol.py, entrypoints/pooling). */

enum api_pooling_kind { POOLING_EMBED, POOLING_RERANK, POOLING_SCORE };

/* What is asked for: texts each for itself (embeddings), or pairs of a text of `firsts` and one of `seconds`. */
struct api_pooling_request {
    enum api_pooling_kind kind;
    json_t *body;      /* owned */
    const char *model; /* in `body`; NULL: absent */
    struct api_prompt
        *inputs; /* owned; embeddings: all; rerank: the query, then the documents; score: all of
                                    text_1, then all of text_2 */
    uint32_t input_count;
    uint32_t first_count; /* rerank: 1; score: texts of text_1 */
    int32_t *tokens;      /* owned; what token inputs point into */
    bool is_base64;
    uint32_t dimensions; /* 0: all */
    int64_t
        truncate; /* tokens a text is cut to; -1: what the model takes; -2: too long is an error */
    bool add_special;
    uint32_t top_n; /* rerank; 0: all */
    bool return_documents;
};

/* `inputs_max`: texts of one request. As api_completion_request_parse. */
NODISCARD status api_pooling_request_parse(enum api_pooling_kind kind, struct text_slice body,
                                           const struct api_limits *limits, uint32_t inputs_max,
                                           struct api_pooling_request *out,
                                           struct api_error *error);
void api_pooling_request_deinit(struct api_pooling_request *request);

/* Pairs that a rerank or score request stands for, and the two texts of one, as indices into `inputs`. */
uint32_t api_pooling_pair_count(const struct api_pooling_request *request);
void api_pooling_pair(const struct api_pooling_request *request, uint32_t pair, uint32_t *first,
                      uint32_t *second);

struct api_pooling_answer {
    const char *id, *model;
    uint64_t created_s;
    uint64_t prompt_tokens;
};

/* vectors: [request->input_count, width]. With request->dimensions the first so many numbers of each, made to length 1
 * again where `is_normalized`. */
void api_embeddings_write(struct buffer *out, const struct api_pooling_request *request,
                          const struct api_pooling_answer *answer, const float *vectors,
                          uint32_t width, bool is_normalized);
/* scores: one a pair. Rerank: highest first, at most top_n. `order`: room for two numbers a pair. */
void api_rerank_write(struct buffer *out, const struct api_pooling_request *request,
                      const struct api_pooling_answer *answer, const float *scores,
                      uint32_t *order);
void api_score_write(struct buffer *out, const struct api_pooling_request *request,
                     const struct api_pooling_answer *answer, const float *scores);

#endif
