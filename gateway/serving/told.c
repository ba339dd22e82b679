/* Streams that can go on with another replica (continuation.h), on the replica's side.
 *
 * Whoever makes a stream tells the gateway its tokens, some events late. Whoever goes on with it is given them back: the
 * engine says them again on the worker's thread (engine_request.past), each becomes the events that it was, and all formats,
 * parsers and counters stand where they stood. As many events as the client has had are left out, those of replayed tokens
 * and the first new ones alike. So it does not matter where in a token's events the stream broke off: a token that was not
 * told is made once more, and what the client has of it is not sent again.
 *
 * What is not told cannot go on: where the tokens are not all that the answer follows from. That is mirostat (its state is
 * made of log probabilities), scores of the prompt, log probabilities of an answer that is told as a whole in the end, and
 * several choices in one request, whose events may come in another order. */

#include "job.h"

#include <string.h>

#include "memory.h"
#include "usage_report.h"

#define TOLD_BYTES_MAX (64u * 1024u * 1024u) /* of ids of one choice, or a line of them */

void job_read_continuation(struct job *job, const http_request *request)
{
    struct text_slice head = http_request_header(request, CONTINUATION_HEADER);
    struct continuation *past = &job->continuation;
    job->has_name = answer_name_read(http_request_header(request, ANSWER_NAME_HEADER), &job->name);
    job->continues = head.data != NULL;
    if (job->continues && !continuation_read(head, past))
        past->told_bytes = UINT64_MAX; /* it will be refused */
}

struct text_slice job_request_body(const struct job *job)
{
    uint64_t told = job->continues ? job->continuation.told_bytes : 0;
    size_t bytes = job->body.bytes;
    return (struct text_slice){job->body.data, told <= bytes ? bytes - (size_t)told : bytes};
}

static bool can_tell(const struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    bool keeps_logprobs = parsed->sampling.logprobs >= 0 && job->format->keeps_output;
    return job->has_name && job->tells_usage && parsed->stream && job->choice_count == 1 &&
           parsed->max_tokens != 0 && !parsed->sampling.mirostat.is_on && !keeps_logprobs &&
           job->parts[0].scores == NULL;
}

static bool refuse(struct job *job)
{
    api_error_set(&job->error, 400, "invalid_request_error", "invalid_continuation", "",
                  "The answer cannot go on here.");
    return false;
}

/* Counts the tokens of each choice, or with room for them puts them there. */
static bool read_told(const struct job *job, struct text_slice told, struct engine_past *past,
                      int32_t *ids)
{
    struct told_reader reader = {.rest = told};
    int32_t token;
    while (told_tokens_next(&reader, &token)) {
        if (reader.choice >= job->choice_count)
            return false;
        if (ids != NULL)
            ids[past[reader.choice].tokens - ids + past[reader.choice].count] = token;
        past[reader.choice].count++;
    }
    return !reader.is_wrong;
}

static bool take_told(struct job *job, struct text_slice told)
{
    uint64_t count = 0;
    job->past = memory_allocate_array(job->choice_count, sizeof *job->past);
    if (job->past == NULL)
        return job_fail(job, STATUS_NO_MEMORY);
    if (!read_told(job, told, job->past, NULL))
        return refuse(job);
    for (uint32_t i = 0; i < job->choice_count; i++)
        count += job->past[i].count;
    job->past_tokens = memory_allocate_array(count + 1, sizeof *job->past_tokens);
    if (job->past_tokens == NULL)
        return job_fail(job, STATUS_NO_MEMORY);
    const int32_t *at = job->past_tokens;
    for (uint32_t i = 0; i < job->choice_count; i++) {
        job->past[i].tokens = at;
        at += job->past[i].count;
        job->past[i].count = 0;
    }
    return read_told(job, told, job->past, job->past_tokens) || refuse(job);
}

bool job_prepare_continuation(struct job *job)
{
    struct text_slice body = job_request_body(job);
    job->tells_tokens = can_tell(job);
    buffer_init(&job->report, TOLD_BYTES_MAX);
    for (uint32_t i = 0; i < job->choice_count; i++)
        buffer_init(&job->choices[i].untold, TOLD_BYTES_MAX);
    if (!job->continues)
        return true;
    if (!job->tells_tokens || job->continuation.told_bytes > job->body.bytes)
        return refuse(job);
    if (!take_told(
            job, (struct text_slice){body.data + body.bytes, (size_t)job->continuation.told_bytes}))
        return false;
    job->known_events = job->continuation.event_count;
    job->parts[0].request.past = job->past;
    job->parts[0].request.on_past = job_take_past;
    return true;
}

void job_leave_out(struct job *job, struct buffer *out, size_t at)
{
    size_t end = at;
    while (job->known_events > 0 && out->failed == STATUS_OK && end < out->bytes) {
        const char *blank = memmem(out->data + end, out->bytes - end, "\n\n", 2);
        if (blank == NULL)
            break;
        end = (size_t)(blank - out->data) + 2;
        job->known_events--;
    }
    if (end == at)
        return;
    memmove(out->data + at, out->data + end, out->bytes - end);
    out->bytes -= end - at;
}

/* The line before what stands at `at`; `choice` NULL: without tokens. */
static void insert_report(struct job *job, uint32_t index, bool tells, struct buffer *out,
                          size_t at)
{
    struct buffer *untold = &job->choices[index].untold;
    struct api_usage usage = job_usage(job);
    buffer_clear(&job->report);
    if (tells)
        usage_report_write_told(&usage, index, (const int32_t *)(const void *)untold->data,
                                untold->bytes / sizeof(int32_t), &job->report);
    else
        usage_report_write_line(&usage, &job->report);
    if (job->report.failed == STATUS_OK)
        usage_report_insert(buffer_slice(&job->report), out, at);
    if (tells)
        buffer_clear(untold);
}

void job_report_begin(struct job *job, struct buffer *out)
{
    if (job->tells_tokens && out->bytes > 0)
        insert_report(job, 0, true, out, 0);
}

void job_report_event(struct job *job, const struct engine_event *event, struct buffer *out,
                      size_t at)
{
    struct job_choice *choice = &job->choices[event->index];
    bool has_output = out->bytes > at;
    job_leave_out(job, out, at);
    if (has_output && job->tells_usage && job->parsed.stream)
        insert_report(job, event->index, job->tells_tokens && event->finish == FINISH_NONE, out,
                      at);
    for (uint32_t i = 0; job->tells_tokens && i < event->token_count; i++)
        buffer_append(&choice->untold, &event->tokens[i].id, sizeof event->tokens[i].id);
}
