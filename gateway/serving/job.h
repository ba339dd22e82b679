#ifndef PENSTOCK_GATEWAY_SERVING_JOB_H
#define PENSTOCK_GATEWAY_SERVING_JOB_H

#include "continuation.h"
#include "event_queue.h"
#include "pooling.h"
#include "replica.h"

/* One request on its way through the replica:
 *
 *   loop (job.c)        accepts, copies the body, pushes the job; answers or streams (deliver.c)
 *   worker (prepare_*.c)  parses, renders, tokenizes, submits one engine request for each prompt
 *   publisher (publish.c) copies each event into the job's queue and posts the job to its loop
 *
 * Who may touch what: the worker owns everything until it stores `stage` (release); from then on
 * the loop owns all but `events` (publisher to loop) and the atomics. `request` is the loop's from
 * the beginning to the end.
 *
 * Life: a reference each for the HTTP request (dropped when it has ended), for the worker, and for
 * each part that the engine knows. The last one frees. A part's last event is called back from
 * inside the engine, which may still look at the request until the callback has returned; so the
 * publisher drops that reference at its next event, or when the engine is closed (`departed`).
 *
 * Posting: whoever turns `is_posted` from false to true sends the one embedded message; the loop
 * turns it back before it looks. Both are read-modify-write with acquire and release, so what was
 * written before a post that found it already true is seen by the run that turns it back.
 *
 * Cancelling: engine_cancel is allowed only while the engine knows the request, and the loop cannot
 * see the last event coming. `part.hold` settles it: a canceller holds the part for the time of the
 * call, and the publisher's last event waits for a holder (never longer than one engine_cancel,
 * which does not block) before it marks the part as gone. */

enum job_kind {
    JOB_COMPLETION,
    JOB_COUNT,
    JOB_TOKENIZE,
    JOB_DETOKENIZE,
    JOB_POOLING,
    JOB_LOAD_ADAPTER,
    JOB_UNLOAD_ADAPTER,
    JOB_SLEEP,
    JOB_WAKE
};

enum job_stage {
    JOB_PREPARING,
    JOB_FAILED,   /* `error` tells */
    JOB_ANSWERED, /* `body` is the answer (all kinds but completions) */
    JOB_RUNNING   /* the engine has all parts */
};

enum part_hold { PART_UNKNOWN, PART_FREE, PART_HELD, PART_GONE };

/* One prompt and the engine request made of it. */
struct job_part {
    struct engine_request request;
    struct job *job;
    uint32_t first_choice; /* index of its first sequence among the choices of the answer */
    struct token_list prompt;
    uint32_t marked_tokens[CACHE_TTL_COUNT]; /* of the prompt, before the marks in its messages */
    struct token_list prediction;            /* of the answer, by the client; empty: none */
    struct text_slice echo; /* text before the first token; in `echo_text`; empty: none */
    struct buffer echo_text;
    bool has_bos; /* the server put the prompt's first token before the text */
    /* owned; [prompt_count] and [prompt_count, prompt_alternative_count]; the engine's until its first token */
    struct token_score *scores;
    struct token_logprob *alternatives;
    uint32_t cached_tokens, cache_write_tokens; /* loop */
    uint64_t busy_ns;                           /* loop */
    struct engine_trace trace;                  /* publisher, until has_trace */
    _Atomic bool has_trace;                     /* release by the publisher, acquire by who looks */
    _Atomic int hold;                           /* enum part_hold */
};

/* One sequence of the answer. Loop only. */
struct job_choice {
    output_parser *parser; /* owned; NULL: all output is text */
    struct output_sink {   /* where its deltas go; set while it is fed */
        struct job *job;
        struct buffer *out;
        uint32_t index;
        bool has_delta;
    } sink;
    struct output_items items; /* of whole answers, and where the format keeps output */
    struct buffer ids;         /* int32_t; return_token_ids */
    struct buffer untold;      /* int32_t; that the gateway is to be told next (told.c) */
    struct api_logprobs logprobs;
    bool has_logprobs, is_started; /* started: the echo is out */
    enum finish_reason finish;     /* FINISH_NONE: still running */
    struct text_slice stop_text;   /* in parsed.stops */
    int32_t stop_token;
    uint32_t completion_tokens, reasoning_tokens, accepted_prediction_tokens, call_count;
};

struct job {
    struct http_message message;
    _Atomic bool is_posted;
    _Atomic uint32_t references;
    _Atomic int stage;           /* enum job_stage */
    _Atomic bool is_unwanted;    /* loop: nobody waits for the answer any more */
    _Atomic bool has_overflowed; /* publisher: the queue was full, events were lost */

    struct replica *replica;
    http_loop *loop;
    http_request *request; /* NULL: answered, or the client is gone */
    enum job_kind kind;
    enum api_pooling_kind pooling_kind; /* JOB_POOLING */
    const struct wire_format *format;   /* of the answer; tokenize, detokenize: of errors */
    uint64_t start_ns;                  /* monotonic */
    uint64_t story_number;              /* 0: it has no story */
    struct replica_story story;         /* whose the job is */
    struct job_trace context;           /* as it came; loop, then read */

