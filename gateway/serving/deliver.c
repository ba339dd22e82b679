/* The loop's side of a job: events become JSON. Several events that wait become one write, each
 * token keeps its own server-sent event. Nothing here waits; what a client does not read stays in
 * the job's queue, and when that is full the publisher cancels (publish.c). */

#include "job.h"

#include <stdatomic.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "usage_report.h"

/* One write's worth: enough for a thousand tokens, small beside a stream's buffer. */
#define WRITE_BYTES      (128u * 1024u)
#define ANSWER_BYTES_MAX (1024u * 1024u * 1024u)
#define HEADERS_MAX      8u

/* Headers of an answer with room for their texts. */
struct answer_headers {
    struct http_header items[HEADERS_MAX];
    size_t count;
    char timing[192];
    struct buffer usage;
};

static void add_header(struct answer_headers *headers, const char *name, const char *value)
{
    CHECK(headers->count < HEADERS_MAX);
    headers->items[headers->count++] =
        (struct http_header){text_slice_of(name), text_slice_of(value)};
}

static double milliseconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns != 0 && to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

/* Server-Timing (W3C): the phases that are over. */
static void add_timing(struct answer_headers *headers, const struct job *job)
{
    const struct engine_timing *timing = &job->timing;
    int used = snprintf(headers->timing, sizeof headers->timing,
                        "prepare;dur=%.1f, queue;dur=%.1f, prefill;dur=%.1f",
                        milliseconds_between(job->start_ns, job->prepared_ns),
                        milliseconds_between(timing->submitted_ns, timing->admitted_ns),
                        milliseconds_between(timing->admitted_ns, timing->first_token_ns));
    if (!job->is_streaming)
        snprintf(headers->timing + used, sizeof headers->timing - (size_t)used, ", decode;dur=%.1f",
                 milliseconds_between(timing->first_token_ns, timing->last_token_ns));
    add_header(headers, "server-timing", headers->timing);
}

static void add_common(struct answer_headers *headers, const struct job *job)
{
    if (job->timing.first_token_ns != 0)
        add_timing(headers, job);
    if (job->parsed.ignored[0] != '\0')
        add_header(headers, "x-ignored-params", job->parsed.ignored);
    struct http_header id;
    if (reply_id_header(job->request, job->format, &id))
        headers->items[headers->count++] = id;
}

/* For the gateway, which takes it away. The caller deinits `usage`. */
static void add_usage(struct answer_headers *headers, const struct job *job,
                      const struct api_usage *usage)
{
    buffer_init(&headers->usage, USAGE_REPORT_BYTES_MAX);
    if (!job->tells_usage)
        return;
    usage_report_write(usage, &headers->usage);
    if (headers->usage.failed == STATUS_OK)
        add_header(headers, USAGE_REPORT_HEADER, headers->usage.data);
}

/* The request is answered: on_end drops its reference later. */
static http_request *take_request(struct job *job)
{
    http_request *request = job->request;
    job->request = NULL;
    http_timer_cancel(&job->head_timer);
    return request;
}

/* As OpenAI calls it, whatever the API of the answer. */
static const char *finish_word(const struct job_choice *choice)
{
    switch (choice->finish) {
    case FINISH_STOP:
        return choice->call_count > 0 ? "tool_calls" : "stop";
    case FINISH_LENGTH:
        return "length";
    case FINISH_REPETITION:
        return "repetition";
    default:
        return "";
    }
}

struct api_usage job_usage(const struct job *job)
{
    struct api_usage usage = {0};
    uint64_t predicted = 0;
    for (uint32_t i = 0; i < job->part_count; i++) {
        usage.prompt_tokens += job->parts[i].request.prompt_count;
        usage.cached_tokens += job->parts[i].cached_tokens;
        usage.busy_ns += job->parts[i].busy_ns;
        usage.cache_write_tokens += job->parts[i].cache_write_tokens;
        usage.marked_write_tokens += part_written_before_pin(&job->parts[i], 0);
        usage.long_write_tokens +=
            part_written_before_pin(&job->parts[i], api_cache_ttl_ns[CACHE_TTL_1H]);
        predicted += (uint64_t)job->parts[i].prediction.count * job->parsed.n;
    }
    for (uint32_t i = 0; i < job->choice_count; i++) {
        usage.completion_tokens += job->choices[i].completion_tokens;
        usage.reasoning_tokens += job->choices[i].reasoning_tokens;
        usage.accepted_prediction_tokens += job->choices[i].accepted_prediction_tokens;
    }
    if (job->open_count == 0)
        usage.finish = finish_word(&job->choices[0]);
    /* An answer may say a part of its prediction twice. */
    if (predicted > usage.accepted_prediction_tokens)
        usage.rejected_prediction_tokens = (uint32_t)(predicted - usage.accepted_prediction_tokens);
    return usage;
}

