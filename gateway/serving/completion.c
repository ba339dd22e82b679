/* A completion on its way to the engine: body -> checked request -> parts and choices -> submitted. */

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "prepare.h"

static bool allocate_parts(struct job *job)
{
    uint32_t part_count = job->parsed.is_chat ? 1 : job->parsed.prompt_count;
    job->choices = memory_allocate_array(part_count * job->parsed.n, sizeof *job->choices);
    job->parts = memory_allocate_array(part_count, sizeof *job->parts);
    if (job->choices == NULL || job->parts == NULL) {
        job_fail(job, STATUS_NO_MEMORY);
        return false;
    }
    job->part_count = part_count;
    job->choice_count = part_count * job->parsed.n;
    for (uint32_t i = 0; i < part_count; i++) {
        job->parts[i].job = job;
        job->parts[i].first_choice = i * job->parsed.n;
    }
    if (event_queue_init(&job->events, publish_queue_bytes(job)) != STATUS_OK) {
        job_fail(job, STATUS_NO_MEMORY);
        return false;
    }
    return true;
}

static bool choices_init(struct job *job)
{
    const tokenizer *t = engine_get_tokenizer(job->replica->engine);
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct job_choice *choice = &job->choices[i];
        output_items_init(&choice->items, CHOICE_BYTES_MAX);
        buffer_init(&choice->ids, CHOICE_BYTES_MAX);
        choice->has_logprobs = job->parsed.sampling.logprobs >= 0;
        api_logprobs_init(&choice->logprobs, job->parsed.is_chat, t, CHOICE_BYTES_MAX);
        choice->logprobs.shows_ids = job->parsed.shows_token_ids;
        choice->logprobs.shows_special = job->parsed.shows_special;
        choice->sink = (struct output_sink){.job = job, .index = i};
        status s =
            job_parses_output(job) ? job_create_parser(job, choice, job_take_delta) : STATUS_OK;
        if (s != STATUS_OK) {
            job_fail(job, s);
            return false;
        }
    }
    job->open_count = job->choice_count;
    return true;
}

/* Nobody else has named it. */
static void answer_name_draw(struct answer_name *name)
{
    unsigned char random[ANSWER_UNIQUE_BYTES / 2];
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(name->unique + 2 * i, 3, "%02x", random[i]);
    name->created_s = clock_wall_ms() / 1000;
}

static void answer_init(struct job *job)
{
    const struct engine_request *first = &job->parts[0].request;
    if (!job->has_name)
        answer_name_draw(&job->name);
    (void)snprintf(job->id, sizeof job->id, "%s%s%s", job->format->id_prefix,
                   job->format->record_write != NULL ? job->replica_number : "", job->name.unique);
    job->answer = (struct api_answer){
        .id = job->id,
        .unique = job->id + strlen(job->format->id_prefix),
        .created_s = job->name.created_s,
        .model = job->parsed.model,
        .fingerprint = job->replica->fingerprint,
        .request = &job->parsed,
        .is_usage_wanted = job->parsed.include_usage,
        .is_usage_continuous = job->parsed.continuous_usage,
        .service_tier = api_service_tier_names[job->parsed.service_tier],
        .prompt_ids = job->parsed.return_token_ids ? first->prompt : NULL,
        .prompt_count = first->prompt_count,
    };
}

/* What the text must be like, compiled: here it may take its time. */
static bool compile_grammar(struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    const char *field = parsed->grammar_field != NULL ? parsed->grammar_field : "tools";
    struct error_note note = {""};
    status s = STATUS_OK;
    if (job_wants_composed_grammar(job))
        s = job_compile_composed(job, &note);
    else if (parsed->grammar_field != NULL)
        s = engine_compile_grammar(job->replica->engine, &parsed->grammar, &job->grammar, &note);
    for (uint32_t i = 0; i < job->part_count; i++)
        job->parts[i].request.grammar = job->grammar;
    if (s == STATUS_OK)
        return true;
    if (s == STATUS_INVALID || s == STATUS_UNSUPPORTED || s == STATUS_TOO_LARGE)
        api_error_set(&job->error, 400, "invalid_request_error",
                      s == STATUS_INVALID       ? "invalid_value"
                      : s == STATUS_UNSUPPORTED ? "unsupported_value"
                                                : "grammar_too_large",
                      field, "Invalid '%s': %s.", field, note.text);
    else
        job_fail(job, s);
    return false;
}

bool completion_prepare(struct job *job)
{
    struct api_completion_request *parsed = &job->parsed;
    struct api_history history = job_history(job);
    struct wire_request source = {
        .body = job_request_body(job), .limits = &job->replica->limits, .history = &history};
    status s = job->format->parse(&source, parsed, &job->error);
    if (s != STATUS_OK || !job_find_model(job, parsed->model, &job->adapter))
        return false;
    if (!parsed->has_seed && job->has_name)
        parsed->sampling.seed = job->name.seed;
    else if (!parsed->has_seed)
        random_bytes(&parsed->sampling.seed, sizeof parsed->sampling.seed);
    if (!allocate_parts(job))
        return false;
    if (!job_encode_bad_words(job))
        return false;
    for (uint32_t i = 0; i < job->part_count; i++)
        if (!part_prepare(&job->parts[i], parsed->prompts != NULL ? &parsed->prompts[i] : NULL))
            return false;
    if (!compile_grammar(job) || !choices_init(job) || !job_prepare_continuation(job))
        return false;
    answer_init(job);
    api_completion_request_release_body(parsed);
    buffer_deinit(&job->body);
    return true;
}

static void fail_submit(struct job *job, const struct job_part *part, status s)
{
    const struct engine_info *info = engine_get_info(job->replica->engine);
    job_fail(job, s);
    if (s == STATUS_FULL)
        job->error.retry_after_ms = replica_retry_after_ms(job->replica);
    if (s == STATUS_TOO_LARGE)
        api_error_set(&job->error, 400, "invalid_request_error", "context_length_exceeded",
                      job->parsed.is_chat ? "messages" : "prompt",
                      "This request can never run here: its %u prompt tokens do not fit into the "
                      "whole cache of %u blocks, or into the context of %u tokens.",
                      part->request.prompt_count, info->block_count, info->context_max);
}

/* max_tokens 0: nothing is generated, every choice ends at once. The worker is the queue's producer
 * here, since no part is submitted. */
static bool finish_without_engine(struct job *job)
{
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct engine_event event = {
            .finish = FINISH_LENGTH,
            .stop_token = -1,
            .usage = {.prompt_tokens = job->parts[i / job->parsed.n].request.prompt_count},
        };
        if (!publish_record(job, i, &event)) {
            job_fail(job, STATUS_TOO_LARGE);
            return false;
        }
    }
    return true;
}

bool completion_submit(struct job *job)
{
    if (job->parsed.max_tokens == 0 && job->parts[0].scores == NULL)
        return finish_without_engine(job);
    job_story_submit(job);
    for (uint32_t i = 0; i < job->part_count; i++) {
        struct job_part *part = &job->parts[i];
        int unknown = PART_UNKNOWN;
        job_acquire(job);
        status s = engine_submit(job->replica->engine, &part->request);
        if (s != STATUS_OK) {
            fail_submit(job, part, s);
            job_release(job);
            job_cancel(job);
            return false;
        }
        /* from now on it may be cancelled, unless it has already ended */
        atomic_compare_exchange_strong(&part->hold, &unknown, PART_FREE);
        if (atomic_load(&job->is_unwanted))
            job_cancel(job);
    }
    if (job->is_past_wrong) {
        job_cancel(job);
        job_fail(job, STATUS_INVALID);
        return false;
    }
    return true;
}
