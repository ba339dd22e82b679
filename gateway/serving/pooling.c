/* Embeddings, rerank and score: one job goes twice through the workers.
 *
 *   worker     parses, tokenizes all texts behind each other, submits one encoder request
 *   encoder    computes; on_done puts the job back into the workers' queue
 *   worker     turns numbers into the answer (a thousand floats take about a millisecond to write)
 *   loop       sends it
 *
 * With a decoder in the encoder's place the job may go more often (pooling_prompts.c).
 *
 * The encoder's request has the reference that the worker's first visit would have dropped. Where the
 * queue has no room, or the workers have gone, on_done ends the job itself.
 *
 * Pairs (rerank, score): a cross-encoder reads both texts at once and gives the score; for a model
 * of embeddings the score of a pair is the cosine of the two vectors, each text computed once. */

#include "pooling_work.h"

#include <math.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "memory.h"

#define ANSWER_BYTES_MAX (1024u * 1024u * 1024u)
#define TRUNCATE_NONE    (-2)
#define TRUNCATE_MODEL   (-1)

void pooling_work_destroy(struct pooling_work *work)
{
    if (work == NULL)
        return;
    api_pooling_request_deinit(&work->parsed);
    token_list_deinit(&work->tokens);
    memory_release(work->text_start);
    memory_release(work->second_start);
    memory_release(work->numbers);
    memory_release(work->order);
    memory_release(work->prompts);
    memory_release(work);
}

struct pooling_model pooling_model_of(const struct replica *replica)
{
    if (replica->encoder != NULL) {
        const struct encoder_info *info = encoder_get_info(replica->encoder);
        return (struct pooling_model){info->context_max, info->width, info->class_count,
                                      info->is_normalized};
    }
    const struct engine_info *info = engine_get_info(replica->engine);
    return (struct pooling_model){info->context_max - 1, info->width, 0, true};
}

static bool reads_pairs(const struct pooling_work *work)
{
    return work->parsed.kind != POOLING_EMBED &&
           pooling_model_of(work->job->replica).class_count > 0;
}

static const char *param_of(const struct pooling_work *work)
{
    static const char *const names[] = {
        [POOLING_EMBED] = "input", [POOLING_RERANK] = "documents", [POOLING_SCORE] = "text_2"};
    return names[work->parsed.kind];
}

static bool check_request(struct job *job, const struct pooling_work *work)
{
    const struct pooling_model info = pooling_model_of(job->replica);
    if (!job_find_model(job, work->parsed.model, NULL))
        return false;
    if (work->parsed.kind == POOLING_EMBED && info.class_count > 0) {
        api_error_set(
            &job->error, 400, "invalid_request_error", "unsupported_model", "model",
            "The model '%s' scores pairs of texts and makes no embeddings; it is asked at "
            "/v1/rerank and /v1/score.",
            job->replica->model->name);
        return false;
    }
    if (reads_pairs(work) && info.class_count != 1) {
        api_error_set(&job->error, 400, "invalid_request_error", "unsupported_model", "model",
                      "The model '%s' tells %u classes apart; a score needs a model with one.",
                      job->replica->model->name, info.class_count);
        return false;
    }
    if (work->parsed.dimensions > info.width) {
        api_error_set(&job->error, 400, "invalid_request_error", "integer_above_max_value",
                      "dimensions", "Invalid 'dimensions': the model has %u, but %u came.",
                      info.width, work->parsed.dimensions);
        return false;
    }
    return true;
}

/* Tokens that a text may have; and whether a longer one is cut. */
static uint32_t length_max(const struct pooling_work *work, bool *is_cut)
{
    uint32_t context = pooling_model_of(work->job->replica).context_max;
    int64_t wanted = work->parsed.truncate;
    *is_cut = wanted != TRUNCATE_NONE;
    return wanted > 0 && wanted < (int64_t)context ? (uint32_t)wanted : context;
}

static bool check_length(struct job *job, const struct pooling_work *work, uint32_t text,
                         size_t count)
{
    bool is_cut;
    uint32_t context = length_max(work, &is_cut);
    if (count > 0 && count <= context)
        return true;
    if (count == 0)
        api_error_set(&job->error, 400, "invalid_request_error", "invalid_value", param_of(work),
                      "Text %u of the request has no tokens.", text);
    else
        api_error_set(&job->error, 400, "invalid_request_error", "context_length_exceeded",
                      param_of(work),
                      "This model's maximum context length is %u tokens. However, text %u of the "
                      "request has %zu tokens. Please shorten it, or set 'truncate_prompt_tokens'.",
                      context, text, count);
    return false;
}

