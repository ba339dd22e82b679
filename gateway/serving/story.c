/* What a job leaves among the replica's stories (replica_story.h). The job's own copy belongs to whom the job belongs to; the ring has one that
 * anybody may read, so that a request that is under way can be asked about too. */
#include <stdatomic.h>
#include <string.h>

#include "clock.h"
#include "job.h"
#include "reply.h"

void job_story_begin(struct job *job, const http_request *request)
{
    struct replica_story *story = &job->story;
    uint64_t now_ns = clock_now_ns();
    if (job->kind != JOB_COMPLETION && job->kind != JOB_POOLING)
        return;
    story->start_ns = job->start_ns;
    story->start_wall_ns = clock_wall_ms() * NS_PER_MS - (now_ns - job->start_ns);
    story->finish = "";
    strncpy(story->request_id, http_request_id(request), sizeof story->request_id - 1);
    replica_tracing_begin(job->replica->tracing, request, story, &job->context);
    job->story_number = replica_stories_begin(job->replica->stories, story);
}

static void put(const struct job *job)
{
    replica_stories_put(job->replica->stories, job->story_number, &job->story);
}

static void note(struct replica_story *story, enum replica_story_moment moment, uint64_t time_ns)
{
    if (time_ns != 0)
        story->moments_ns[moment] = time_ns > story->start_ns ? time_ns - story->start_ns : 1;
}

void job_story_submit(struct job *job)
{
    struct replica_story *story = &job->story;
    struct engine_stats stats;
    if (job->story_number == 0)
        return;
    engine_get_stats(job->replica->engine, &stats);
    story->waiting_before = stats.waiting;
    story->running_before = stats.running;
    story->prompt_count = job->part_count;
    story->sequence_count = job->choice_count;
    for (uint32_t i = 0; i < job->part_count; i++)
        story->prompt_tokens += job->parts[i].request.prompt_count;
    note(story, REPLICA_STORY_PREPARED, clock_now_ns());
    put(job);
}

void job_story_note_first(struct job *job)
{
    if (job->story_number == 0)
        return;
    note(&job->story, REPLICA_STORY_SUBMITTED, job->timing.submitted_ns);
    note(&job->story, REPLICA_STORY_STARTED, job->timing.admitted_ns);
    note(&job->story, REPLICA_STORY_FIRST_TOKEN, job->timing.first_token_ns);
    put(job);
}

/* --- the end --- */

static const char *finish_word(const struct job *job)
{
    static const char *const words[] = {
        [FINISH_NONE] = "",         [FINISH_STOP] = "stop",
        [FINISH_LENGTH] = "length", [FINISH_REPETITION] = "repetition",
        [FINISH_ABORT] = "abort",   [FINISH_ERROR] = "error"};
    enum finish_reason finish = job->choice_count > 0 ? job->choices[0].finish : FINISH_NONE;
    if (finish == FINISH_NONE && atomic_load_explicit(&job->is_unwanted, memory_order_relaxed))
        finish = FINISH_ABORT;
    return words[finish];
}

/* Several prompts' chunks come one part after the other; times are those of the earliest and the latest. */
static void trace_take(struct replica_story *story, const struct engine_trace *trace)
{
    for (uint32_t i = 0; i < trace->chunk_count; i++) {
        if (i < ENGINE_CHUNKS_MAX && story->chunk_count < REPLICA_STORY_CHUNKS_MAX) {
            const struct engine_chunk *chunk = &trace->chunks[i];
            story->chunks[story->chunk_count] = (struct replica_story_chunk){
                chunk->end_ns > story->start_ns ? chunk->end_ns - story->start_ns : 1,
                chunk->step_ns, chunk->tokens, chunk->other_rows};
        }
        story->chunk_count++;
    }
    if (story->flight_number == 0)
        story->flight_number = trace->number;
    story->chunk_tokens += trace->chunk_tokens;
    story->decode_steps += trace->decode_steps;
    story->drafted_tokens += trace->draft_tokens;
    story->accepted_tokens += trace->accepted_tokens;
    story->preemption_count += trace->preemption_count;
    if (story->moments_ns[REPLICA_STORY_STARTED] == 0)
        note(story, REPLICA_STORY_STARTED, trace->admitted_ns);
    if (story->moments_ns[REPLICA_STORY_FIRST_TOKEN] == 0)
        note(story, REPLICA_STORY_FIRST_TOKEN, trace->first_token_ns);
    if (trace->last_token_ns > story->start_ns + story->moments_ns[REPLICA_STORY_LAST_TOKEN])
        note(story, REPLICA_STORY_LAST_TOKEN, trace->last_token_ns);
}

