#include "engine_private.h"

#include <string.h>

#include "check.h"
#include "clock.h"
#include "embeddings.h"
#include "prompt_scores.h"
#include "time_shares.h"

/* The step thread. Each turn: read the inbox, plan, forward, sample, send. Between steps and only there, requests come,
 * are cancelled and end, so the batcher needs no lock and a cancelled request's blocks are free for the very next
 * plan. With nothing to do it parks; it never spins. After opening it allocates nothing. */

/* --- to the publisher --- */

static struct token_message *message_acquire(engine *e)
{
    struct token_message *m = ring_pop(e->free_messages);
    if (m != NULL)
        return m;
    parking_signal(&e->publisher_parking); /* it may sleep before what this step has sent so far */
    for (;;) {
        uint32_t ticket = parking_prepare(&e->step_parking);
        m = ring_pop(e->free_messages);
        if (m != NULL) {
            parking_cancel(&e->step_parking);
            return m;
        }
        parking_wait(&e->step_parking, ticket, UINT64_MAX);
    }
}

/* A message about sequence `index`, still to be filled and sent. */
static struct token_message *message_start(engine *e, struct live_request *r, uint32_t index)
{
    struct token_message *m = message_acquire(e);
    m->request = r;
    m->index = index;
    m->has_token = false;
    m->finish = FINISH_NONE;
    m->stop_token = -1;
    m->error = STATUS_OK;
    m->time_ns = 0;
    m->admitted_ns = r->admitted_ns;
    m->busy_ns = r->busy_ns;
    m->cached_tokens = r->batch.cached_tokens;
    m->cache_write_tokens = r->batch.written_tokens;
    m->preemption_count = r->batch.preemption_count;
    return m;
}

/* After the last message of its last sequence the request must not be touched. */
static void message_send(engine *e, struct token_message *m)
{
    status s = ring_push(e->outbox, m);
    CHECK(s == STATUS_OK); /* it has room for all of them */
}

/* Takes the sequence out of the batch. With the request's last one its adapter is let go: the publisher may still hold
 * the request when the model is closed. */
static void leave_batch(engine *e, struct sequence *s)
{
    struct live_request *r = (struct live_request *)s->request;
    batcher_end_sequence(e->batch, s);
    if (r->batch.live_count > 0)
        return;
    adapter_end_request(r->adapter, r->admitted_ns != 0);
    r->adapter = NULL;
}

/* Ends a sequence without a token. */
static void end_sequence(engine *e, struct sequence *s, enum finish_reason finish, status error)
{
    struct live_request *r = (struct live_request *)s->request;
    uint32_t index = s->index;
    leave_batch(e, s);
    struct token_message *m = message_start(e, r, index);
    m->finish = finish;
    m->error = error;
    message_send(e, m);
}

/* Ends all that is left of a request. The caller holds a reference. */
static void end_request(engine *e, struct live_request *r, enum finish_reason finish, status error)
{
    /* From the last: sequence 0 computes the prompt for those that are pending. */
    for (uint32_t i = r->batch.sequence_count; i-- > 0;) {
        if (r->batch.sequences[i].state != SEQUENCE_ENDED)
            end_sequence(e, &r->batch.sequences[i], finish, error);
    }
}

static void end_all_requests(engine *e, enum finish_reason finish, status error)
{
    struct batch_request *batch;
    while ((batch = batcher_any_request(e->batch)) != NULL) {
        struct live_request *r = (struct live_request *)batch;
        live_request_retain(r);
        end_request(e, r, finish, error);
        live_request_release(r);
    }
}

/* --- the inbox --- */

static void handle_signals(engine *e, struct live_request *r, uint32_t signals)
{
    if ((signals & SIGNAL_SUBMIT) != 0) {
        batcher_submit(e->batch, &r->batch);
        if (e->failure != STATUS_OK)
            end_request(e, r, FINISH_ERROR, e->failure);
        else if (atomic_load_explicit(&e->is_closing, memory_order_relaxed))
            end_request(e, r, FINISH_ABORT, STATUS_OK);
    }
    if ((signals & SIGNAL_CANCEL) != 0)
        end_request(e, r, FINISH_ABORT, STATUS_OK);
    if ((signals & SIGNAL_STOP) != 0) {
        for (uint32_t i = 0; i < r->batch.sequence_count; i++) {
            struct sequence *s = &r->batch.sequences[i];
            if (s->state != SEQUENCE_ENDED &&
                atomic_load_explicit(&r->streams[i].is_stopped, memory_order_relaxed))
                end_sequence(e, s, FINISH_STOP, STATUS_OK);
        }
    }
}

