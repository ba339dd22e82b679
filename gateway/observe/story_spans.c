#include "story_spans.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"

#define PROVIDER    "penstock"
#define CODE_BYTES  16u
#define MODEL_BYTES 96u /* of a span's name */

/* Numbers of a span's parts, for their ids. */
enum part {
    PART_REPLICA = 1,
    PART_ADMISSION,
    PART_QUEUE,
    PART_ROUTE,
    PART_STREAM,
    PART_PREPARE,
    PART_DECODE,
    PART_CHUNK = 100
};

const char *genai_operation_of(const char *route)
{
    static const struct {
        const char *route, *operation;
    } operations[] = {
        {"/v1/chat/completions", "chat"},
        {"/v1/messages", "chat"},
        {"/v1/responses", "chat"},
        {"/v1/completions", "text_completion"},
        {"/v1/embeddings", "embeddings"},
        {"rerank", "rerank"},
        {"score", "score"},
    };

    for (size_t i = 0; route != NULL && i < ARRAY_COUNT(operations); i++) {
        if (strcmp(route, operations[i].route) == 0)
            return operations[i].operation;
    }
    return NULL;
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)NS_PER_SECOND;
}

/* What all spans of one story have in common. */
struct telling {
    uint8_t trace_id[TRACE_ID_BYTES];
    uint8_t own_id[SPAN_ID_BYTES]; /* of the span that the others are parts of */
    uint64_t wall_ns;              /* of the story's start */
    uint64_t end_ns;               /* a moment: what has no end of its own */
    span_emit_fn *emit;
    void *context;
};

/* A part of it, from moment to moment; has to be emitted. */
static void part_begin(const struct telling *telling, struct span *span, uint32_t part,
                       uint64_t start_ns, uint64_t end_ns, const char *name)
{
    memset(span, 0, sizeof(*span));
    memcpy(span->trace_id, telling->trace_id, TRACE_ID_BYTES);
    memcpy(span->parent_id, telling->own_id, SPAN_ID_BYTES);
    span_id_derive(telling->own_id, part, span->span_id);
    span->kind = SPAN_INTERNAL;
    span->start_ns = telling->wall_ns + start_ns;
    span->end_ns = telling->wall_ns + (end_ns > start_ns ? end_ns : start_ns);
    (void)snprintf(span->name, sizeof(span->name), "%s", name);
}

static void part_emit(const struct telling *telling, uint32_t part, uint64_t start_ns,
                      uint64_t end_ns, const char *name)
{
    struct span span;

    part_begin(telling, &span, part, start_ns, end_ns, name);
    telling->emit(telling->context, &span);
}

/* "chat smollm2". */
static void operation_name(struct span *span, const char *operation, const char *model)
{
    (void)snprintf(span->name, sizeof(span->name), "%s%s%.*s", operation,
                   model[0] != '\0' ? " " : "", (int)MODEL_BYTES, model);
}

static void operation_add(struct span *span, const char *operation, const char *asked_model,
                          const char *model)
{
    span_add_text(span, "gen_ai.operation.name", operation);
    span_add_text(span, "gen_ai.provider.name", PROVIDER);
    span_add_text(span, "gen_ai.request.model", asked_model[0] != '\0' ? asked_model : model);
    span_add_text(span, "gen_ai.response.model", model);
}

/* --- the gateway's --- */

/* What went wrong, in a word; "": nothing did. `code` keeps the number where there is no word. */
static const char *error_type_of(const struct request_story *story, char code[CODE_BYTES])
{
    if (story->status_code < 400)
        return "";
    if (story->error_code[0] != '\0')
        return story->error_code;
    (void)snprintf(code, CODE_BYTES, "%d", story->status_code);
    return code;
}

static void usage_add(struct span *span, const struct request_story *story)
{
    if (!story->usage_is_known)
        return;
    span_add_int(span, "gen_ai.usage.input_tokens", story->prompt_tokens);
    span_add_int(span, "gen_ai.usage.output_tokens", story->completion_tokens);
    span_add_int(span, "gen_ai.usage.cache_read.input_tokens", story->cached_tokens);
    if (story->reasoning_tokens > 0)
        span_add_int(span, "gen_ai.usage.reasoning.output_tokens", story->reasoning_tokens);
    if (story->usage_is_estimated)
        span_add_bool(span, "penstock.usage.estimated", true);
}

