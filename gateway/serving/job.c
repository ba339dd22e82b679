/* A job's birth on the loop, its references, its message and its cancelling. See job.h. */

#include "job.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "prompt_chunks.h"
#include "usage_report.h"

void job_acquire(struct job *job)
{
    atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
}

static void job_destroy(struct job *job)
{
    job_story_end(job, true);
    for (uint32_t i = 0; i < job->choice_count; i++) {
        output_parser_destroy(job->choices[i].parser);
        output_items_deinit(&job->choices[i].items);
        buffer_deinit(&job->choices[i].ids);
        buffer_deinit(&job->choices[i].untold);
        api_logprobs_deinit(&job->choices[i].logprobs);
    }
    for (uint32_t i = 0; i < job->part_count; i++) {
        token_list_deinit(&job->parts[i].prompt);
        token_list_deinit(&job->parts[i].prediction);
        buffer_deinit(&job->parts[i].echo_text);
        memory_release(job->parts[i].scores);
        memory_release(job->parts[i].alternatives);
    }
    memory_release(job->choices);
    memory_release(job->parts);
    memory_release(job->marks);
    memory_release(job->past);
    memory_release(job->past_tokens);
    buffer_deinit(&job->report);
    event_queue_deinit(&job->events);
    grammar_release(job->grammar);
    api_completion_request_deinit(&job->parsed);
    pooling_work_destroy(job->pooling);
    buffer_deinit(&job->body);
    memory_release(job);
}

void job_release(struct job *job)
{
    /* release: our writes come before the free; acquire: the others' do */
    if (atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) == 1)
        job_destroy(job);
}

static void job_run(struct http_message *message, http_loop *loop)
{
    (void)loop;
    struct job *job = CONTAINER_OF(message, struct job, message);
    atomic_exchange_explicit(&job->is_posted, false, memory_order_acq_rel);
    job_deliver(job);
    job_release(job);
}

bool job_leave(struct job *job)
{
    if (atomic_exchange_explicit(&job->is_posted, true, memory_order_acq_rel))
        return false;
    job_acquire(job); /* the message's own */
    return http_loop_leave(job->loop, &job->message);
}

bool job_fail(struct job *job, status s)
{
    api_error_from_status(&job->error, s, NULL);
    return false;
}

void job_post(struct job *job)
{
    if (job_leave(job))
        http_loop_wake(job->loop);
}

void part_cancel(struct job_part *part)
{
    int free_hold = PART_FREE;
    if (!atomic_compare_exchange_strong(&part->hold, &free_hold, PART_HELD))
        return;
    engine_cancel(part->job->replica->engine, &part->request);
    atomic_store(&part->hold, PART_FREE);
}

void job_cancel(struct job *job)
{
    atomic_store(&job->is_unwanted, true);
    for (uint32_t i = 0; i < job->part_count; i++)
        part_cancel(&job->parts[i]);
}

/* The client went: nothing more is to be said, and its blocks are wanted by others. */
static void job_gone(http_request *request, void *context)
{
    (void)request;
    struct job *job = context;
    job->request = NULL;
    http_timer_cancel(&job->head_timer);
    atomic_store(&job->is_unwanted, true);
    if (atomic_load(&job->stage) == JOB_RUNNING)
        job_cancel(job);
}

static void job_end(void *context)
{
    struct job *job = context;
    job->request = NULL;
    http_timer_cancel(&job->head_timer);
    if (atomic_load_explicit(&job->stage, memory_order_acquire) != JOB_PREPARING)
        job_story_end(job, false);
    atomic_fetch_sub_explicit(&job->replica->job_count, 1, memory_order_relaxed);
    job_release(job);
}

struct hash128 replica_request_tenant(const struct replica *replica, const http_request *request)
{
    struct text_slice tenant = http_request_header(request, "x-penstock-tenant");
    if (!replica->is_trusted || tenant.bytes == 0)
        return (struct hash128){0, 0};
    return hash128(&replica->salt_key, tenant.data, tenant.bytes);
}

/* Four hexadecimal digits. */
static void read_replica_number(struct job *job, const http_request *request)
{
    struct text_slice number = http_request_header(request, "x-penstock-replica");
    bool is_good = job->replica->is_trusted && number.bytes == 4;
    for (size_t i = 0; is_good && i < number.bytes; i++)
        is_good = strchr("0123456789abcdef", number.data[i]) != NULL;
    memcpy(job->replica_number, is_good ? number.data : "0000", 4);
}

/* The gateway speaks for its clients by headers; anybody else's are not looked at. */
static void read_trusted_headers(struct job *job, const http_request *request)
{
    struct text_slice priority = http_request_header(request, "x-penstock-priority");
    read_replica_number(job, request);
    job->tenant_salt = replica_request_tenant(job->replica, request);
    job->tenant_name = prompt_chunks_tenant(http_request_header(request, "x-penstock-tenant"));
    if (!job->replica->is_trusted)
        return;
    job->tells_usage = http_request_header(request, USAGE_REPORT_HEADER).data != NULL;
    job_read_continuation(job, request);
    char text[16] = "";
    if (priority.bytes == 0 || priority.bytes >= sizeof text)
        return;
    memcpy(text, priority.data, priority.bytes);
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (*end != '\0' || errno != 0 || number < INT32_MIN || number > INT32_MAX)
        return;
    job->has_priority = true;
    job->priority = (int32_t)number;
}