/* The last usage of an answer tells its times too. */
static struct api_usage final_usage(const struct job *job)
{
    const struct engine_timing *timing = &job->timing;
    struct api_usage usage = job_usage(job);
    usage.has_timings = true;
    usage.timings = (struct api_timings){
        .prepare = milliseconds_between(job->start_ns, job->prepared_ns),
        .queue = milliseconds_between(timing->submitted_ns, timing->admitted_ns),
        .prefill = milliseconds_between(timing->admitted_ns, timing->first_token_ns),
        .decode = milliseconds_between(timing->first_token_ns, timing->last_token_ns),
        .total = milliseconds_between(job->start_ns, clock_now_ns()),
    };
    return usage;
}

static void fail_answer(struct job *job, const struct api_error *error)
{
    job_cancel(job);
    if (!job->is_streaming) {
        reply_error(take_request(job), job->format, error);
        return;
    }
    struct buffer event;
    buffer_init(&event, WRITE_BYTES);
    if (job->format->stream_usage != NULL) {
        struct api_usage usage = final_usage(job);
        job->format->stream_usage(&event, &job->answer, &usage);
    }
    job->format->stream_error(&event, &job->answer, error, http_request_id(job->request));
    http_stream_write(job->request, buffer_slice(&event));
    http_stream_end(take_request(job), false);
    buffer_deinit(&event);
}

static void fail_status(struct job *job, status s, const char *message)
{
    struct api_error error;
    api_error_from_status(&error, s, message);
    fail_answer(job, &error);
}

static struct job_part *part_of(struct job *job, uint32_t choice)
{
    return &job->parts[choice / job->parsed.n];
}

/* The wire's view of a choice; `delta` (NULL: nothing) is what is new in it. */
static struct api_choice choice_view(struct job *job, uint32_t index,
                                     const struct output_delta *delta)
{
    struct job_choice *choice = &job->choices[index];
    bool with_ids = job->parsed.return_token_ids;
    const struct job_part *part = part_of(job, index);
    static const int32_t none[1];
    return (struct api_choice){
        .index = index,
        .delta = delta,
        .items = &choice->items,
        .logprobs = choice->has_logprobs ? &choice->logprobs : NULL,
        .token_ids = !with_ids               ? NULL
                     : choice->ids.bytes > 0 ? (const int32_t *)(const void *)choice->ids.data
                                             : none,
        .token_count = (uint32_t)(choice->ids.bytes / sizeof(int32_t)),
        .prompt_ids = with_ids ? part->request.prompt : NULL,
        .prompt_count = part->request.prompt_count,
        .call_count = choice->call_count,
        .finish = choice->finish,
        .stop_text = choice->stop_text,
        .stop_token = choice->stop_token,
    };
}

/* The head goes out with the first token, so that an error before it still has its own code and
 * Server-Timing tells queue and prefill. */
static void send_head(struct job *job)
{
    struct answer_headers headers = {.count = 0};
    job->is_streaming = true;
    http_timer_cancel(&job->head_timer);
    add_common(&headers, job);
    add_header(&headers, "cache-control", "no-cache");
    add_header(&headers, "x-accel-buffering", "no");
    http_stream_start(job->request, 200, headers.items, headers.count,
                      "text/event-stream; charset=utf-8");
}

static void start_stream(struct job *job, struct buffer *out)
{
    if (!job->is_streaming && !job->is_replaying)
        send_head(job);
    if (job->has_begun)
        return;
    job->has_begun = true;
    struct api_usage usage = job_usage(job);
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct api_choice view = choice_view(job, i, NULL);
        job->format->stream_begin(out, &job->answer, &view, &usage);
    }
}

static void note_finish(struct job *job, struct job_choice *choice,
                        const struct engine_event *event)
{
    choice->finish = event->finish;
    choice->stop_token = -1;
    for (uint32_t i = 0; i < job->parsed.sampling.stop_token_count; i++)
        if (job->parsed.sampling.stop_tokens[i] == event->stop_token)
            choice->stop_token = event->stop_token;
    for (uint32_t i = 0; i < job->parsed.stop_count; i++)
        if (event->stop_text.bytes > 0 && text_slice_equals(job->parsed.stops[i], event->stop_text))
            choice->stop_text = job->parsed.stops[i];
    job->open_count--;
    struct replica *replica = job->replica;
    atomic_fetch_add_explicit(&replica->finished_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&replica->finished_tokens, event->usage.completion_tokens,
                              memory_order_relaxed);
}

