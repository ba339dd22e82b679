/* The prepare workers: jobs off the queue, through their preparation, and back to their loops. */

#include <stdatomic.h>

#include "clock.h"
#include "prepare.h"
#include "thread.h"

static enum job_stage prepare(struct job *job)
{
    if (atomic_load(&job->is_unwanted))
        return JOB_FAILED;
    if (atomic_load(&job->replica->is_stopping)) {
        job_fail(job, STATUS_CLOSED);
        return JOB_FAILED;
    }
    if (job->kind == JOB_POOLING)
        return pooling_answer(job);
    if (job->kind == JOB_LOAD_ADAPTER || job->kind == JOB_UNLOAD_ADAPTER)
        return adapter_answer(job);
    if (job->kind == JOB_SLEEP || job->kind == JOB_WAKE)
        return sleep_answer(job);
    if (job->replica->engine == NULL && (job->kind == JOB_COUNT || job->kind == JOB_COMPLETION)) {
        api_error_set(
            &job->error, 400, "invalid_request_error", "unsupported_model", "model",
            "The model '%s' does not generate text; it is asked at %s.", job->replica->model->name,
            encoder_get_info(job->replica->encoder)->class_count > 0 ? "/v1/rerank and /v1/score"
                                                                     : "/v1/embeddings");
        return JOB_FAILED;
    }
    if (job->kind == JOB_COUNT)
        return question_count(job);
    if (job->kind == JOB_TOKENIZE)
        return question_tokenize(job);
    if (job->kind == JOB_DETOKENIZE)
        return question_detokenize(job);
    if (!completion_prepare(job))
        return JOB_FAILED;
    job->prepared_ns = clock_now_ns();
    return completion_submit(job) ? JOB_RUNNING : JOB_FAILED;
}

static void run_job(struct replica *replica, struct job *job)
{
    uint64_t begin_ns = clock_now_ns();
    enum job_stage stage = prepare(job);
    if (job->adapter != NULL) { /* the engine has its own hold by now */
        engine_release_adapter(job->adapter);
        job->adapter = NULL;
    }
    metrics_observe(replica->prepare_seconds,
                    (double)(clock_now_ns() - begin_ns) / (double)NS_PER_SECOND);
    if (stage != JOB_PREPARING) {
        atomic_store(&job->stage, stage); /* release: the loop may read what was prepared */
        job_post(job);
    }
    job_release(job);
}

static void *worker_main(void *context)
{
    struct replica *replica = context;
    thread_ask_short_slice();
    for (;;) {
        struct job *job = ring_pop_shared(replica->prepare_queue);
        if (job != NULL) {
            run_job(replica, job);
            continue;
        }
        uint32_t ticket = parking_prepare(&replica->prepare_parking);
        if (ring_count(replica->prepare_queue) > 0) {
            parking_cancel(&replica->prepare_parking);
            continue;
        }
        if (atomic_load(&replica->is_stopping)) {
            parking_cancel(&replica->prepare_parking);
            return NULL;
        }
        parking_wait(&replica->prepare_parking, ticket, UINT64_MAX);
    }
}

status prepare_start(struct replica *replica)
{
    uint32_t wanted = thread_core_count() > 4 ? PREPARE_WORKERS_MAX : 1;
    for (uint32_t i = 0; i < wanted; i++) {
        status s = thread_start(&replica->workers[i], "prepare", worker_main, replica);
        if (s != STATUS_OK)
            return s;
        replica->worker_count++;
    }
    return STATUS_OK;
}

void prepare_stop(struct replica *replica)
{
    atomic_store(&replica->is_stopping, true);
    for (uint32_t i = 0; i < replica->worker_count; i++)
        parking_signal(&replica->prepare_parking);
    for (uint32_t i = 0; i < replica->worker_count; i++)
        pthread_join(replica->workers[i], NULL);
    replica->worker_count = 0;
}

void prepare_end_rest(struct replica *replica)
{
    struct job *job;
    while ((job = ring_pop_shared(replica->prepare_queue)) != NULL)
        run_job(replica, job);
}
