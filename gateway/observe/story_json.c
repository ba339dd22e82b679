#include "story_json.h"

#include "clock.h"
#include "json.h"

static void number_write(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void text_write(struct buffer *out, const char *key, const char *value)
{
    json_write_key(out, key);
    json_write_text(out, value);
}

static void text_or_null(struct buffer *out, const char *key, const char *value)
{
    text_write(out, key, value[0] != '\0' ? value : NULL);
}

static void truth_write(struct buffer *out, const char *key, bool value)
{
    json_write_key(out, key);
    json_write_bool(out, value);
}

static void ms_write(struct buffer *out, const char *key, double ns)
{
    json_write_key(out, key);
    json_write_double(out, ns / 1e6);
}

/* null: it has not come to that. */
static void moment_or_null(struct buffer *out, const char *key, uint64_t moment_ns)
{
    if (moment_ns > 0)
        ms_write(out, key, (double)moment_ns);
    else
        text_write(out, key, NULL);
}

static uint64_t duration_of(const struct request_story *story, uint64_t now_ns)
{
    return story->is_over ? story->moments_ns[STORY_ENDED] : request_story_moment(story, now_ns);
}

static enum story_moment latest_of(const struct request_story *story)
{
    enum story_moment latest = STORY_BODY_READ;

    for (unsigned i = 0; i < STORY_MOMENT_COUNT; i++)
        latest = story->moments_ns[i] > 0 ? (enum story_moment)i : latest;
    return latest;
}

/* Its latest moment, but for one whose latest token is never known to be the last. */
static const char *phase_of(const struct request_story *story)
{
    enum story_moment latest = latest_of(story);

    return !story->is_over && latest >= STORY_FIRST_TOKEN ? "generating"
                                                          : story_moment_name(latest);
}

static void row_members(const struct request_story *story, uint64_t now_ns, struct buffer *out)
{
    text_write(out, "id", story->request_id);
    number_write(out, "loop", story->loop);
    number_write(out, "number", story->number);
    text_write(out, "state", story->is_over ? "ended" : "live");
    number_write(out, "start_ms", story->start_wall_ns / NS_PER_MS);
    json_write_key(out, "seconds");
    json_write_double(out, (double)duration_of(story, now_ns) / 1e9);
    text_write(out, "phase", phase_of(story));
    text_write(out, "route", story->route);
    text_or_null(out, "model", story->model);
    json_write_key(out, "status");
    if (story->status_code > 0)
        buffer_append_i64(out, story->status_code);
    else
        json_write_text(out, NULL);
    text_or_null(out, "error", story->error_code);
    text_or_null(out, "organisation", story->organisation);
    text_or_null(out, "team", story->team);
    text_or_null(out, "key", story->key_name);
    number_write(out, "attempts_made", story->attempt_count);
    number_write(out, "prompt_tokens", story->prompt_tokens);
    number_write(out, "completion_tokens", story->completion_tokens);
    text_or_null(out, "trace_id", story->trace_id);
}

void request_story_write_row(const struct request_story *story, uint64_t now_ns, struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    row_members(story, now_ns, out);
    buffer_append_byte(out, '}');
}

/* --- the whole --- */

static void moments_write(const struct request_story *story, struct buffer *out)
{
    json_write_key(out, "moments_ms");
    buffer_append_byte(out, '{');
    for (unsigned i = 0; i < STORY_MOMENT_COUNT; i++) {
        if (story->moments_ns[i] > 0)
            ms_write(out, story_moment_name(i), (double)story->moments_ns[i]);
    }
    buffer_append_byte(out, '}');
}

/* What lies before each moment that it has come to is a phase of this name; the last one is up to now. */
static const char *const phase_names[STORY_MOMENT_COUNT] = {
    [STORY_BODY_READ] = "reading the request",
    [STORY_ADMITTED] = "checking its limits",
    [STORY_QUEUED] = "coming to the waiting room",
    [STORY_SLOT] = "waiting for a slot",
    [STORY_DISPATCHED] = "choosing a replica",
    [STORY_FIRST_BYTE] = "the replica until its answer begins",
    [STORY_FIRST_TOKEN] = "until the first token",
    [STORY_LAST_TOKEN] = "generating",
    [STORY_ENDED] = "sending the end",
};

static void phase_write(const char *name, uint64_t from_ns, uint64_t to_ns, struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    text_write(out, "name", name);
    ms_write(out, "ms", (double)(to_ns - from_ns));
    buffer_append_byte(out, '}');
}

static void phases_write(const struct request_story *story, uint64_t now_ns, struct buffer *out)
{
    uint64_t at_ns = 0, end_ns = duration_of(story, now_ns);
    unsigned latest = latest_of(story);

    json_write_key(out, "phases");
    buffer_append_byte(out, '[');
    for (unsigned i = 0; i < STORY_MOMENT_COUNT; i++) {
        uint64_t moment_ns = story->moments_ns[i];

        /* A request that goes to another model comes to its waiting room again; what came before stays told. */
        if (moment_ns <= at_ns)
            continue;
        phase_write(phase_names[i], at_ns, moment_ns, out);
        at_ns = moment_ns;
    }
    if (!story->is_over && end_ns > at_ns)
        phase_write(phase_names[latest == STORY_LAST_TOKEN ? latest : latest + 1], at_ns, end_ns,
                    out);
    buffer_append_byte(out, ']');
}

static void places_write(const struct request_story *story, struct buffer *out)
{
    json_write_key(out, "queue");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < story->place_count; i++) {
        const struct story_place *place = &story->places[i];

        json_write_comma(out);
        buffer_append_byte(out, '{');
        ms_write(out, "at_ms", (double)place->at_ns);
        number_write(out, "ahead", place->ahead);
        if (place->eta_ms >= 0)
            number_write(out, "eta_ms", (uint64_t)place->eta_ms);
        else
            text_write(out, "eta_ms", NULL);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

static void candidate_write(const struct story_candidate *candidate, struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    number_write(out, "replica", candidate->replica);
    text_write(out, "outcome", story_pass_name((enum story_pass)candidate->pass));
    if (candidate->is_told) {
        ms_write(out, "score_ms", candidate->score_ns);
        ms_write(out, "queued_ms", candidate->queued_ns);
        ms_write(out, "step_ms", candidate->step_ns);
        ms_write(out, "prefill_ms_per_token", candidate->prefill_ns);
    } else {
        text_write(out, "score_ms", NULL);
    }
    number_write(out, "cached_tokens", candidate->cached_tokens);
    number_write(out, "outstanding", candidate->outstanding);
    number_write(out, "waiting", candidate->waiting);
    number_write(out, "running", candidate->running);
    buffer_append_byte(out, '}');
}

static void decision_write(const struct request_story *story, struct buffer *out)
{
    json_write_key(out, "decision");
    if (story->policy[0] == '\0') {
        json_write_text(out, NULL);
        return;
    }
    buffer_append_byte(out, '{');
    text_write(out, "policy", story->policy);
    ms_write(out, "at_ms", (double)story->decided_ns);
    number_write(out, "attempt", story->decision_attempt);
    number_write(out, "prompt_tokens_guess", story->prompt_tokens_guess);
    number_write(out, "candidate_count", story->candidate_total);
    json_write_key(out, "candidates");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < story->candidate_count; i++)
        candidate_write(&story->candidates[i], out);
    buffer_append_text(out, "]}");
}

static void attempt_members(const struct story_attempt *attempt, struct buffer *out)
{
    json_write_key(out, "replica");
    buffer_append_byte(out, '"');
    buffer_append_text(out, attempt->model); /* names of models need no escapes */
    buffer_append_format(out, "#%u\"", attempt->replica);
    text_or_null(out, "member", attempt->member);
    truth_write(out, "remote", attempt->is_remote);
    truth_write(out, "upstream", attempt->is_upstream);
    text_write(out, "why", story_reason_name((enum story_reason)attempt->reason));
    ms_write(out, "start_ms", (double)attempt->start_ns);
    moment_or_null(out, "head_ms", attempt->head_ns);
    moment_or_null(out, "end_ms", attempt->end_ns);
    text_write(out, "result", story_result_name((enum story_result)attempt->result));
    json_write_key(out, "status");
    if (attempt->status_code > 0)
        buffer_append_i64(out, attempt->status_code);
    else
        json_write_text(out, NULL);
    text_or_null(out, "span_id", attempt->span_id);
}

static void attempts_write(const struct request_story *story,
                           const struct story_attempt_addition *addition, struct buffer *out)
{
    json_write_key(out, "attempts");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < story->attempt_count && i < STORY_ATTEMPTS_MAX; i++) {
        json_write_comma(out);
        buffer_append_byte(out, '{');
        attempt_members(&story->attempts[i], out);
        if (addition != NULL)
            addition->write(addition->context, i, out);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

static void usage_write(const struct request_story *story, struct buffer *out)
{
    json_write_key(out, "usage");
    if (!story->usage_is_known) {
        json_write_text(out, NULL);
    } else {
        buffer_append_byte(out, '{');
        truth_write(out, "estimated", story->usage_is_estimated);
        number_write(out, "prompt_tokens", story->prompt_tokens);
        number_write(out, "cached_tokens", story->cached_tokens);
        number_write(out, "completion_tokens", story->completion_tokens);
        number_write(out, "reasoning_tokens", story->reasoning_tokens);
        ms_write(out, "busy_ms", (double)story->busy_ns);
        buffer_append_byte(out, '}');
    }
    json_write_key(out, "cost");
    if (story->cost_nano != STORY_NO_COST)
        json_write_double(out, (double)story->cost_nano / 1e9);
    else
        json_write_text(out, NULL);
}

void request_story_write(const struct request_story *story, uint64_t now_ns,
                         const struct story_attempt_addition *addition, struct buffer *out)
{
    buffer_append_byte(out, '{');
    row_members(story, now_ns, out);
    text_or_null(out, "asked_model", story->asked_model);
    text_write(out, "method", story->method);
    truth_write(out, "stream", story->is_stream);
    json_write_key(out, "band");
    buffer_append_i64(out, story->band);
    text_or_null(out, "finish", story->finish);
    moments_write(story, out);
    phases_write(story, now_ns, out);
    places_write(story, out);
    decision_write(story, out);
    attempts_write(story, addition, out);
    number_write(out, "retries", story->retries);
    number_write(out, "hedges", story->hedges);
    number_write(out, "continuations", story->continuations);
    number_write(out, "fallbacks", story->fallbacks);
    usage_write(story, out);
    number_write(out, "bytes_in", story->bytes_in);
    number_write(out, "bytes_out", story->bytes_out);
    text_or_null(out, "span_id", story->span_id);
    text_or_null(out, "parent_span_id", story->parent_span_id);
    buffer_append_byte(out, '}');
}