/* Appends the ids of one text, cut where that is wanted. */
static status encode_single(const struct pooling_work *work, const struct api_prompt *input,
                            struct token_list *one)
{
    const tokenizer *t = replica_tokenizer(work->job->replica);
    struct text_span whole = {0, input->text.bytes};
    bool is_cut;
    uint32_t most = length_max(work, &is_cut);
    status s = STATUS_OK;
    if (input->tokens == NULL)
        s = tokenizer_encode(t, input->text, &whole, 1, work->parsed.add_special, one);
    for (uint32_t i = 0; i < input->token_count && s == STATUS_OK; i++)
        s = token_list_append(one, input->tokens[i]);
    if (s == STATUS_OK && is_cut && one->count > most) {
        if (input->tokens == NULL && work->parsed.add_special)
            tokenizer_truncate(t, one, most);
        else
            one->count = most;
    }
    return s;
}

static status encode_pair(struct pooling_work *work, uint32_t pair, struct token_list *one)
{
    uint32_t first, second;
    size_t start = 0;
    bool is_cut;
    uint32_t most = length_max(work, &is_cut);
    api_pooling_pair(&work->parsed, pair, &first, &second);
    status s = tokenizer_encode_pair(
        replica_tokenizer(work->job->replica), work->parsed.inputs[first].text,
        work->parsed.inputs[second].text, is_cut ? most : 0, one, &start);
    work->second_start[pair] = (uint32_t)start;
    return s;
}

/* All texts behind each other. */
static bool encode_all(struct job *job, struct pooling_work *work, uint32_t count)
{
    struct token_list one;
    size_t ids_max = job->replica->limits.prompt_bytes_max * 2 + 16;
    bool has_pairs = reads_pairs(work), is_good = true;
    token_list_init(&one, ids_max);
    token_list_init(&work->tokens, UINT32_MAX / 2);
    for (uint32_t i = 0; i < count && is_good; i++) {
        one.count = 0;
        status s = has_pairs ? encode_pair(work, i, &one)
                             : encode_single(work, &work->parsed.inputs[i], &one);
        if (s == STATUS_UNSUPPORTED) {
            api_error_set(&job->error, 400, "invalid_request_error", "unsupported_model", "model",
                          "The tokenizer of '%s' says nothing about pairs of texts.",
                          job->replica->model->name);
            is_good = false;
        } else if (s != STATUS_OK) {
            is_good = job_fail(job, s);
        } else {
            is_good = check_length(job, work, i, one.count);
        }
        for (size_t k = 0; k < one.count && is_good; k++)
            if (token_list_append(&work->tokens, one.ids[k]) != STATUS_OK)
                is_good = job_fail(job, STATUS_NO_MEMORY);
        work->text_start[i + 1] = (uint32_t)work->tokens.count;
    }
    token_list_deinit(&one);
    return is_good;
}

/* The encoder's thread. Back to the workers, or to the end. */
static void on_done(struct encoder_request *request, status result)
{
    struct job *job = request->context;
    struct replica *replica = job->replica;
    job->pooling->is_computed = true;
    if (result == STATUS_OK && !atomic_load(&replica->is_stopping) &&
        ring_push(replica->prepare_queue, job) == STATUS_OK) {
        parking_signal(&replica->prepare_parking);
        return;
    }
    job_fail(job, result == STATUS_OK ? STATUS_FULL : result);
    atomic_store(&job->stage, JOB_FAILED);
    job_post(job);
    job_release(job);
}

static enum job_stage submit(struct job *job, struct pooling_work *work)
{
    work->request = (struct encoder_request){
        .text_count = work->text_count,
        .tokens = work->tokens.ids,
        .text_start = work->text_start,
        .second_start = work->second_start,
        .out = work->numbers,
        .on_done = on_done,
        .context = job,
        .is_unwanted = &job->is_unwanted,
    };
    job_acquire(job); /* the encoder's */
    status s = encoder_submit(job->replica->encoder, &work->request);
    if (s == STATUS_OK)
        return JOB_PREPARING;
    job_release(job);
    job_fail(job, s);
    if (s == STATUS_FULL)
        job->error.retry_after_ms = replica_retry_after_ms(job->replica);
    return JOB_FAILED;
}

static bool allocate(struct job *job, struct pooling_work *work, uint32_t count)
{
    const struct pooling_model info = pooling_model_of(job->replica);
    size_t numbers = info.class_count > 0 ? info.class_count : info.width;
    work->text_count = count;
    work->text_start = memory_allocate_array((size_t)count + 1, sizeof *work->text_start);
    work->numbers = memory_allocate_array((size_t)count * numbers, sizeof *work->numbers);
    work->order = memory_allocate_array((size_t)count * 2, sizeof *work->order);
    if (reads_pairs(work))
        work->second_start = memory_allocate_array(count, sizeof *work->second_start);
    if (work->text_start == NULL || work->numbers == NULL || work->order == NULL ||
        (reads_pairs(work) && work->second_start == NULL))
        return job_fail(job, STATUS_NO_MEMORY);
    return true;
}