static void read_inbox(engine *e)
{
    /* Acquire pairs with the release of live_request_signal. The list comes newest first: turn it round. */
    struct live_request *newest = atomic_exchange_explicit(&e->inbox, NULL, memory_order_acquire);
    struct live_request *oldest = NULL;
    while (newest != NULL) {
        struct live_request *next = newest->inbox_next;
        newest->inbox_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct live_request *r = oldest;
        oldest = r->inbox_next;
        /* From here on the request may be put into the inbox anew. */
        uint32_t signals = atomic_exchange_explicit(&r->signals, 0, memory_order_acq_rel);
        handle_signals(e, r, signals);
        live_request_release(r); /* the inbox's reference */
    }
}

/* --- one step --- */

/* True: some of the rows have an adapter. */
static bool lay_out_rows(struct step_buffers *b, const struct step_plan *plan, uint32_t stride)
{
    uint32_t row = 0;
    bool has_adapters = false;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        const struct sequence *s = entry->sequence;
        const engine_adapter *adapter = ((const struct live_request *)s->request)->adapter;
        b->row_start[i] = row;
        b->adapters[i] = adapter != NULL ? adapter->weights : NULL;
        has_adapters |= adapter != NULL;
        memcpy(b->block_tables + (size_t)i * stride, s->table.blocks,
               s->table.count * sizeof *s->table.blocks);
        for (uint32_t j = 0; j < entry->count; j++, row++) {
            b->tokens[row] = step_entry_token(entry, j);
            b->row_position[row] = entry->first + j;
            b->row_sequence[row] = i;
        }
        for (uint32_t j = 0; j < entry->score_count; j++)
            b->logit_rows[entry->score_row + j] = b->row_start[i] + j;
        for (uint32_t j = 0; entry->logit_row != UINT32_MAX && j <= entry->draft_count; j++)
            b->logit_rows[entry->logit_row + j] = row - 1 - entry->draft_count + j;
    }
    b->row_start[plan->entry_count] = row;
    return has_adapters;
}

static status forward(engine *e, const struct step_plan *plan, const float **logits)
{
    for (uint32_t at = 0; at < plan->copy_count;) {
        uint32_t run = step_plan_copy_run(plan, at);
        model_kv_copy_blocks(e->model, plan->copy_from + at, plan->copy_to + at, run);
        at += run;
    }
    struct step_buffers *b = &e->step;
    uint32_t stride = 1;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        uint32_t count = plan->entries[i].sequence->table.count;
        stride = count > stride ? count : stride;
    }
    bool has_adapters = lay_out_rows(b, plan, stride);
    struct model_step step = {
        .tokens = b->tokens,
        .batch = {.n_rows = plan->row_count,
                  .n_sequences = plan->entry_count,
                  .row_start = b->row_start,
                  .row_position = b->row_position,
                  .row_sequence = b->row_sequence,
                  .block_tables = b->block_tables,
                  .block_table_stride = stride},
        .logit_rows = b->logit_rows,
        .logit_row_count = plan->logit_row_count,
        .adapters = has_adapters ? b->adapters : NULL,
    };
    embeddings_ask(e, plan, &step);
    return model_forward(e->model, &step, logits);
}

struct sample_work {
    engine *e;
    float *logits;
    const struct step_sample *samples;
};

/* Moves the grammar on by a token that does not end the sequence. False: nothing can follow, or it failed. */
static bool follow_grammar(struct constraint *c, int32_t token, struct sample_result *result)
{
    status s = grammar_matcher_accept(c->matcher, token);
    if (s != STATUS_OK) {
        /* The token was allowed: only room can be lacking. It does not count. */
        result->status = s;
        result->count--;
        return false;
    }
    if (grammar_matcher_is_finished(c->matcher))
        result->finish = FINISH_STOP;
    return result->finish == FINISH_NONE;
}

/* The token that has to come next because the reasoning has had its tokens; -1: none has to. */
static int32_t forced_token(struct live_request *r, uint32_t index)
{
    int32_t token = r->reasoning != NULL ? reasoning_watch_forced(&r->reasoning[index]) : -1;
    if (token < 0 || r->grammar == NULL ||
        (r->constraints[index].allowed[token / 32] >> token % 32 & 1) != 0)
        return token;
    reasoning_watch_refuse(&r->reasoning[index]);
    return -1;
}