    struct buffer body; /* the request's (sleep, wake: its query), then (tokenize) the answer's */
    struct hash128 tenant_salt;
    uint64_t tenant_name;      /* as prompt_chunks_tenant; of a prompt's names */
    struct prefix_mark *marks; /* owned; [mark_count]; of the only part's prompt; NULL: none */
    uint32_t mark_count;
    size_t marked_count; /* tokens of the prompt when it was marked */
    bool has_priority;
    int32_t priority;       /* from the gateway's header */
    bool tells_usage;       /* the gateway wants to know what is used (usage_report.h) */
    char replica_number[8]; /* of this replica among the gateway's, as ids of responses name it */

    /* Going on elsewhere, and from elsewhere (told.c) */
    bool has_name;     /* the gateway has named the answer, and wants to be told its tokens */
    bool tells_tokens; /* and is: the answer follows from them */
    bool continues;    /* another replica has begun it: */
    struct answer_name name;
    struct continuation continuation;
    struct engine_past *past; /* owned; [choice_count] */
    int32_t *past_tokens;     /* owned; what `past` points to */
    uint64_t known_events;    /* that the client has had and that have yet to be left out */
    bool is_replaying;        /* these tokens are being said again; worker */
    bool is_past_wrong;       /* they make more events than the client has had */
    struct buffer report;     /* a line for the gateway */

    struct pooling_work *pooling; /* owned; JOB_POOLING */
    struct api_completion_request parsed;
    struct api_error error;
    char id[48];
    struct api_answer answer;
    grammar *grammar;         /* counted; NULL: the text is free */
    engine_adapter *adapter;  /* counted; until the engine has all parts; NULL: none */
    bool starts_in_reasoning; /* the prompt ends inside the model's reasoning */
    struct reasoning_budget reasoning_budget; /* its parts' requests point to it */
    struct job_part *parts;                   /* owned; [part_count] */
    uint32_t part_count;
    struct job_choice *choices; /* owned; [choice_count] */
    uint32_t choice_count;
    uint64_t score_count; /* log probabilities of prompts, of all parts */
    struct event_queue events;
    uint64_t prepared_ns;
    uint32_t pooled_tokens; /* of the texts, once they are computed; JOB_POOLING */
    uint64_t pooled_ns;     /* that they took of the replica's time */

    /* loop */
    uint32_t open_count; /* choices that have not finished */
    bool has_begun;      /* the format's first events are made */
    bool is_streaming, is_paused;
    struct http_timer head_timer; /* sends the head before the first token, for keep-alives */
    struct engine_timing timing;  /* of the latest event */
};

void job_acquire(struct job *job);
void job_release(struct job *job);

/* Sets the job's error to what the status says; false. Whoever the job belongs to now. */
bool job_fail(struct job *job, status s);

/* Wakes the job's loop. Any thread that holds a reference. */
void job_post(struct job *job);
/* The same for a thread that posts several: true means that it has to call http_loop_wake soon. */
bool job_leave(struct job *job);

/* Ends the work on all parts that the engine still knows. Any thread that holds a reference. */
void job_cancel(struct job *job);
void part_cancel(struct job_part *part);

/* Loop: looks at the job's stage and events and moves the answer forward (deliver.c). */
void job_deliver(struct job *job);

/* What is asked of a part's prompt beside its tokens (prompt.c). Workers; false: job->error is set. */
NODISCARD bool part_encode_infill(struct job_part *part, struct text_slice text);
NODISCARD bool part_truncate(struct job_part *part);
NODISCARD bool part_prepare_scores(struct job_part *part);
/* Where the marks in the messages stand among the tokens of the prompt, whose text this is (cache_pins.c). */
void part_find_marks(struct job_part *part, struct text_slice text);
/* What the engine is asked to keep of the prompt. */
void part_pin(struct job_part *part);
/* Tokens that the request has written to the cache, before its deepest pin that lasts as long. Loop. */
uint32_t part_written_before_pin(const struct job_part *part, uint64_t ttl_ns);
/* The bad words as runs of tokens in job->parsed.sampling. */
NODISCARD bool job_encode_bad_words(struct job *job);
/* Names the beginnings of the prompt for the gateway's sake; `text` is what it was made of (prompt_marks.h). */
void job_mark_prompt(struct job *job, struct text_slice text, const struct token_list *ids);
/* The scores for the wire; false: none were asked for. Loop, once the first token has come. */
bool part_view_scores(const struct job_part *part, struct api_prompt_scores *out);

/* Embeddings, rerank, score (pooling.c). */
struct pooling_work;
/* Parses, tokenizes and hands over; then writes the answer. JOB_PREPARING: the model has it, and the
 * job comes back. Workers. */