/* Parses and tokenizes. */
static bool begin(struct job *job)
{
    struct pooling_work *work = memory_allocate_array(1, sizeof *work);
    if (work == NULL)
        return job_fail(job, STATUS_NO_MEMORY);
    job->pooling = work;
    work->job = job;
    if (api_pooling_request_parse(job->pooling_kind, buffer_slice(&job->body),
                                  &job->replica->limits,
                                  (uint32_t)job->replica->config->limits.pooling_inputs,
                                  &work->parsed, &job->error) != STATUS_OK)
        return false;
    if (!check_request(job, work))
        return false;
    uint32_t count =
        reads_pairs(work) ? api_pooling_pair_count(&work->parsed) : work->parsed.input_count;
    return allocate(job, work, count) && encode_all(job, work, count);
}

static double cosine(const float *a, const float *b, uint32_t width)
{
    double product = 0, a_squares = 0, b_squares = 0;
    for (uint32_t i = 0; i < width; i++) {
        product += (double)a[i] * (double)b[i];
        a_squares += (double)a[i] * (double)a[i];
        b_squares += (double)b[i] * (double)b[i];
    }
    double lengths = sqrt(a_squares * b_squares);
    return lengths > 0 ? product / lengths : 0;
}

/* The scores of all pairs: the encoder's own, or cosines, which take the place of the vectors. */
static float *make_scores(const struct pooling_work *work)
{
    const struct pooling_model info = pooling_model_of(work->job->replica);
    uint32_t count = api_pooling_pair_count(&work->parsed);
    float *scores = memory_allocate_array(count, sizeof *scores);
    for (uint32_t i = 0; i < count && scores != NULL; i++) {
        uint32_t first, second;
        api_pooling_pair(&work->parsed, i, &first, &second);
        scores[i] = info.class_count > 0
                        ? work->numbers[i]
                        : (float)cosine(work->numbers + (size_t)first * info.width,
                                        work->numbers + (size_t)second * info.width, info.width);
    }
    return scores;
}

static void write_pairs(struct job *job, const struct pooling_work *work,
                        const struct api_pooling_answer *answer)
{
    float *scores = make_scores(work);
    if (scores == NULL)
        job->body.failed = STATUS_NO_MEMORY;
    else if (work->parsed.kind == POOLING_RERANK)
        api_rerank_write(&job->body, &work->parsed, answer, scores, work->order);
    else
        api_score_write(&job->body, &work->parsed, answer, scores);
    memory_release(scores);
}

static enum job_stage finish(struct job *job)
{
    static const char *const prefixes[] = {
        [POOLING_EMBED] = "embd-", [POOLING_RERANK] = "rerank-", [POOLING_SCORE] = "score-"};
    const struct pooling_work *work = job->pooling;
    const struct pooling_model info = pooling_model_of(job->replica);
    uint64_t random[2];
    random_bytes(random, sizeof random);
    snprintf(job->id, sizeof job->id, "%s%016llx%08x", prefixes[work->parsed.kind],
             (unsigned long long)random[0], (unsigned)random[1]);
    struct api_pooling_answer answer = {
        .id = job->id,
        .model = work->parsed.model != NULL ? work->parsed.model : job->replica->model->name,
        .created_s = clock_wall_ms() / 1000,
        .prompt_tokens = work->tokens.count,
    };
    job->pooled_tokens = (uint32_t)work->tokens.count;
    job->pooled_ns = work->request.busy_ns + work->busy_ns; /* one of them computes */
    buffer_deinit(&job->body);
    buffer_init(&job->body, ANSWER_BYTES_MAX);
    if (work->parsed.kind == POOLING_EMBED)
        api_embeddings_write(&job->body, &work->parsed, &answer, work->numbers, info.width,
                             info.is_normalized);
    else
        write_pairs(job, work, &answer);
    return JOB_ANSWERED;
}

enum job_stage pooling_answer(struct job *job)
{
    if (job->pooling == NULL) {
        if (!begin(job))
            return JOB_FAILED;
        if (job->replica->encoder != NULL)
            return submit(job, job->pooling);
    }
    if (job->replica->encoder == NULL) {
        enum job_stage stage = pooling_run_prompts(job);
        return stage == JOB_ANSWERED ? finish(job) : stage;
    }
    CHECK(job->pooling->is_computed);
    return finish(job);
}