static void take_tokens(struct job *job, struct job_choice *choice,
                        const struct engine_event *event)
{
    if (choice->has_logprobs)
        api_logprobs_add(&choice->logprobs, event->tokens, event->token_count);
    for (uint32_t i = 0; job->parsed.return_token_ids && i < event->token_count; i++)
        buffer_append(&choice->ids, &event->tokens[i].id, sizeof event->tokens[i].id);
}

/* One piece of output: to the client, and to what is kept of the choice. The first of an event
 * carries the event's log probabilities and ids. */
static void deliver_delta(struct job *job, uint32_t index, const struct output_delta *delta,
                          struct buffer *out)
{
    struct job_choice *choice = &job->choices[index];
    choice->call_count += delta->kind == OUTPUT_TOOL_BEGIN;
    if (!job->parsed.stream || job->format->keeps_output)
        output_items_add(&choice->items, delta);
    if (!job->parsed.stream)
        return;
    struct api_choice view = choice_view(job, index, delta);
    struct api_usage usage = job_usage(job);
    job->format->stream_delta(out, &job->answer, &view, &usage);
    buffer_clear(&choice->ids);
}

/* The prompt's text goes before the first token's, and before its log probabilities. */
static void deliver_echo(struct job *job, uint32_t index, struct buffer *out)
{
    const struct job_part *part = part_of(job, index);
    struct output_delta echo = {.kind = OUTPUT_TEXT, .text = part->echo};
    struct job_choice *choice = &job->choices[index];
    struct api_prompt_scores scores;
    if (!choice->is_started && echo.text.bytes > 0) {
        if (choice->has_logprobs && part_view_scores(part, &scores))
            api_logprobs_add_prompt(&choice->logprobs, &scores, part->has_bos);
        deliver_delta(job, index, &echo, out);
    }
    choice->is_started = true;
}

void job_take_delta(void *context, const struct output_delta *delta)
{
    struct job_choice *choice = context;
    struct output_sink *sink = &choice->sink;
    if (delta->kind == OUTPUT_REASONING && !sink->job->parsed.includes_reasoning)
        return;
    sink->has_delta = true;
    deliver_delta(sink->job, sink->index, delta, sink->out);
}

/* Text through the parser, which gives it to job_take_delta in parts. A token is one of reasoning if it begins there or ends
 * there: the marks around it count too. */
static void parse_text(struct job_choice *choice, const struct engine_event *event,
                       struct buffer *out)
{
    choice->sink.out = out;
    choice->sink.has_delta = false;
    bool was_reasoning = output_parser_is_reasoning(choice->parser);
    status s = output_parser_feed(choice->parser, event->text);
    if (was_reasoning || output_parser_is_reasoning(choice->parser))
        choice->reasoning_tokens += event->token_count;
    if (s == STATUS_OK && event->finish != FINISH_NONE)
        s = output_parser_finish(choice->parser);
    if (s != STATUS_OK)
        choice->items.failed = out->failed = s;
}

static void deliver_output(struct job *job, const struct engine_event *event, struct buffer *out)
{
    struct job_choice *choice = &job->choices[event->index];
    bool has_tokens =
        event->token_count > 0 && (choice->has_logprobs || job->parsed.return_token_ids);
    if (job->parsed.stream)
        start_stream(job, out);
    deliver_echo(job, event->index, out);
    take_tokens(job, choice, event);
    struct text_slice text = event->text;
    if (choice->parser != NULL) {
        parse_text(choice, event, out);
        has_tokens &= !choice->sink.has_delta;
        text.bytes = 0;
    }
    if (text.bytes > 0 || has_tokens) {
        struct output_delta delta = {.kind = OUTPUT_TEXT, .text = text};
        deliver_delta(job, event->index, &delta, out);
    }
    if (event->finish == FINISH_NONE)
        return;
    note_finish(job, choice, event);
    if (!job->parsed.stream)
        return;
    struct api_choice view = choice_view(job, event->index, NULL);
    struct api_usage usage = job_usage(job);
    view.token_ids = NULL;
    view.prompt_ids = NULL;
    job->format->stream_finish(out, &job->answer, &view, &usage);
}