/* The token `ahead` tokens behind a sequence's last, from its row of logits. */
static status sample_token(struct live_request *r, const struct sequence *s, uint32_t ahead,
                           float *row, struct sample *out)
{
    sampler *own = r->samplers[s->index];
    int32_t forced = forced_token(r, s->index);
    if (forced >= 0)
        return sampler_force(own, row, forced, out);
    return sampler_sample(own, row, sequence_token_count(s) + ahead, s->output_count + ahead, out);
}

/* The token became part of the output. */
static void accept_token(const engine *e, struct live_request *r, uint32_t index, int32_t token)
{
    sampler_accept(r->samplers[index], token);
    if (r->reasoning != NULL)
        reasoning_watch_accept(&r->reasoning[index], tokenizer_piece(e->tokens, token, true));
}

/* The tokens of one sample: as long as the token is the draft, the next row is that of the text to come. */
static void sample_tokens(const struct sample_work *work, const struct step_sample *sample,
                          struct sample_result *result)
{
    engine *e = work->e;
    const struct sequence *s = sample->sequence;
    struct live_request *r = (struct live_request *)s->request;
    struct constraint *constraint = r->grammar != NULL ? &r->constraints[s->index] : NULL;
    for (uint32_t i = 0; i <= sample->draft_count; i++) {
        struct sample *out = &e->step.results[result->first + i];
        float *row = work->logits + (size_t)(sample->logit_row + i) * e->info.vocabulary;
        if (constraint != NULL)
            result->status = grammar_matcher_fill(constraint->matcher, constraint->allowed);
        if (result->status == STATUS_OK)
            result->status = sample_token(r, s, i, row, out);
        if (result->status != STATUS_OK)
            return;
        accept_token(e, r, s->index, out->token);
        result->count++;
        if (sampler_token_ends(r->samplers[s->index], out->token) ||
            (constraint != NULL && !follow_grammar(constraint, out->token, result)))
            return;
        if (sampler_output_loops(r->samplers[s->index]))
            result->finish = FINISH_REPETITION;
        if (result->finish != FINISH_NONE || i == sample->draft_count ||
            out->token != sample->drafts[i])
            return;
    }
}

/* All samples of one logit row, one after the other: a sampler changes the row while it looks at it. */
static void sample_row(void *context, uint32_t task)
{
    struct sample_work *work = context;
    struct step_buffers *b = &work->e->step;
    for (uint32_t i = b->task_first[task]; i < b->task_first[task + 1]; i++)
        sample_tokens(work, &work->samples[i], &b->sample_results[i]);
}

static void sample_rows(engine *e, const float *logits, const struct step_sample *samples,
                        uint32_t count)
{
    uint32_t tasks = 0;
    uint32_t result_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || samples[i].logit_row != samples[i - 1].logit_row)
            e->step.task_first[tasks++] = i;
        e->step.sample_results[i] =
            (struct sample_result){.first = result_count, .count = 0, .status = STATUS_OK};
        result_count += 1 + samples[i].draft_count;
    }
    e->step.task_first[tasks] = count;
    /* The model's own buffer, ours until the next step; samplers leave it as it was. */
    struct sample_work work = {e, (float *)(uintptr_t)logits, samples};
    if (tasks > 0)
        e->device->operations->parallel_for(e->device, tasks, sample_row, &work);
}

/* Appends a sampled token, ends the sequence if it is time, and tells the publisher. `own_finish`: what else than end tokens
 * and its length ends it now. */
static void take_sample(engine *e, struct sequence *s, const struct sample *sample,
                        enum finish_reason own_finish, uint64_t now_ns)
{
    struct live_request *r = (struct live_request *)s->request;
    uint32_t index = s->index;
    batcher_append(e->batch, s, sample->token);
    bool ends = sampler_token_ends(r->samplers[index], sample->token);
    enum finish_reason finish = own_finish;
    if (ends)
        finish = FINISH_STOP;
    else if (finish != FINISH_STOP && s->output_count == s->output_count_max)
        finish = FINISH_LENGTH;
    if (finish != FINISH_NONE)
        leave_batch(e, s);
    struct token_message *m = message_start(e, r, index);
    m->has_token = true;
    m->sample = *sample;
    m->predicted_count = s->lookup != NULL ? prompt_lookup_predicted_count(s->lookup) : 0;
    m->finish = finish;
    m->stop_token = ends ? sample->token : -1;
    m->time_ns = now_ns;
    message_send(e, m);
}

