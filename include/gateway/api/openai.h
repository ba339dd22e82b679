#ifndef PENSTOCK_GATEWAY_API_OPENAI_H
#define PENSTOCK_GATEWAY_API_OPENAI_H

#include "buffer.h"
#include "engine.h"
#include "json.h"
#include "status.h"

/* The OpenAI wire formats, without any network: bodies -> structs with every field checked (an error names the field, its
 * range and what came), and structs -> response JSON. Oracle: the official Python client. */

struct api_error {
    int http_status;
    const char *type;      /* "invalid_request_error", ... */
    char code[64];         /* "" : null */
    char param[128];       /* "" : null */
    char message[1024];
    uint64_t retry_after_ms; /* 0: none */
};
void api_error_set(struct api_error *error, int http_status, const char *type, const char *code, const char *param,
                   const char *format, ...) PRINTF_LIKE(6, 7);
/* Fills from the one table status -> HTTP code, type, retryable. */
void api_error_from_status(struct api_error *error, status s, const char *message);
/* Appends {"error":{"message","type","param","code"}}. */
void api_error_write(const struct api_error *error, struct buffer *out);

struct api_limits {
    uint32_t messages_max, stops_max, n_max, logit_bias_max, json_depth_max, json_values_max;
    uint64_t stop_bytes_max, prompt_bytes_max;
    bool strict; /* unknown fields are errors */
};

#define API_IGNORED_BYTES_MAX 512u

/* A chat or text completion request. Texts point into `body` (jansson tree), owned here. */
struct api_completion_request {
    json_t *body;                  /* owned */
    const char *model;
    bool is_chat, stream, include_usage, continuous_usage;
    const json_t *messages, *tools, *documents, *template_variables; /* chat; NULL: absent */
    bool add_generation_prompt, continue_final_message;
    /* text completions: one to many prompts, each a text or token ids */
    struct api_prompt {
        struct text_slice text;
        int32_t *tokens;           /* owned; NULL: text */
        uint32_t token_count;
    } *prompts;                    /* owned */
    uint32_t prompt_count;
    bool echo;
    uint32_t n;
    int64_t max_tokens;            /* -1: not given */
    struct sampling_params sampling; /* pointers owned here */
    bool has_seed;
    struct text_slice *stops;      /* owned array */
    uint32_t stop_count;
    bool include_stop;
    int32_t priority;
    bool return_token_ids;
    const char *user;
    char ignored[API_IGNORED_BYTES_MAX]; /* comma-separated fields for x-ignored-params; "" : none */
};

/* STATUS_INVALID: `error` is complete. On success the caller deinits. Any thread (prepare workers). */
NODISCARD status api_chat_request_parse(struct text_slice body, const struct api_limits *limits,
                                        struct api_completion_request *out, struct api_error *error);
NODISCARD status api_completion_request_parse(struct text_slice body, const struct api_limits *limits,
                                              struct api_completion_request *out, struct api_error *error);
void api_completion_request_deinit(struct api_completion_request *request);

#endif