static void finish_stream(struct job *job, struct buffer *out)
{
    struct api_usage usage = final_usage(job);
    struct api_choice view = choice_view(job, 0, NULL);
    size_t at = out->bytes;
    job->format->stream_end(out, &job->answer, &usage);
    job_leave_out(job, out, at);
    if (job->known_events > 0) { /* it was another answer that the client has had */
        fail_status(job, STATUS_INTERNAL, NULL);
        return;
    }
    job_store_response(job, &view, &usage);
    http_stream_write(job->request, buffer_slice(out));
    http_stream_end(take_request(job), false);
}

/* The whole answer at once. */
static void reply_completion(struct job *job)
{
    struct buffer body;
    struct answer_headers headers = {.count = 0};
    struct api_usage usage = final_usage(job);
    struct api_prompt_scores scores;
    struct api_choice view = {0};
    buffer_init(&body, ANSWER_BYTES_MAX);
    if (job->parsed.has_prompt_scores && part_view_scores(&job->parts[0], &scores))
        job->answer.prompt_scores = &scores;
    job->format->answer_begin(&body, &job->answer);
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct api_prompt_scores own;
        view = choice_view(job, i, NULL);
        if (job->parsed.has_prompt_scores && part_view_scores(part_of(job, i), &own))
            view.prompt_scores = &own;
        job->format->answer_choice(&body, &job->answer, &view);
        if (job->choices[i].items.failed != STATUS_OK || job->choices[i].ids.failed != STATUS_OK)
            body.failed = STATUS_NO_MEMORY;
    }
    job->format->answer_end(&body, &job->answer, &usage);
    job->answer.prompt_scores = NULL;
    if (body.failed != STATUS_OK) {
        fail_status(job, STATUS_NO_MEMORY, NULL);
    } else {
        job_store_response(job, &view, &usage);
        add_common(&headers, job);
        add_usage(&headers, job, &usage);
        http_reply(take_request(job), 200, headers.items, headers.count, "application/json",
                   buffer_slice(&body));
        buffer_deinit(&headers.usage);
    }
    buffer_deinit(&body);
}

/* A body that a worker has made. */
static void reply_body(struct job *job)
{
    struct answer_headers headers = {.count = 0};
    const struct api_usage usage = {.prompt_tokens = job->pooled_tokens, .busy_ns = job->pooled_ns};
    add_common(&headers, job);
    bool is_text = job->kind == JOB_LOAD_ADAPTER || job->kind == JOB_UNLOAD_ADAPTER;
    add_usage(&headers, job, &usage);
    http_reply(take_request(job), 200, headers.items, headers.count,
               is_text ? "text/plain; charset=utf-8" : "application/json",
               buffer_slice(&job->body));
    buffer_deinit(&headers.usage);
}

/* max_tokens 0 with scores of the prompt: the engine had to generate a token to have computed it all. */
static void drop_token(struct engine_event *event)
{
    event->text = (struct text_slice){NULL, 0};
    event->stop_text = (struct text_slice){NULL, 0};
    event->token_count = 0;
    event->stop_token = -1;
    event->usage.completion_tokens = 0;
    if (event->finish == FINISH_STOP)
        event->finish = FINISH_LENGTH;
}

/* What a client is told of an answer that could not go on; NULL: the status tells. */
static const char *error_text(status s)
{
    if (s == STATUS_UNSUPPORTED)
        return "No token is left to choose: the text's structure, logit_bias and min_tokens "
               "together allow none.";
    return s == STATUS_TOO_LARGE ? "The text's structure cannot be followed further: it is nested "
                                   "too deeply, or can be read in too many ways."
                                 : NULL;
}

/* What the cache did is told as of where the answer began. */
static void note_usage(struct job *job, const struct engine_event *event)
{
    struct job_part *part = part_of(job, event->index);
    job->choices[event->index].completion_tokens = event->usage.completion_tokens;
    job->choices[event->index].accepted_prediction_tokens = event->usage.accepted_prediction_tokens;
    part->busy_ns = event->usage.busy_ns;
    part->cached_tokens =
        job->continues ? job->continuation.cached_tokens : event->usage.cached_tokens;
    part->cache_write_tokens =
        job->continues ? job->continuation.cache_write_tokens : event->usage.cache_write_tokens;
}

/* One event; false: the answer has ended by an error. */
static bool deliver_event(struct job *job, struct engine_event *event, struct buffer *out)
{
    if (job->parsed.max_tokens == 0)
        drop_token(event);
    if (event->finish == FINISH_ERROR || event->finish == FINISH_ABORT) {
        if (out->bytes > 0)
            http_stream_write(job->request, buffer_slice(out));
        job->choices[event->index].finish = event->finish;
        status why = event->finish == FINISH_ERROR ? event->error : STATUS_CLOSED;
        fail_status(job, why, error_text(why));
        return false;
    }
    bool is_first = job->timing.submitted_ns == 0;
    job->timing = event->timing;
    note_usage(job, event);
    if (is_first)
        job_story_note_first(job);
    size_t at = out->bytes;
    deliver_output(job, event, out);
    job_report_event(job, event, out, at);
    return true;
}