/* Ends the requests whose row was broken, or left no token. Several sequences may be of one request: all are held first, so that none is
 * freed by its last message while the loop still looks at it. */
static void end_broken(engine *e, const struct step_sample *samples, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (e->step.sample_results[i].status != STATUS_OK)
            live_request_retain((struct live_request *)samples[i].sequence->request);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (e->step.sample_results[i].status == STATUS_OK)
            continue;
        struct live_request *r = (struct live_request *)samples[i].sequence->request;
        status why = e->step.sample_results[i].status;
        if (r->batch.live_count > 0 && why == STATUS_INTERNAL)
            engine_metrics_corrupted(e->metrics);
        end_request(e, r, FINISH_ERROR, why);
        live_request_release(r);
    }
}

/* Ends the requests whose prompts could not be scored. */
static void end_unscored(engine *e)
{
    struct live_request *r;
    while ((r = prompt_scores_pop_broken(e)) != NULL) {
        if (r->batch.live_count > 0)
            engine_metrics_corrupted(e->metrics);
        end_request(e, r, FINISH_ERROR, STATUS_INTERNAL);
        live_request_release(r);
    }
}

/* Ends the requests whose prompts are all that was wanted, and are computed. Before any other request of the plan may be
 * freed. */
static void end_prompt_only(engine *e, const struct step_plan *plan)
{
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        struct sequence *s = entry->sequence;
        if (!s->request->is_prompt_only)
            continue;
        embeddings_note(entry);
        if (!step_entry_reaches_end(entry))
            continue;
        status made = embeddings_finish((struct live_request *)s->request);
        if (made != STATUS_OK)
            engine_metrics_corrupted(e->metrics);
        end_sequence(e, s, made == STATUS_OK ? FINISH_STOP : FINISH_ERROR, made);
    }
}

/* Counts the drafts of a sample, and those that were sampled. */
static void note_drafts(engine *e, const struct step_sample *sample,
                        const struct sample_result *result)
{
    if (sample->draft_count == 0)
        return;
    const struct sample *taken = &e->step.results[result->first];
    uint32_t accepted = 0;
    while (accepted < result->count && accepted < sample->draft_count &&
           taken[accepted].token == sample->drafts[accepted])
        accepted++;
    engine_metrics_drafts(e->metrics, sample->draft_count, accepted);
    atomic_fetch_add_explicit(&e->stats.draft_tokens, sample->draft_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats.accepted_tokens, accepted, memory_order_relaxed);
}

static void take_samples(engine *e, const struct step_sample *samples, uint32_t count,
                         uint64_t now_ns)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sample_result *result = &e->step.sample_results[i];
        note_drafts(e, &samples[i], result);
        /* The last of them may end the sequence, and the request with it. */
        for (uint32_t j = 0; j < result->count; j++)
            take_sample(e, samples[i].sequence, &e->step.results[result->first + j],
                        j + 1 == result->count ? result->finish : FINISH_NONE, now_ns);
    }
    end_broken(e, samples, count);
}

/* Notes who starts with this plan, for times and for the counters that count once a request. */
static void note_admissions(engine *e, const struct step_plan *plan, uint64_t now_ns)
{
    if (plan->admitted_count == 0)
        return;
    for (uint32_t i = plan->decode_count; i < plan->entry_count; i++) {
        struct live_request *r = (struct live_request *)plan->entries[i].sequence->request;
        if (r->admitted_ns != 0)
            continue;
        r->admitted_ns = now_ns;
        adapter_start_request(r->adapter);
        atomic_fetch_add_explicit(&e->stats.prompt_tokens, r->batch.prompt_count,
                                  memory_order_relaxed);
        engine_metrics_admitted(e->metrics, r->batch.prompt_count, r->batch.cached_tokens,
                                e->options.prefix_cache);
    }
}