static void refuse(http_request *request, const struct wire_format *format, status s,
                   uint64_t retry_after_ms)
{
    struct api_error error;
    api_error_from_status(&error, s, NULL);
    if (retry_after_ms > 0)
        error.retry_after_ms = retry_after_ms;
    reply_error(request, format, &error);
}

/* "/v1/embeddings"; "/rerank", "/v1/rerank", "/v2/rerank"; "/score", "/v1/score". */
static enum api_pooling_kind pooling_kind_of(struct text_slice path)
{
    if (text_slice_ends_with(path, "/score"))
        return POOLING_SCORE;
    if (text_slice_ends_with(path, "/rerank"))
        return POOLING_RERANK;
    return POOLING_EMBED;
}

/* The body is copied once: when the client goes, the request's memory goes with it, and a worker
 * may be reading. */
static struct job *job_create(struct replica *replica, http_request *request, enum job_kind kind,
                              const struct wire_format *format)
{
    struct text_slice body = kind == JOB_SLEEP || kind == JOB_WAKE ? http_request_query(request)
                                                                   : http_request_body(request);
    struct job *job = memory_allocate_array(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->replica = replica;
    job->message.run = job_run;
    job->loop = http_request_loop(request);
    job->request = request;
    job->kind = kind;
    job->format = format;
    job->start_ns = http_request_start_ns(request);
    job->pooling_kind = pooling_kind_of(http_request_path(request));
    atomic_store_explicit(&job->references, 2, memory_order_relaxed); /* HTTP request, worker */
    read_trusted_headers(job, request);
    job_story_begin(job, request);
    buffer_init(&job->body, body.bytes);
    buffer_append_slice(&job->body, body);
    if (job->body.failed != STATUS_OK) {
        job_destroy(job);
        return NULL;
    }
    return job;
}

static bool check_phase(const struct replica *replica, http_request *request, enum job_kind kind,
                        const struct wire_format *format)
{
    struct api_error error;
    enum replica_phase phase = replica_phase(replica);
    bool is_asleep = kind != JOB_SLEEP && kind != JOB_WAKE && replica_is_asleep(replica);
    if (phase == REPLICA_READY && !is_asleep)
        return true;
    api_error_from_status(&error, STATUS_CLOSED, NULL);
    if (phase == REPLICA_LOADING) {
        api_error_set(&error, 503, "server_error", "loading", "",
                      "The model is still loading; try again.");
        error.retry_after_ms = 1000;
    } else if (phase == REPLICA_READY) {
        api_error_set(&error, 503, "server_error", "asleep", "",
                      "The model is asleep on this replica; try again.");
        error.retry_after_ms = 1000;
    }
    reply_error(request, format, &error);
    return false;
}

static void job_start(struct replica *replica, http_request *request, enum job_kind kind,
                      const struct wire_format *format)
{
    if (!check_phase(replica, request, kind, format))
        return;
    struct job *job = job_create(replica, request, kind, format);
    if (job == NULL) {
        refuse(request, format, STATUS_NO_MEMORY, 0);
        return;
    }
    if (ring_push(replica->prepare_queue, job) != STATUS_OK) {
        job_destroy(job);
        refuse(request, format, STATUS_FULL, replica_retry_after_ms(replica));
        return;
    }
    atomic_fetch_add_explicit(&replica->job_count, 1, memory_order_relaxed);
    http_request_on_gone(request, job_gone, job);
    http_request_on_end(request, job_end, job);
    parking_signal(&replica->prepare_parking);
}

void job_start_chat(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COMPLETION, &wire_format_chat);
}

void job_start_text(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COMPLETION, &wire_format_text);
}

void job_start_responses(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COMPLETION, &wire_format_responses);
}

void job_start_responses_count(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COUNT, &wire_format_responses);
}

void job_start_messages(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COMPLETION, &wire_format_messages);
}

void job_start_messages_count(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_COUNT, &wire_format_messages);
}

void job_start_tokenize(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_TOKENIZE, &wire_format_text);
}

void job_start_detokenize(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_DETOKENIZE, &wire_format_text);
}

void job_start_load_adapter(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_LOAD_ADAPTER, &wire_format_chat);
}

void job_start_unload_adapter(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_UNLOAD_ADAPTER, &wire_format_chat);
}

void job_start_sleep(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_SLEEP, &wire_format_chat);
}

void job_start_wake(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_WAKE, &wire_format_chat);
}

/* What is asked of the texts follows from the path. */
void job_start_pooling(struct replica *replica, http_request *request)
{
    job_start(replica, request, JOB_POOLING, &wire_format_text);
}