enum job_stage pooling_answer(struct job *job);
void pooling_work_destroy(struct pooling_work *work); /* accepts NULL */
/* Gives jobs whose prompts have ended back to the workers (pooling_prompts.c). Publisher, outside of events. */
void pooling_return_done(struct replica *replica);

/* Adapters (adapters.c). Workers. */
/* Whether the replica serves `model` (NULL: whatever it serves); else the job's error is set. *adapter (`adapter` may be
 * NULL) is the adapter of that name, which the caller releases before the visit of the worker ends; NULL: the model
 * alone. */
bool job_find_model(struct job *job, const char *model, engine_adapter **adapter);
/* Loads or unloads one for a client. */
enum job_stage adapter_answer(struct job *job);
/* Sleeps or wakes, and writes the state (sleep.c). A worker. */
enum job_stage sleep_answer(struct job *job);

/* Tools and reasoning (tools.c). Workers. */
/* How long the answer may reason, part of the job; NULL: as it likes. After rendering. */
const struct reasoning_budget *job_reasoning_budget(struct job *job);
/* Whether the output has to be told apart. */
bool job_parses_output(const struct job *job);
/* The parser of a choice, which is the context of on_delta. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status job_create_parser(struct job *job, struct job_choice *choice,
                                   void (*on_delta)(void *, const struct output_delta *));
/* Whether calls or reasoning have a part in what the answer must be, and the grammar for it (job->grammar). Statuses as
 * engine_compile_grammar. After rendering. */
bool job_wants_composed_grammar(const struct job *job);
NODISCARD status job_compile_composed(struct job *job, struct error_note *note);
/* Takes what the parser of a choice found (deliver.c). `context`: the choice. Loop. */
void job_take_delta(void *context, const struct output_delta *delta);

/* Streams that can go on elsewhere (told.c). */
/* Reads the trusted headers. Loop, before the worker has it. */
void job_read_continuation(struct job *job, const http_request *request);
/* The body without the tokens behind it. */
struct text_slice job_request_body(const struct job *job);
/* Once the choices are made and before the body is dropped; false: job->error is set. Worker. */
NODISCARD bool job_prepare_continuation(struct job *job);
/* One of the tokens that another replica has said (deliver.c); engine_request.on_past. Worker. */
engine_event_fn job_take_past;
/* Takes the events at `at` that the client has had away. */
void job_leave_out(struct job *job, struct buffer *out, size_t at);
/* What the gateway is told of the first events, without a token; and of those at `at`, which an event of the engine has made and
 * which the client may have had. Loop. */
void job_report_begin(struct job *job, struct buffer *out);
void job_report_event(struct job *job, const struct engine_event *event, struct buffer *out,
                      size_t at);
/* What all choices have used so far (deliver.c). Whose the job is. */
struct api_usage job_usage(const struct job *job);

/* Stored responses (responses.c). For a worker, while the job is its own. */
struct api_history job_history(struct job *job);
/* Keeps a finished answer where the client wants that. Loop. */
void job_store_response(struct job *job, const struct api_choice *choice,
                        const struct api_usage *usage);

/* The request's story (story.c). Each puts what is known by then among the replica's, and does nothing for a job without one. */
/* Loop, as it is made. */
void job_story_begin(struct job *job, const http_request *request);
/* Before the engine has it. Worker. */
void job_story_submit(struct job *job);
/* Its first event has come. Loop. */
void job_story_note_first(struct job *job);
/* It is answered or the client has gone; and again when nobody knows it any more (is_forgotten), as the engine may have gone on
 * meanwhile. Loop; then any. */
void job_story_end(struct job *job, bool is_forgotten);

/* Workers (prepare_workers.c). */
NODISCARD status prepare_start(struct replica *replica);
/* Refuses what waits, joins. */
void prepare_stop(struct replica *replica);
/* Ends jobs that came back after that. Main. */
void prepare_end_rest(struct replica *replica);

/* Events (publish.c). */
engine_event_fn publish_event;
/* After the events of a step: wakes the loops that they are for. `context`: the replica. Publisher. */
void publish_wake(void *context);
/* Drops the reference that a last event left behind. Publisher; main after engine_close. */
void publish_release_departed(struct replica *replica);
/* Queues one event of a choice; false: no room. Producer of job->events. */
NODISCARD bool publish_record(struct job *job, uint32_t choice, const struct engine_event *event);
/* The size of the queue for these sequences. */
size_t publish_queue_bytes(const struct job *job);

/* One event in the queue: this head, then tokens, alternatives, text, stop text. */
struct event_record {
    uint32_t choice, token_count, alternative_count, text_bytes, stop_bytes;
    int32_t stop_token;
    enum finish_reason finish;
    status error;
    struct engine_usage usage;
    struct engine_timing timing;
};
/* Reads a record back; `out` points into it. Consumer. */
void publish_record_read(struct event_record *record, struct engine_event *out);

#endif