static void publish_stats(engine *e)
{
    struct batcher_stats now;
    batcher_get_stats(e->batch, &now);
#define SET(field, value) atomic_store_explicit(&e->stats.field, value, memory_order_relaxed)
    SET(running, now.running_requests);
    SET(blocks_free, now.blocks.free);
    SET(blocks_kept, now.blocks.kept);
    SET(blocks_pinned, now.blocks.pinned);
    SET(preemptions, now.preemptions);
    SET(prefix_query_tokens, now.prefix_query_tokens);
    SET(prefix_hit_tokens, now.prefix_hit_tokens);
#undef SET
    struct engine_gauges gauges = {.running = now.running_requests,
                                   .waiting = now.waiting_requests,
                                   .tokens_used = now.blocks.tokens_used,
                                   .tokens_total = (uint64_t)now.blocks.total * BLOCK_TOKENS,
                                   .blocks_pinned = now.blocks.pinned};
    engine_metrics_set_gauges(e->metrics, &gauges);
}

/* Weight of the newest step in the moving average of step times. */
#define STEP_MS_WEIGHT 0.05f

/* Steps' share in the average of what a prompt's token takes; chunks of fewer tokens say little. */
#define PREFILL_NS_WEIGHT 0.2f
#define PREFILL_ROWS_MIN  16u

static void note_prefill(engine *e, const struct step_plan *plan, uint64_t elapsed_ns)
{
    uint32_t others = plan->decode_count + plan->draft_count;
    uint32_t rows = plan->row_count > others ? plan->row_count - others : 0;
    _Atomic float *average = others > 0 ? &e->stats.prefill_ns_beside : &e->stats.prefill_ns_alone;
    if (rows < PREFILL_ROWS_MIN)
        return;
    float ns = (float)elapsed_ns / (float)rows;
    float before = atomic_load_explicit(average, memory_order_relaxed);
    atomic_store_explicit(average, before == 0.0f ? ns : before + PREFILL_NS_WEIGHT * (ns - before),
                          memory_order_relaxed);
}

static void count_step(engine *e, const struct step_plan *plan, uint64_t start_ns, uint64_t end_ns)
{
    struct batcher_stats now;
    batcher_get_stats(e->batch, &now);
    struct engine_step_record record = {
        .rows = plan->row_count,
        .decodes = plan->decode_count,
        .drafts = plan->draft_count,
        .elapsed_ns = end_ns - start_ns,
        .predicted_ns = plan->predicted_ns,
        .preemptions = now.preemptions - e->preemptions_seen,
        .recomputed_tokens = now.recomputed_tokens - e->recomputed_seen,
    };
    engine_metrics_step(e->metrics, &record);
    e->preemptions_seen = now.preemptions;
    e->recomputed_seen = now.recomputed_tokens;
    note_prefill(e, plan, end_ns - start_ns);
    float ms = (float)(end_ns - start_ns) / (float)NS_PER_MS;
    float average = atomic_load_explicit(&e->stats.step_ms, memory_order_relaxed);
    average = average == 0.0f ? ms : average + STEP_MS_WEIGHT * (ms - average);
    atomic_store_explicit(&e->stats.step_ms, average, memory_order_relaxed);
    atomic_store_explicit(&e->stats.last_step_ns, end_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats.steps, 1, memory_order_relaxed);
}

/* Each request of the plan pays for its rows. A step begins where the one before it has ended, unless there was nothing to do
 * between: what stands between two steps is their work too. */
static void share_time(engine *e, const struct step_plan *plan, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t from_ns = e->busy_until_ns != 0 ? e->busy_until_ns : start_ns;
    struct time_shares shares = {.elapsed_ns = end_ns - from_ns, .row_count = plan->row_count};
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        struct live_request *r = (struct live_request *)entry->sequence->request;
        r->busy_ns += time_shares_next(&shares, entry->count);
    }
    e->busy_until_ns = end_ns;
    atomic_fetch_add_explicit(&e->stats.busy_ns, end_ns - from_ns, memory_order_relaxed);
}

/* The device has failed: everybody is told, and nothing is accepted any more. The replica's keeper ends the process. */
static void fail_engine(engine *e, status s)
{
    e->failure = s;
    atomic_store_explicit(&e->is_failed, true, memory_order_relaxed);
    batcher_abandon(e->batch);
    end_all_requests(e, FINISH_ERROR, s);
}

