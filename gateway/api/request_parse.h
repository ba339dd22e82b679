#ifndef PENSTOCK_GATEWAY_API_REQUEST_PARSE_H
#define PENSTOCK_GATEWAY_API_REQUEST_PARSE_H

#include "field.h"
#include "wire_format.h"

/* A field that a client of another API knows by another name. */
struct request_alias {
    const char *name;  /* ours */
    const char *shown; /* theirs */
};

/* What the parsers of one completion request share: the result, and what only the checks across
 * fields need. */
struct request_parse {
    const struct api_limits *limits;
    struct api_completion_request *out;
    struct api_error *error;
    bool is_strict;
    bool has_stream_options, has_generation_prompt, has_messages, has_prompt;
    bool is_logprobs_on;     /* chat: the boolean */
    bool has_max_completion; /* max_completion_tokens wins over max_tokens */
    const json_t *tool_choice, *function_call, *functions; /* NULL: absent */
    const char *tool_choice_name;                          /* as the client knows it */
    const char *reasoning_effort;                          /* NULL: absent */
    const char *reasoning_budget_name; /* as the client knows it; NULL: absent */
    bool has_priority;
    uint32_t best_of; /* text; 0: absent */
    /* strict: the fields that are not honoured, quoted, comma-separated; "" : none */
    char strict_names[API_IGNORED_BYTES_MAX];
    char strict_first[128]; /* the first of them */
    const char *strict_code;
    uint32_t strict_count;
    int64_t top_logprobs;                /* chat; -1: absent */
    const struct request_alias *aliases; /* ends with a NULL name; NULL: none */
    const struct api_history *history;   /* stored responses; NULL: none */
};

/* One row a field. `read` gets the value (never null: that is "absent") and its row. */
struct request_field {
    const char *name;
    unsigned scope;
    status (*read)(struct request_parse *parse, const struct request_field *field, json_t *value);
    size_t offset;       /* in struct api_completion_request */
    double min, max;     /* numbers */
    const char *neutral; /* fields that are not honoured: the compact JSON that asks for nothing */
};

/* What becomes of a field. */
enum request_field_fate { FIELD_HONOURED, FIELD_IGNORED, FIELD_REFUSED };

/* The table, for who describes it. */
size_t request_field_count(void);
const struct request_field *request_field_at(size_t index);
enum request_field_fate request_field_fate(const struct request_field *field);
/* The schema (schema_text.h) of fields that are one value of a common type; NULL: of none. Numbers
 * have the row's range, where that is one. */
const char *request_field_schema(const struct request_field *field);

#define SCOPE_CHAT 1u
#define SCOPE_TEXT 2u
#define SCOPE_BOTH 3u

/* Walks the body's members through the table. */
NODISCARD status request_fields_read(struct request_parse *parse);

/* Notes a field that is not honoured for x-ignored-params; with strict, for request_strict_verdict. */
NODISCARD status request_field_ignored(struct request_parse *parse, const char *name,
                                       const char *code);

/* With strict: the error that names all fields that are not honoured, if there are any. */
NODISCARD status request_strict_verdict(const struct request_parse *parse);

/* Custom readers, named in the table. */
typedef status request_reader(struct request_parse *parse, const struct request_field *field,
                              json_t *value);
request_reader request_read_messages, request_read_tools, request_read_tool_choice,
    request_read_parallel_calls, request_read_functions, request_read_function_call,
    request_read_reasoning_effort, request_read_reasoning_budget, request_read_documents,
    request_read_template_variables, request_read_prompt;
request_reader request_read_stop, request_read_stop_tokens, request_read_logit_bias,
    request_read_seed, request_read_logprobs_count, request_read_top_logprobs,
    request_read_stream_options, request_read_response_format, request_read_structured_outputs,
    request_read_language, request_read_modalities, request_read_max_completion_tokens,
    request_read_max_tokens, request_read_suffix, request_read_best_of,
    request_read_prompt_logprobs, request_read_truncate_prompt_tokens, request_read_service_tier,
    request_read_metadata, request_read_skip_special_tokens, request_read_priority,
    request_read_allowed_tokens, request_read_bad_words, request_read_chat_template,
    request_read_prediction, request_read_cache_options, request_read_cache_retention,
    request_read_dry_breakers, request_read_mirostat, request_read_repetition_detection;

/* The schema (schema_text.h) of a field that request_read_language reads. */
const char *request_language_schema(const struct request_field *field);

/* Brings `messages` into the shape that templates know (in place), and notes in `out` what is marked for the prefix cache.
 * `out` NULL: nobody wants to know (/tokenize). */
NODISCARD status messages_normalize(json_t *messages, const struct api_limits *limits,
                                    struct api_completion_request *out, struct api_error *error);
/* Checks a tools array. */
NODISCARD status tools_check(const json_t *tools, struct api_error *error);
/* What tools, tool_choice and their deprecated spellings say together. */
NODISCARD status request_tools_settle(struct request_parse *parse);
/* reasoning_effort, as the variables that templates know. */
NODISCARD status request_reasoning_settle(struct request_parse *parse);

/* Arena memory, or the error of having none. */
void *request_allocate(struct request_parse *parse, size_t count, size_t item_bytes);

/* Into arena memory: the token ids of `value`, which is an array; and a text that may not be empty
 * (`what` names it in the error). */
NODISCARD status request_copy_tokens(struct request_parse *parse, const json_t *value,
                                     const char *path, const int32_t **out, uint32_t *count);
NODISCARD status request_copy_text(struct request_parse *parse, const json_t *value,
                                   const char *path, size_t bytes_max, const char *what,
                                   struct text_slice *out);

#endif