static void latency_add(struct span *span, const struct request_story *story)
{
    const uint64_t *moments = story->moments_ns;

    if (moments[STORY_QUEUED] > 0 && moments[STORY_SLOT] >= moments[STORY_QUEUED])
        span_add_double(span, "gen_ai.latency.time_in_queue",
                        seconds(moments[STORY_SLOT] - moments[STORY_QUEUED]));
    if (moments[STORY_FIRST_TOKEN] > 0) {
        span_add_double(span, "gen_ai.latency.time_to_first_token",
                        seconds(moments[STORY_FIRST_TOKEN]));
        span_add_double(span, "gen_ai.response.time_to_first_chunk",
                        seconds(moments[STORY_FIRST_TOKEN]));
    }
    span_add_double(span, "gen_ai.latency.e2e", seconds(moments[STORY_ENDED]));
}

static void gateway_add(struct span *span, const struct request_story *story)
{
    span_add_text(span, "penstock.request_id", story->request_id);
    span_add_text(span, "penstock.key", story->key_name);
    span_add_text(span, "penstock.organisation", story->organisation);
    span_add_text(span, "penstock.team", story->team);
    span_add_int(span, "penstock.priority", story->band);
    if (story->retries > 0)
        span_add_int(span, "penstock.retries", story->retries);
    if (story->hedges > 0)
        span_add_int(span, "penstock.hedges", story->hedges);
    if (story->continuations > 0)
        span_add_int(span, "penstock.continuations", story->continuations);
    if (story->fallbacks > 0)
        span_add_int(span, "penstock.fallbacks", story->fallbacks);
    if (story->cost_nano != STORY_NO_COST)
        span_add_double(span, "penstock.cost", (double)story->cost_nano / 1e9);
}

static void server_emit(const struct telling *telling, const struct request_story *story,
                        const char *operation)
{
    char code[CODE_BYTES];
    struct span span;

    part_begin(telling, &span, 0, 0, story->moments_ns[STORY_ENDED], "");
    memcpy(span.span_id, telling->own_id, SPAN_ID_BYTES);
    if (!span_id_read(story->parent_span_id, span.parent_id))
        memset(span.parent_id, 0, SPAN_ID_BYTES);
    span.kind = SPAN_SERVER;
    operation_name(&span, operation, story->model);
    operation_add(&span, operation, story->asked_model, story->model);
    span_add_bool(&span, "gen_ai.request.stream", story->is_stream);
    span_add_texts(&span, "gen_ai.response.finish_reasons", story->finish);
    usage_add(&span, story);
    latency_add(&span, story);
    span_add_text(&span, "http.request.method", story->method);
    span_add_text(&span, "http.route", story->route);
    span_add_int(&span, "http.response.status_code", story->status_code);
    span_add_text(&span, "error.type", error_type_of(story, code));
    span.is_error = story->status_code >= 500;
    gateway_add(&span, story);
    telling->emit(telling->context, &span);
}

static void queue_emit(const struct telling *telling, const struct request_story *story)
{
    uint64_t start_ns = story->moments_ns[STORY_QUEUED], end_ns = story->moments_ns[STORY_SLOT];
    struct span span;

    if (start_ns == 0)
        return;
    part_begin(telling, &span, PART_QUEUE, start_ns, end_ns > 0 ? end_ns : telling->end_ns,
               "queue");
    for (uint32_t i = 0; i < story->place_count; i++) {
        const struct attribute ahead = {
            .key = "penstock.queue.ahead", .kind = ATTRIBUTE_INT, .number = story->places[i].ahead};

        span_add_event(&span, "place", telling->wall_ns + story->places[i].at_ns, &ahead);
    }
    telling->emit(telling->context, &span);
}

static void route_emit(const struct telling *telling, const struct request_story *story)
{
    struct span span;

    if (story->policy == NULL || story->policy[0] == '\0')
        return;
    part_begin(telling, &span, PART_ROUTE, story->decided_ns, story->decided_ns, "route");
    span_add_text(&span, "penstock.route.policy", story->policy);
    span_add_int(&span, "penstock.route.candidates", story->candidate_total);
    for (uint32_t i = 0; i < story->candidate_count; i++) {
        const struct story_candidate *candidate = &story->candidates[i];

        if (candidate->pass != STORY_CHOSEN)
            continue;
        span_add_int(&span, "penstock.replica", candidate->replica);
        span_add_int(&span, "penstock.route.outstanding", candidate->outstanding);
        if (!candidate->is_told)
            continue;
        span_add_int(&span, "penstock.route.cached_tokens", candidate->cached_tokens);
        span_add_int(&span, "penstock.route.waiting", candidate->waiting);
        span_add_int(&span, "penstock.route.running", candidate->running);
    }
    telling->emit(telling->context, &span);
}

static bool has_failed(const struct story_attempt *attempt)
{
    return attempt->result == STORY_LOST || attempt->result == STORY_TIMED_OUT ||
           attempt->result == STORY_NOT_SENT || attempt->status_code >= 500;
}

