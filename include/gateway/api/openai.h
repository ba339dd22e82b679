#ifndef PENSTOCK_GATEWAY_API_OPENAI_H
#define PENSTOCK_GATEWAY_API_OPENAI_H

#include "arena.h"
#include "buffer.h"
#include "grammar.h"
#include "json.h"
#include "sampling.h"
#include "status.h"

/* The OpenAI wire formats, without any network: bodies -> structs with every field checked (an
 * error names the field, its range and what came). What goes back is in openai_response.h. Oracle:
 * the official Python client, version 3. */

struct api_responses;

struct api_error {
    int http_status;
    const char *type; /* "invalid_request_error", ... */
    char code[64];    /* "" : null */
    char param[128];  /* "" : null */
    char message[1024];
    uint64_t retry_after_ms; /* 0: none */
    bool is_final;     /* the same request will never do: x-should-retry false, whatever the code */
    const char *allow; /* 405: the methods that there are; static; NULL: none */
};
void api_error_set(struct api_error *error, int http_status, const char *type, const char *code,
                   const char *param, const char *format, ...) PRINTF_LIKE(6, 7);
/* Fills from the one table status -> HTTP code, type, code; `message` NULL: the table's own text.
 */
void api_error_from_status(struct api_error *error, status s, const char *message);
/* Appends {"error":{"message","type","param","code"}}. */
void api_error_write(const struct api_error *error, struct buffer *out);

struct api_limits {
    uint32_t messages_max, stops_max, n_max, logit_bias_max, json_depth_max, json_values_max;
    uint64_t stop_bytes_max, prompt_bytes_max, grammar_bytes_max;
    uint32_t prompt_scores_max; /* log probabilities of prompts in one request */
    uint32_t vocabulary;        /* token ids that a client names are below it; 0: not checked */
    bool strict;                /* fields that are unknown or not honoured are errors */
    bool trusts_templates;      /* a request may bring its own chat template */
    bool pins_prompts;          /* the prefix cache keeps what a request asks it to */
    bool hides_calls; /* the model's calls of tools are not told from text: none can be asked for */
    bool hides_reasoning; /* nor is its reasoning: it cannot be ended */
};

#define API_IGNORED_BYTES_MAX     512u
#define API_BAD_WORDS_MAX         256u
#define API_METADATA_MAX          16u   /* pairs; OpenAI's limit, as are the next two */
#define API_METADATA_KEY_MAX      64u   /* bytes */
#define API_METADATA_TEXT_MAX     512u  /* bytes */
#define API_TOOLS_MAX             128u  /* OpenAI's limit */
#define API_CHOICES_MAX           1024u /* prompts x n of one request */
#define API_TEXT_BYTES_MAX        1024u /* model, user, cache_salt and their kin */
#define API_DRY_BREAKER_BYTES_MAX 64u
#define API_STOP_TOKENS_MAX       256u
#define API_GRAMMAR_CHOICES_MAX   4096u /* texts of a choice */

/* OpenAI's max_tokens for text completions that name none; chat has none, the context is its limit. */
#define API_TEXT_MAX_TOKENS_DEFAULT 16

/* Who may wait: a request without a priority of its own gets that of its tier. */
enum api_service_tier { TIER_NOT_GIVEN, TIER_DEFAULT, TIER_FLEX, TIER_PRIORITY, TIER_COUNT };
extern const char *const api_service_tier_names[TIER_COUNT]; /* of TIER_NOT_GIVEN: NULL */

/* How long the beginning of a prompt is to stay in the prefix cache. */
enum api_cache_ttl {
    CACHE_TTL_5M,
    CACHE_TTL_30M,
    CACHE_TTL_1H,
    CACHE_TTL_12H,
    CACHE_TTL_24H,
    CACHE_TTL_COUNT
};
extern const uint64_t api_cache_ttl_ns[CACHE_TTL_COUNT];

/* The beginning of a prompt: up to where. A later place is a deeper one. */
struct api_cache_mark {
    enum api_cache_place {
        CACHE_NOWHERE,
        CACHE_TOOLS,   /* before the first message that is not the system's */
        CACHE_MESSAGE, /* the first `bytes` bytes of this message's text */
        CACHE_PROMPT   /* all of it */
    } place;
    size_t message, bytes; /* CACHE_MESSAGE */
};

/* One text that a client sends, as a text or as tokens. */
struct api_prompt {
    struct text_slice text;
    const int32_t *tokens; /* NULL: text */
    uint32_t token_count;
};

