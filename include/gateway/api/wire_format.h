#ifndef PENSTOCK_GATEWAY_API_WIRE_FORMAT_H
#define PENSTOCK_GATEWAY_API_WIRE_FORMAT_H

#include "buffer.h"
#include "engine.h"
#include "openai.h"
#include "output_items.h"

/* How one API speaks: a table of functions that read a request body into the one internal request,
 * and write what the engine gives as server-sent events or as one answer. The replica (serving/)
 * knows no field of any API; an API is a row of routes and one table.
 *
 * Writers append to a buffer, build no tree, and fail only as the buffer does. The order of calls:
 *
 *   an event stream   stream_begin for each choice, by rising index; then stream_delta and, once a
 *                     choice, stream_finish as they come; stream_end. Or stream_error, at any time,
 *                     as the last.
 *   a whole answer    answer_begin, answer_choice for each choice by rising index, answer_end.
 *
 * Thread: parse on any (prepare workers), the writers on the one that owns the buffers. */

struct api_prompt_scores;

/* What all parts of one answer share. Texts are borrowed. */
struct api_answer {
    const char *id;           /* "chatcmpl-..." */
    const char *unique;       /* the id without its prefix; ids of calls and items are made of it */
    uint64_t created_s;       /* Unix time */
    const char *model;        /* as the client named it */
    const char *fingerprint;  /* "fp_..." */
    const char *service_tier; /* NULL: none was asked for */
    bool is_usage_wanted;     /* streams: chunks carry "usage":null until the last */
    bool is_usage_continuous; /* streams: every chunk carries the usage so far */
    const int32_t *prompt_ids; /* chat, its one prompt; NULL: not asked for */
    uint32_t prompt_count;
    const struct api_prompt_scores *prompt_scores; /* chat; NULL: not asked for */
    const struct api_completion_request *request;  /* what it answers; without its body */
    /* event streams: where the format stands; it begins as zero */
    struct api_progress {
        uint32_t sequence;   /* number of the next event */
        uint32_t item_count; /* items begun */
        bool is_open;        /* the last one has not ended */
        enum output_kind open_kind;
        const struct api_choice *whole; /* whole answers: from answer_choice to answer_end */
    } progress;
};

struct api_usage {
    /* cached, cache_write: of the prompt, found in the prefix cache and put there */
    uint32_t prompt_tokens, cached_tokens, cache_write_tokens;
    /* Of those written: before the request's deepest mark, and before the deepest that lasts an hour or more */
    uint32_t marked_write_tokens, long_write_tokens;
    uint32_t completion_tokens, reasoning_tokens; /* reasoning: of the completion */
    /* For the gateway alone: of the replica's time, and why the answer has ended (static; NULL or "": it has not) */
    uint64_t busy_ns;
    const char *finish;
    /* Of the client's prediction: said in the completion, and the others */
    uint32_t accepted_prediction_tokens, rejected_prediction_tokens;
    /* Where the time went, milliseconds; only with the last usage of an answer */
    struct api_timings {
        double prepare, queue, prefill, decode, total;
    } timings;
    bool has_timings;
};

struct api_logprobs;

/* One choice: all of it (whole answers), or what is new in it (streams). */
struct api_choice {
    uint32_t index;
    const struct output_delta *delta; /* stream_delta: what is new */
    const struct output_items *items; /* whole answers, and streams where keeps_output */
    struct api_logprobs *logprobs;    /* NULL: not asked for */
    const int32_t *token_ids;         /* NULL: not asked for */
    uint32_t token_count;
    const int32_t *prompt_ids; /* text: of this choice; NULL: not asked for */
    uint32_t prompt_count;
    const struct api_prompt_scores *prompt_scores; /* text: prompt_logprobs; NULL: not asked for */
    uint32_t call_count;                           /* calls of tools so far */
    enum finish_reason finish;   /* STOP, LENGTH or REPETITION; NONE while it runs */
    struct text_slice stop_text; /* the stop string that matched; empty: none */
    int32_t stop_token;          /* -1: none, or the model's own end */
};

/* It had no end of its own. APIs without a word for repetition call that what they call too long a text. */
static inline bool api_choice_is_cut(const struct api_choice *choice)
{
    return choice->finish == FINISH_LENGTH || choice->finish == FINISH_REPETITION;
}

/* Answers of before that a request may continue; whoever keeps them implements it. */
struct api_history {
    void *context;
    /* Appends the items of the conversation up to and with the answer of this id, as JSON,
     * comma-separated. STATUS_OK, STATUS_NOT_FOUND, STATUS_NO_MEMORY. */
    status (*find)(void *context, struct text_slice id, struct buffer *out);
    /* An item that an answer has had, by its id; the caller's reference. NULL: not found. */
    json_t *(*find_item)(void *context, const char *id);
};

struct wire_request {
    struct text_slice body;
    const struct api_limits *limits;
    const struct api_history *history; /* NULL: none is kept */
};

struct wire_format {
    const char *id_prefix;         /* of answers: "chatcmpl-" */
    const char *request_id_header; /* beside x-request-id; NULL: none */
    bool keeps_output; /* streams are given all of a choice's output beside what is new */

    /* As api_chat_request_parse says. */
    status (*parse)(const struct wire_request *source, struct api_completion_request *out,
                    struct api_error *error);
    /* The same for a question how many tokens a prompt has, and its answer; NULL: there is none. */
    status (*parse_count)(const struct wire_request *source, struct api_completion_request *out,
                          struct api_error *error);
    void (*count_write)(struct buffer *out, uint32_t prompt_tokens);

    /* Server-sent events. `usage`: so far. */
    void (*stream_begin)(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage);
    void (*stream_delta)(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage);
    void (*stream_finish)(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage);
    void (*stream_end)(struct buffer *out, struct api_answer *answer,
                       const struct api_usage *usage);
    /* Before the error of a stream that is cut off, what it has cost so far, where that is wanted; NULL:
     * the format has no place for it. */
    void (*stream_usage)(struct buffer *out, struct api_answer *answer,
                         const struct api_usage *usage);
    /* `answer` NULL: it is not known (the gateway, between client and replica). */
    void (*stream_error)(struct buffer *out, struct api_answer *answer,
                         const struct api_error *error, const char *request_id);

    /* The last choice's view lives until answer_end has been called. */
    void (*answer_begin)(struct buffer *out, struct api_answer *answer);
    void (*answer_choice)(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice);
    void (*answer_end)(struct buffer *out, struct api_answer *answer,
                       const struct api_usage *usage);

    /* What is to be kept of a finished answer that the client wants stored, as
     * api_responses_write_record says; NULL: this API keeps none. */
    void (*record_write)(struct api_answer *answer, const struct api_choice *choice,
                         const struct api_usage *usage, struct buffer *response,
                         struct buffer *output);

    /* The body of an answer that is an error. */
    void (*error_write)(struct buffer *out, const struct api_error *error, const char *request_id);
};

extern const struct wire_format wire_format_chat;      /* POST /v1/chat/completions */
extern const struct wire_format wire_format_text;      /* POST /v1/completions */
extern const struct wire_format wire_format_messages;  /* POST /v1/messages (Anthropic) */
extern const struct wire_format wire_format_responses; /* POST /v1/responses */

/* The id of something inside an answer: the prefix ("call_"), the answer's own unique part, and the
 * numbers of the choice and of the thing in it. */
struct api_item_id {
    char text[64];
};
struct api_item_id api_item_id_make(const char *prefix, const struct api_answer *answer,
                                    uint32_t choice, uint32_t item);

#endif
