/* The publisher thread's side: it copies an event into the job's queue and posts the job, and does
 * neither allocate nor wait. A loop is woken once after the events of a step: woken at the first,
 * it would take turns with the publisher, and on a machine whose cores all compute, that is two
 * switches a token on the step thread's core. Formatting is the loop's work, so one slow formatter cannot hold up
 * the text of all others. */

#include "job.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* Events that wait for a loop: 256 a sequence is a second and more of decoding at 4 ms a step; a
 * loop that does not turn for so long is stuck, and a client whose unsent bytes fill the stream's
 * buffer and this queue reads too slowly. */
#define QUEUED_EVENTS   256u
#define QUEUE_BYTES_MIN (32u * 1024u)
#define QUEUE_BYTES_MAX (4u * 1024u * 1024u)
/* Text of one ordinary event; most tokens have fewer bytes. */
#define EVENT_TEXT_BYTES 16u

size_t publish_queue_bytes(const struct job *job)
{
    int32_t logprobs = job->parsed.sampling.logprobs;
    size_t alternatives = logprobs > 0 ? (size_t)logprobs : 0;
    size_t event = sizeof(struct event_record) + sizeof(struct engine_token) + EVENT_TEXT_BYTES +
                   alternatives * sizeof(struct token_logprob);
    size_t held = 0; /* a stop string that did not match is released in one event */
    for (uint32_t i = 0; i < job->parsed.stop_count; i++)
        held = job->parsed.stops[i].bytes > held ? job->parsed.stops[i].bytes : held;
    size_t bytes = (size_t)job->choice_count * QUEUED_EVENTS * event;
    bytes = bytes < QUEUE_BYTES_MIN ? QUEUE_BYTES_MIN : bytes;
    bytes = bytes > QUEUE_BYTES_MAX ? QUEUE_BYTES_MAX : bytes;
    return bytes + 4 * held;
}

static size_t append(char *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        memcpy(to, from, bytes);
    return bytes;
}

bool publish_record(struct job *job, uint32_t choice, const struct engine_event *event)
{
    uint32_t alternatives = 0;
    for (uint32_t i = 0; i < event->token_count; i++)
        alternatives += event->tokens[i].alternative_count;
    size_t bytes = sizeof(struct event_record) + event->token_count * sizeof(struct engine_token) +
                   alternatives * sizeof(struct token_logprob) + event->text.bytes +
                   event->stop_text.bytes;
    char *at = event_queue_reserve(&job->events, bytes);
    if (at == NULL)
        return false;
    struct event_record record = {
        .choice = choice,
        .token_count = event->token_count,
        .alternative_count = alternatives,
        .text_bytes = (uint32_t)event->text.bytes,
        .stop_bytes = (uint32_t)event->stop_text.bytes,
        .stop_token = event->stop_token,
        .finish = event->finish,
        .error = event->error,
        .usage = event->usage,
        .timing = event->timing,
    };
    at += append(at, &record, sizeof record);
    at += append(at, event->tokens, event->token_count * sizeof(struct engine_token));
    for (uint32_t i = 0; i < event->token_count; i++)
        at += append(at, event->tokens[i].alternatives,
                     event->tokens[i].alternative_count * sizeof(struct token_logprob));
    at += append(at, event->text.data, event->text.bytes);
    append(at, event->stop_text.data, event->stop_text.bytes);
    event_queue_commit(&job->events);
    return true;
}

void publish_record_read(struct event_record *record, struct engine_event *out)
{
    struct engine_token *tokens = (struct engine_token *)(void *)(record + 1);
    struct token_logprob *alternatives =
        (struct token_logprob *)(void *)(tokens + record->token_count);
    const char *text = (const char *)(alternatives + record->alternative_count);
    *out = (struct engine_event){
        .index = record->choice,
        .text = {text, record->text_bytes},
        .tokens = tokens,
        .token_count = record->token_count,
        .finish = record->finish,
        .stop_text = {text + record->text_bytes, record->stop_bytes},
        .stop_token = record->stop_token,
        .usage = record->usage,
        .timing = record->timing,
        .error = record->error,
    };
    for (uint32_t i = 0; i < record->token_count; i++) {
        tokens[i].alternatives = alternatives;
        alternatives += tokens[i].alternative_count;
    }
}

void publish_release_departed(struct replica *replica)
{
    struct job_part *part = replica->departed;
    replica->departed = NULL;
    if (part != NULL)
        job_release(part->job);
}

/* Waits for a canceller that holds the part, then nobody may cancel it any more. */
static void part_depart(struct job_part *part)
{
    int hold = atomic_load(&part->hold);
    while (hold == PART_HELD || !atomic_compare_exchange_weak(&part->hold, &hold, PART_GONE)) {
        if (hold == PART_HELD) {
            sched_yield();
            hold = atomic_load(&part->hold);
        }
    }
}

void publish_event(struct engine_request *request, const struct engine_event *event)
{
    struct job_part *part = request->context;
    struct job *job = part->job;
    publish_release_departed(job->replica);
    if (event->is_last && event->trace != NULL) {
        part->trace = *event->trace;
        atomic_store_explicit(&part->has_trace, true, memory_order_release);
    }
    if (!atomic_load_explicit(&job->is_unwanted, memory_order_relaxed) &&
        !atomic_load_explicit(&job->has_overflowed, memory_order_relaxed) &&
        !publish_record(job, part->first_choice + event->index, event)) {
        atomic_store(&job->has_overflowed, true);
        if (!event->is_last)
            part_cancel(part);
    }
    if (job_leave(job))
        job->replica->sleeping_loops |= 1u << http_loop_index(job->loop);
    if (event->is_last) {
        part_depart(part);
        job->replica->departed = part;
    }
}

void publish_wake(void *context)
{
    struct replica *replica = context;
    pooling_return_done(replica);
    for (uint32_t i = 0; replica->sleeping_loops != 0; i++) {
        if ((replica->sleeping_loops & 1u << i) != 0)
            http_loop_wake(http_server_loop(replica->http, i));
        replica->sleeping_loops &= ~(1u << i);
    }
}