static void attempt_emit(const struct telling *telling, const struct story_attempt *attempt,
                         uint32_t number, const char *operation)
{
    const char *result = story_result_name((enum story_result)attempt->result);
    const char *model = attempt->model != NULL ? attempt->model : "";
    char name[32];
    struct span span;

    (void)snprintf(name, sizeof(name), "attempt %u", number + 1);
    part_begin(telling, &span, 0, attempt->start_ns,
               attempt->end_ns > 0 ? attempt->end_ns : telling->end_ns, name);
    if (!span_id_read(attempt->span_id, span.span_id))
        return;
    span.kind = SPAN_CLIENT;
    operation_add(&span, operation, "", model);
    span_add_int(&span, "penstock.replica", attempt->replica);
    span_add_text(&span, "penstock.member", attempt->member);
    span_add_text(&span, "penstock.attempt.reason",
                  story_reason_name((enum story_reason)attempt->reason));
    span_add_text(&span, "penstock.attempt.result", result);
    if (attempt->status_code > 0)
        span_add_int(&span, "http.response.status_code", attempt->status_code);
    if (attempt->head_ns > 0)
        span_add_event(&span, "head", telling->wall_ns + attempt->head_ns, NULL);
    span.is_error = has_failed(attempt);
    if (span.is_error)
        span_add_text(&span, "error.type", result);
    telling->emit(telling->context, &span);
}

static uint32_t attempts_kept(const struct request_story *story)
{
    return story->attempt_count < STORY_ATTEMPTS_MAX ? story->attempt_count : STORY_ATTEMPTS_MAX;
}

void story_spans_emit(const struct request_story *story, span_emit_fn *emit, void *context)
{
    const char *operation = genai_operation_of(story->route);
    const uint64_t *moments = story->moments_ns;
    struct telling telling = {.wall_ns = story->start_wall_ns,
                              .end_ns = moments[STORY_ENDED],
                              .emit = emit,
                              .context = context};

    if (operation == NULL || !trace_id_read(story->trace_id, telling.trace_id) ||
        !span_id_read(story->span_id, telling.own_id))
        return;
    server_emit(&telling, story, operation);
    if (moments[STORY_ADMITTED] > 0)
        part_emit(&telling, PART_ADMISSION, 0, moments[STORY_ADMITTED], "admission");
    queue_emit(&telling, story);
    route_emit(&telling, story);
    for (uint32_t i = 0; i < attempts_kept(story); i++)
        attempt_emit(&telling, &story->attempts[i], i, operation);
    if (moments[STORY_FIRST_TOKEN] > 0)
        part_emit(&telling, PART_STREAM, moments[STORY_FIRST_TOKEN], moments[STORY_LAST_TOKEN],
                  "stream");
}

/* --- the replica's --- */

static uint64_t between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns > 0 && to_ns > from_ns ? to_ns - from_ns : 0;
}

static void replica_server_emit(const struct telling *telling, const struct replica_story *story,
                                const uint8_t parent[SPAN_ID_BYTES], const char *operation,
                                const char *model)
{
    const uint64_t *moments = story->moments_ns;
    struct span span;

    part_begin(telling, &span, 0, 0, telling->end_ns, "");
    memcpy(span.span_id, telling->own_id, SPAN_ID_BYTES);
    memcpy(span.parent_id, parent, SPAN_ID_BYTES);
    span.kind = SPAN_SERVER;
    operation_name(&span, operation, model);
    operation_add(&span, operation, "", model);
    span_add_texts(&span, "gen_ai.response.finish_reasons", story->finish);
    span_add_int(&span, "gen_ai.usage.input_tokens", story->prompt_tokens);
    span_add_int(&span, "gen_ai.usage.output_tokens", story->completion_tokens);
    span_add_int(&span, "gen_ai.usage.cache_read.input_tokens", story->cached_tokens);
    span_add_double(
        &span, "gen_ai.latency.time_in_queue",
        seconds(between(moments[REPLICA_STORY_SUBMITTED], moments[REPLICA_STORY_STARTED])));
    span_add_double(
        &span, "gen_ai.latency.time_in_model_prefill",
        seconds(between(moments[REPLICA_STORY_STARTED], moments[REPLICA_STORY_FIRST_TOKEN])));
    span_add_double(
        &span, "gen_ai.latency.time_in_model_decode",
        seconds(between(moments[REPLICA_STORY_FIRST_TOKEN], moments[REPLICA_STORY_LAST_TOKEN])));
    if (moments[REPLICA_STORY_FIRST_TOKEN] > 0)
        span_add_double(&span, "gen_ai.latency.time_to_first_token",
                        seconds(moments[REPLICA_STORY_FIRST_TOKEN]));
    span_add_double(&span, "gen_ai.latency.e2e", seconds(telling->end_ns));
    span_add_text(&span, "penstock.request_id", story->request_id);
    span_add_int(&span, "penstock.preemptions", story->preemption_count);
    span_add_int(&span, "penstock.decode_steps", story->decode_steps);
    span_add_int(&span, "penstock.speculation.drafted", story->drafted_tokens);
    span_add_int(&span, "penstock.speculation.accepted", story->accepted_tokens);
    span.is_error = strcmp(story->finish, "error") == 0;
    if (span.is_error)
        span_add_text(&span, "error.type", "engine");
    telling->emit(telling->context, &span);
}