void job_take_past(struct engine_request *request, const struct engine_event *event)
{
    struct job_part *part = request->context;
    struct job *job = part->job;
    struct buffer out;
    buffer_init(&out, ANSWER_BYTES_MAX);
    job->is_replaying = true;
    note_usage(job, event);
    deliver_output(job, event, &out);
    job_leave_out(job, &out, 0);
    job->is_past_wrong |= out.bytes > 0 || out.failed != STATUS_OK;
    job->is_replaying = false;
    buffer_deinit(&out);
}

/* Formats what waits, up to one write; false: the answer has ended. */
static bool deliver_batch(struct job *job, struct buffer *out)
{
    struct event_record *record;
    while (out->bytes < WRITE_BYTES && (record = event_queue_peek(&job->events)) != NULL) {
        struct engine_event event;
        publish_record_read(record, &event);
        bool is_going_on = deliver_event(job, &event, out);
        event_queue_pop(&job->events);
        if (!is_going_on)
            return false;
    }
    if (out->failed != STATUS_OK) {
        fail_status(job, STATUS_NO_MEMORY, NULL);
        return false;
    }
    return true;
}

static void on_drained(http_request *request, void *context)
{
    (void)request;
    struct job *job = context;
    job_acquire(job);
    job->is_paused = false;
    job_deliver(job);
    job_release(job);
}

static void pause_stream(struct job *job)
{
    job->is_paused = true;
    http_stream_on_drained(job->request, on_drained, job);
}

static void deliver_events(struct job *job)
{
    struct buffer out;
    buffer_init(&out, ANSWER_BYTES_MAX);
    while (job->request != NULL && !job->is_paused) {
        buffer_clear(&out);
        if (!deliver_batch(job, &out))
            break;
        if (job->open_count == 0) {
            if (job->parsed.stream)
                finish_stream(job, &out);
            else
                reply_completion(job);
            break;
        }
        if (out.bytes == 0)
            break;
        if (!http_stream_write(job->request, buffer_slice(&out)) && job->request != NULL)
            pause_stream(job);
    }
    buffer_deinit(&out);
    if (job->request != NULL && atomic_load(&job->has_overflowed))
        fail_status(job, STATUS_CLOSED, "The answer was read too slowly and has been cut off.");
}

/* A stream that has waited for as long as a keep-alive interval gets its head, so that comments can
 * flow. */
static void head_timer_run(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    struct job *job = CONTAINER_OF(timer, struct job, head_timer);
    if (job->request == NULL || job->is_streaming)
        return;
    struct buffer out;
    buffer_init(&out, ANSWER_BYTES_MAX);
    start_stream(job, &out);
    job_leave_out(job, &out, 0);
    job_report_begin(job, &out);
    if (out.bytes > 0)
        http_stream_write(job->request, buffer_slice(&out));
    buffer_deinit(&out);
}

static void set_head_timer(struct job *job)
{
    uint64_t wait_ns = job->replica->config->limits.keepalive_ns;
    if (!job->parsed.stream || wait_ns == 0 || job->head_timer.run != NULL)
        return;
    job->head_timer.run = head_timer_run;
    http_timer_set(job->loop, &job->head_timer, clock_now_ns() + wait_ns);
}

void job_deliver(struct job *job)
{
    enum job_stage stage = (enum job_stage)atomic_load(&job->stage);
    if (job->request == NULL) {
        /* the client may have gone while a worker was still submitting */
        if (stage == JOB_RUNNING && atomic_load(&job->is_unwanted))
            job_cancel(job);
        return;
    }
    switch (stage) {
    case JOB_PREPARING:
        return;
    case JOB_FAILED:
        fail_answer(job, &job->error);
        return;
    case JOB_ANSWERED:
        if (job->body.failed != STATUS_OK)
            fail_status(job, STATUS_NO_MEMORY, NULL);
        else
            reply_body(job);
        return;
    case JOB_RUNNING:
        break;
    }
    /* while the engine closes, its tokenizer may be gone */
    if (replica_phase(job->replica) == REPLICA_CLOSING) {
        fail_status(job, STATUS_CLOSED, NULL);
        return;
    }
    deliver_events(job);
    if (job->request != NULL && !job->is_streaming)
        set_head_timer(job);
}