/* Whether the engine has told the end of all parts. */
static bool is_traced(const struct job *job)
{
    for (uint32_t i = 0; i < job->part_count; i++) {
        if (!atomic_load_explicit(&job->parts[i].has_trace, memory_order_acquire))
            return false;
    }
    return true;
}

static void usage_take(struct job *job)
{
    struct replica_story *story = &job->story;
    story->cached_tokens = story->cache_write_tokens = story->completion_tokens = 0;
    story->busy_ns = job->pooled_ns;
    for (uint32_t i = 0; i < job->part_count; i++) {
        story->cached_tokens += job->parts[i].cached_tokens;
        story->cache_write_tokens += job->parts[i].cache_write_tokens;
        story->busy_ns += job->parts[i].busy_ns;
    }
    for (uint32_t i = 0; i < job->choice_count; i++)
        story->completion_tokens += job->choices[i].completion_tokens;
    if (job->pooled_tokens > 0)
        story->prompt_tokens = job->pooled_tokens;
    story->finish = finish_word(job);
}

/* As OpenTelemetry's conventions call it, where they do. */
static const char *operation_of(const struct job *job)
{
    static const char *const pooling[] = {
        [POOLING_EMBED] = "embeddings", [POOLING_RERANK] = "rerank", [POOLING_SCORE] = "score"};
    if (job->kind == JOB_POOLING)
        return pooling[job->pooling_kind];
    return job->format == &wire_format_text ? "text_completion" : "chat";
}

void job_story_end(struct job *job, bool is_forgotten)
{
    struct replica_story *story = &job->story;
    if (job->story_number == 0 || story->is_over)
        return;
    if (story->moments_ns[REPLICA_STORY_ENDED] == 0)
        note(story, REPLICA_STORY_ENDED, clock_now_ns());
    usage_take(job);
    story->is_over = is_forgotten || is_traced(job);
    for (uint32_t i = 0; story->is_over && i < job->part_count; i++) {
        if (atomic_load_explicit(&job->parts[i].has_trace, memory_order_acquire))
            trace_take(story, &job->parts[i].trace);
    }
    put(job);
    if (story->is_over)
        replica_tracing_end(job->replica->tracing, story, &job->context, operation_of(job));
}

void stories_get(struct replica *replica, http_request *request)
{
    struct text_slice path = http_request_path(request);
    size_t prefix = strlen("/stories/");
    struct api_error error;
    struct buffer body;
    buffer_init(&body, REPLICA_STORY_ANSWER_BYTES);
    if (replica->is_trusted &&
        replica_stories_write(replica->stories,
                              (struct text_slice){path.data + prefix, path.bytes - prefix},
                              &body) &&
        body.failed == STATUS_OK) {
        reply_json(request, 200, &body);
    } else if (!replica->is_trusted) {
        api_error_set_unknown_path(&error, request);
        reply_error(request, &wire_format_chat, &error);
    } else {
        api_error_set(&error, 404, "invalid_request_error", "request_not_found", "",
                      "No request of this id is among those that the replica remembers.");
        reply_error(request, &wire_format_chat, &error);
    }
    buffer_deinit(&body);
}