static void chunks_emit(const struct telling *telling, const struct replica_story *story)
{
    for (uint32_t i = 0; i < story->chunk_count && i < REPLICA_STORY_CHUNKS_MAX; i++) {
        const struct replica_story_chunk *chunk = &story->chunks[i];
        uint64_t start_ns = chunk->end_ns > chunk->step_ns ? chunk->end_ns - chunk->step_ns : 0;
        struct span span;

        part_begin(telling, &span, PART_CHUNK + i, start_ns, chunk->end_ns, "prefill");
        span_add_int(&span, "penstock.chunk.tokens", chunk->tokens);
        span_add_int(&span, "penstock.chunk.other_rows", chunk->other_rows);
        telling->emit(telling->context, &span);
    }
}

/* Where it has not ended by now, its last moment. */
static uint64_t replica_end_of(const struct replica_story *story)
{
    uint64_t end_ns = 0;

    for (int i = 0; i < REPLICA_STORY_MOMENT_COUNT; i++)
        end_ns = story->moments_ns[i] > end_ns ? story->moments_ns[i] : end_ns;
    return end_ns;
}

void replica_story_spans_emit(const struct replica_story *story, const char *operation,
                              const char *model, span_emit_fn *emit, void *context)
{
    const uint64_t *moments = story->moments_ns;
    uint8_t parent[SPAN_ID_BYTES] = {0};
    struct telling telling = {.wall_ns = story->start_wall_ns,
                              .end_ns = replica_end_of(story),
                              .emit = emit,
                              .context = context};

    if (!trace_id_read(story->trace_id, telling.trace_id))
        return;
    if (!span_id_read(story->parent_span_id, parent)) {
        memset(parent, 0, sizeof(parent));
        span_id_derive(telling.trace_id, PART_REPLICA, telling.own_id);
    } else {
        span_id_derive(parent, PART_REPLICA, telling.own_id);
    }
    replica_server_emit(&telling, story, parent, operation, model);
    if (moments[REPLICA_STORY_SUBMITTED] > 0)
        part_emit(&telling, PART_PREPARE, 0, moments[REPLICA_STORY_SUBMITTED], "prepare");
    if (moments[REPLICA_STORY_SUBMITTED] > 0)
        part_emit(&telling, PART_QUEUE, moments[REPLICA_STORY_SUBMITTED],
                  moments[REPLICA_STORY_STARTED] > 0 ? moments[REPLICA_STORY_STARTED]
                                                     : telling.end_ns,
                  "queue");
    chunks_emit(&telling, story);
    if (moments[REPLICA_STORY_FIRST_TOKEN] > 0)
        part_emit(&telling, PART_DECODE, moments[REPLICA_STORY_FIRST_TOKEN],
                  moments[REPLICA_STORY_LAST_TOKEN], "decode");
}

/* --- metrics --- */

bool story_sample_make(const struct request_story *story, struct genai_sample *out)
{
    const uint64_t *moments = story->moments_ns;
    char code[CODE_BYTES];

    *out = (struct genai_sample){.operation = genai_operation_of(story->route),
                                 .duration_s = seconds(moments[STORY_ENDED]),
                                 .first_token_s = -1,
                                 .per_token_s = -1,
                                 .has_usage = story->usage_is_known,
                                 .input_tokens = story->prompt_tokens,
                                 .output_tokens = story->completion_tokens};
    if (out->operation == NULL || story->model == NULL)
        return false;
    (void)snprintf(out->model, sizeof(out->model), "%s", story->model);
    (void)snprintf(out->error_type, sizeof(out->error_type), "%s", error_type_of(story, code));
    if (moments[STORY_FIRST_TOKEN] > 0)
        out->first_token_s = seconds(moments[STORY_FIRST_TOKEN]);
    if (moments[STORY_FIRST_TOKEN] > 0 && story->completion_tokens > 1)
        out->per_token_s = seconds(moments[STORY_LAST_TOKEN] - moments[STORY_FIRST_TOKEN]) /
                           (story->completion_tokens - 1);
    return true;
}