/* False: there was nothing to do. */
static bool run_step(engine *e)
{
    uint64_t start_ns = clock_now_ns();
    batcher_set_now(e->batch, start_ns);
    const struct step_plan *plan = batcher_plan(e->batch);
    if (plan == NULL)
        return false;
    atomic_store_explicit(&e->step_busy_since_ns, start_ns, memory_order_relaxed);
    note_admissions(e, plan, start_ns);
    const float *logits = NULL;
    status s = forward(e, plan, &logits);
    if (s != STATUS_OK) {
        fail_engine(e, s);
        return true;
    }
    uint32_t count;
    const struct step_sample *samples = batcher_complete(e->batch, &count);
    prompt_scores_compute(e, plan, logits);
    sample_rows(e, logits, samples, count);
    uint64_t end_ns = clock_now_ns();
    batcher_note_time(e->batch, end_ns - start_ns);
    share_time(e, plan, start_ns, end_ns);
    end_prompt_only(e, plan);
    take_samples(e, samples, count, end_ns);
    end_unscored(e);
    count_step(e, plan, start_ns, end_ns);
    return true;
}

/* The first write to a page of the cache is a fault. On a guest whose host has to find the memory
 * too, a huge page took 5 to 6 ms: at 16 streams every sixth step stalled for that long until the
 * whole cache had been written to once. So idle time goes into this much cache beyond what is in
 * use: a gigabyte is 30 s of decoding at 1,300 tokens a second with 23 kB a token. */
#define TOUCH_AHEAD_BYTES ((uint64_t)1 << 30)

static bool has_mail(const engine *e)
{
    return atomic_load_explicit(&e->inbox, memory_order_relaxed) != NULL ||
           atomic_load_explicit(&e->is_closing, memory_order_relaxed);
}

/* Blocks are first used in their order. */
static void touch_ahead(engine *e)
{
    struct batcher_stats now;
    batcher_get_stats(e->batch, &now);
    uint64_t ahead = TOUCH_AHEAD_BYTES / e->file_info.kv_block_bytes;
    uint64_t end = now.blocks.total - now.blocks.free + ahead;
    end = end < now.blocks.total ? end : now.blocks.total;
    while (e->kv_touched < end && !has_mail(e))
        model_kv_touch_block(e->model, e->kv_touched++);
}

/* Sleeps until something is in the inbox. */
static void wait_for_work(engine *e)
{
    atomic_store_explicit(&e->step_busy_since_ns, 0, memory_order_relaxed);
    e->busy_until_ns = 0;
    touch_ahead(e);
    uint32_t ticket = parking_prepare(&e->step_parking);
    if (has_mail(e))
        parking_cancel(&e->step_parking);
    else
        parking_wait(&e->step_parking, ticket, UINT64_MAX);
}

static void run_steps(engine *e)
{
    alloc_guard_begin();
    for (;;) {
        read_inbox(e);
        bool is_closing = atomic_load_explicit(&e->is_closing, memory_order_acquire);
        if (is_closing)
            end_all_requests(e, FINISH_ABORT, STATUS_OK);
        bool was_busy = run_step(e);
        publish_stats(e);
        if (e->options.on_turn != NULL)
            e->options.on_turn(e->options.context, e);
        parking_signal(&e->publisher_parking);
        if (was_busy)
            continue;
        if (is_closing && atomic_load_explicit(&e->inbox, memory_order_acquire) == NULL)
            break;
        wait_for_work(e);
    }
    alloc_guard_end();
}

/* --- life --- */

static status open_model(engine *e, struct error_note *note)
{
    struct backend_options device = {.path = e->path, .threads = e->options.threads};
    status s = backend_open(&device, &e->device, note);
    if (s != STATUS_OK)
        return s;
    struct model_options options = {
        .batch_tokens_max = e->options.batch_tokens_max,
        .logit_rows_max = engine_logit_rows_max(e),
        .sequence_count_max = e->options.sequence_count_max,
        .context_max = e->info.context_max,
        .kv_blocks = e->info.block_count,
        .kv_type = e->kv_type,
        .adapter_rank_max = e->options.adapters_max > 0 ? e->options.adapter_rank_max : 0,
        .weight_cache = e->weight_cache,
        .model_path = e->model_path,
    };
    return model_open(e->source, e->device, &options, &e->model, note);
}

void *step_thread_run(void *context)
{
    engine *e = context;
    status s = open_model(e, &e->opening.note);
    bool is_open = s == STATUS_OK;
    if (is_open) {
        e->info.backend = e->device->operations->name;
        e->info.weight_bytes = model_get_info(e->model)->weight_bytes;
        e->adapters.model = e->model;
        publish_stats(e);
    }
    /* Release pairs with engine_open's acquire: status, note and info are seen with it. */
    opening_tell(&e->opening, s);
    if (is_open)
        run_steps(e);
    adapter_table_clear(&e->adapters);
    model_close(e->model);
    backend_close(e->device);
    return NULL;
}