/* A chat or text completion request. */
struct api_completion_request {
    json_t *body;  /* owned; NULL after api_completion_request_release_body */
    arena *memory; /* owned: everything below that is not in `body` */
    const char *model;
    bool is_chat, stream, include_usage, continuous_usage;
    const json_t *messages, *tools, *documents,
        *template_variables; /* chat; in `body`; NULL: absent */
    const json_t
        *callable_tools;   /* those of `tools` that may be called; in `made`, or equal to `tools` */
    bool is_call_required; /* the answer is a call of one of them */
    bool is_single_call;   /* it has one call at most */
    bool has_functions;    /* the client speaks of functions, not tools, and is answered so */
    bool includes_reasoning;  /* else it is left out */
    bool separates_reasoning; /* else it is part of the text */
    int32_t reasoning_budget; /* tokens that it may take; -1: no limit */
    json_t
        *made; /* owned: an array of what was made beside the body; goes with it; NULL: nothing */
    struct text_slice prediction; /* what the answer may well be; empty: none */
    bool add_generation_prompt, continue_final_message;
    bool add_special; /* BOS and EOS where the model asks for them */
    /* text completions: one to many prompts, each a text (in `body`) or token ids */
    struct api_prompt *prompts;
    uint32_t prompt_count;
    struct text_slice chat_template; /* instead of the model's own; in `body`; data NULL: none */
    struct text_slice *bad_words;    /* [bad_word_count] never in the text of the answer */
    uint32_t bad_word_count;
    struct text_slice suffix; /* what follows the text that is asked for; in `body`; empty: none */
    bool echo;
    uint32_t n;
    int64_t max_tokens;              /* -1: not given; 0 only without chat */
    struct sampling_params sampling; /* seed is 0 where has_seed is false */
    bool has_seed;
    struct text_slice *stops;
    uint32_t stop_count;
    bool include_stop;
    const char *grammar_field; /* which field says what the text must be; NULL: none */
    struct grammar_source grammar;
    bool shows_special;   /* control tokens are part of the text */
    bool shows_token_ids; /* log probabilities name tokens "token_id:17" */
    bool
        has_prompt_scores; /* prompt_logprobs was given: so many alternatives beside each token's own */
    uint32_t prompt_alternatives;
    uint32_t prompt_tokens_max; /* of a longer prompt the last ones are kept; 0: no such limit */
    enum api_service_tier service_tier;
    int32_t priority;
    bool return_token_ids;
    const char *user;             /* NULL: absent */
    struct text_slice cache_salt; /* empty: absent */
    struct api_cache_mark
        cache_marks[CACHE_TTL_COUNT]; /* the deepest that the request has of each */
    struct api_responses *responses;  /* owned; of the responses API; NULL: another */
    /* comma-separated fields for x-ignored-params; "" : none */
    char ignored[API_IGNORED_BYTES_MAX];
};

/* STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NO_MEMORY: `error` is complete and nothing is to be
 * freed. On success the caller deinits. Messages are brought into the shape that chat templates
 * know: text parts joined by a newline, developer as system, tool call arguments as objects. Any
 * thread (prepare workers). */
NODISCARD status api_chat_request_parse(struct text_slice body, const struct api_limits *limits,
                                        struct api_completion_request *out,
                                        struct api_error *error);
NODISCARD status api_completion_request_parse(struct text_slice body,
                                              const struct api_limits *limits,
                                              struct api_completion_request *out,
                                              struct api_error *error);
/* Frees the JSON tree early: messages, tools, documents, template_variables and prompt texts are
 * gone then. */
void api_completion_request_release_body(struct api_completion_request *request);
void api_completion_request_deinit(struct api_completion_request *request);

/* Bodies of POST /tokenize and /detokenize, in vLLM's shape. */
struct api_tokenize_request {
    json_t *body;                                        /* owned */
    const char *model;                                   /* in `body`; NULL: absent */
    struct text_slice prompt;                            /* without messages */
    const json_t *messages, *tools, *template_variables; /* NULL: absent */
    bool add_generation_prompt, continue_final_message, add_special, return_token_texts;
};
NODISCARD status api_tokenize_request_parse(struct text_slice body, const struct api_limits *limits,
                                            struct api_tokenize_request *out,
                                            struct api_error *error);
void api_tokenize_request_deinit(struct api_tokenize_request *request);

struct api_detokenize_request {
    json_t *body;      /* owned */
    const char *model; /* in `body`; NULL: absent */
    int32_t *tokens;   /* owned */
    uint32_t token_count;
};
NODISCARD status api_detokenize_request_parse(struct text_slice body,
                                              const struct api_limits *limits,
                                              struct api_detokenize_request *out,
                                              struct api_error *error);
void api_detokenize_request_deinit(struct api_detokenize_request *request);

/* Bodies of POST /v1/load_lora_adapter (has_path) and /v1/unload_lora_adapter, in vLLM's shape; the model is ours, for
 * gateways with several. */
#define API_ADAPTER_NAME_BYTES_MAX 128u
struct api_adapter_request {
    json_t *body;      /* owned */
    const char *name;  /* in `body` */
    const char *path;  /* in `body`; NULL: not has_path */
    const char *model; /* in `body`; NULL: absent */
};
NODISCARD status api_adapter_request_parse(struct text_slice body, const struct api_limits *limits,
                                           bool has_path, struct api_adapter_request *out,
                                           struct api_error *error);
void api_adapter_request_deinit(struct api_adapter_request *request);

#endif
