/* Embeddings by a decoder: each text is a prompt of its own, which joins the batches of whatever else the engine does. They
 * are handed over in groups of as many as run together, so that one request of two thousand texts neither fills the queue
 * nor takes the slots of those that come after it.
 *
 *   worker      submits a group                          a reference goes with it
 *   publisher   on_prompt: counts a text that has ended, and puts the work on a list
 *               publish_wake: texts of the list leave their groups; a group's last sends the job back to the workers
 *   worker      the next group, or the answer
 *
 * The list waits for publish_wake because a request is the engine's until its last event has returned, and a worker could
 * free it before. */

#include "pooling_work.h"

#include "memory.h"

static enum job_stage fail(struct job *job, status s)
{
    api_error_from_status(&job->error, s, NULL);
    if (s == STATUS_FULL)
        job->error.retry_after_ms = replica_retry_after_ms(job->replica);
    return JOB_FAILED;
}

/* True: these were the last. */
static bool leave_group(struct pooling_work *work, uint32_t count)
{
    return atomic_fetch_sub(&work->open_count, count) == count;
}

static void on_prompt(struct engine_request *request, const struct engine_event *event)
{
    struct pooling_work *work = request->context;
    struct replica *replica = work->job->replica;
    work->busy_ns += event->usage.busy_ns;
    if (event->finish == FINISH_ERROR)
        atomic_store(&work->result, (int)event->error);
    else if (event->finish != FINISH_STOP)
        atomic_store(&work->result, (int)STATUS_CLOSED);
    if (work->ended_count++ > 0)
        return; /* it is on the list */
    work->next_done = replica->pooling_done;
    replica->pooling_done = work;
}

/* Back to the workers, or to the end. */
static void return_job(struct replica *replica, struct job *job)
{
    if (!atomic_load(&replica->is_stopping) &&
        ring_push(replica->prepare_queue, job) == STATUS_OK) {
        parking_signal(&replica->prepare_parking);
        return;
    }
    (void)fail(job, atomic_load(&replica->is_stopping) ? STATUS_CLOSED : STATUS_FULL);
    atomic_store(&job->stage, JOB_FAILED);
    job_post(job);
    job_release(job);
}

void pooling_return_done(struct replica *replica)
{
    while (replica->pooling_done != NULL) {
        struct pooling_work *work = replica->pooling_done;
        struct job *job = work->job;
        uint32_t ended = work->ended_count;
        replica->pooling_done = work->next_done;
        work->ended_count = 0;
        if (leave_group(work, ended)) /* else the work is no longer ours to touch */
            return_job(replica, job);
    }
}

static void fill_prompt(struct pooling_work *work, engine_adapter *adapter,
                        struct engine_request *out)
{
    const struct job *job = work->job;
    uint32_t text = work->next_text, start = work->text_start[text];
    uint32_t width = engine_get_info(job->replica->engine)->width;
    *out = (struct engine_request){
        .prompt = work->tokens.ids + start,
        .prompt_count = work->text_start[text + 1] - start,
        .n = 1,
        .max_tokens = 1,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f, .logprobs = -1},
        .priority = job->has_priority ? job->priority : 0,
        .tenant = job->tenant_salt.low,
        .adapter = adapter,
        .cache_salt = {job->tenant_salt.low, job->tenant_salt.high},
        .on_event = on_prompt,
        .context = work,
        .embedding = work->numbers + (size_t)text * width,
        .pooling = job->replica->pooling,
    };
}

/* Submits what fits; returns why it ended early, or STATUS_OK. */
static status submit_group(struct pooling_work *work, engine_adapter *adapter, uint32_t *count)
{
    status s = STATUS_OK;
    for (*count = 0; *count < work->group_max && work->next_text < work->text_count; ++*count) {
        struct engine_request *prompt = &work->prompts[*count];
        fill_prompt(work, adapter, prompt);
        atomic_fetch_add(&work->open_count, 1);
        s = engine_submit(work->job->replica->engine, prompt);
        if (s != STATUS_OK) {
            atomic_fetch_sub(&work->open_count, 1);
            return s;
        }
        work->next_text++;
    }
    return s;
}

static bool make_group(struct pooling_work *work)
{
    uint32_t most = (uint32_t)work->job->replica->model->max_num_seqs;
    work->group_max = work->text_count < most ? work->text_count : most;
    work->prompts = memory_allocate_array(work->group_max, sizeof *work->prompts);
    return work->prompts != NULL;
}

/* All texts are computed, or will not be. */
static bool is_over(const struct pooling_work *work)
{
    return atomic_load(&work->result) != (int)STATUS_OK || work->next_text == work->text_count;
}

static enum job_stage run_groups(struct job *job, struct pooling_work *work,
                                 engine_adapter *adapter)
{
    while (!is_over(work)) {
        uint32_t count;
        job_acquire(job);                   /* the group's */
        atomic_store(&work->open_count, 1); /* the worker's place: the group stays open meanwhile */
        status s = submit_group(work, adapter, &count);
        /* A full queue is only an error where none of the group is in it: else the rest comes with the next. */
        if (s != STATUS_OK && (s != STATUS_FULL || count == 0))
            atomic_store(&work->result, (int)s);
        if (!leave_group(work, 1))
            return JOB_PREPARING;
        job_release(job); /* the whole group has ended already, or there was none */
    }
    status result = (status)atomic_load(&work->result);
    return result == STATUS_OK ? JOB_ANSWERED : fail(job, result);
}

/* Between groups nobody holds the adapter, and a name may get another one; all texts have to have the same. */
static bool find_adapter(struct job *job, struct pooling_work *work, engine_adapter **out)
{
    if (!job_find_model(job, work->parsed.model, out))
        return false;
    uint64_t number = engine_adapter_number(*out);
    if (work->next_text == 0)
        work->adapter_number = number;
    if (number == work->adapter_number)
        return true;
    engine_release_adapter(*out);
    api_error_set(&job->error, 404, "invalid_request_error", "model_not_found", "model",
                  "The adapter '%.256s' was replaced while the request ran.", work->parsed.model);
    return false;
}

enum job_stage pooling_run_prompts(struct job *job)
{
    struct pooling_work *work = job->pooling;
    engine_adapter *adapter = NULL;
    if (work->prompts == NULL && !make_group(work))
        return fail(job, STATUS_NO_MEMORY);
    if (!is_over(work) && !find_adapter(job, work, &adapter))
        return JOB_FAILED;
    enum job_stage stage = run_groups(job, work, adapter);
    engine_release_adapter(adapter);
    return stage;
}
