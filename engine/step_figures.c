#include "step_figures.h"

#include "clock.h"
#include "time_shares.h"

void note_admissions(engine *e, const struct step_plan *plan, uint64_t now_ns)
{
    for (uint32_t i = plan->decode_count; i < plan->entry_count; i++) {
        struct live_request *r = (struct live_request *)plan->entries[i].sequence->request;
        if (r->admitted_ns != 0)
            continue;
        r->admitted_ns = now_ns;
        adapter_start_request(r->adapter);
        atomic_fetch_add_explicit(&e->stats.prompt_tokens, r->batch.prompt_count,
                                  memory_order_relaxed);
        struct engine_admission_record record = {.prompt_tokens = r->batch.prompt_count,
                                                 .cached_tokens = r->batch.cached_tokens,
                                                 .host_tokens = r->batch.host_tokens,
                                                 .has_cache = e->options.prefix_cache};
        engine_metrics_admitted(e->metrics, &record);
    }
}

void note_drafts(engine *e, const struct step_sample *sample, const struct sample_result *result)
{
    if (sample->draft_count == 0)
        return;
    const struct sample *taken = &e->step.results[result->first];
    uint32_t accepted = 0;
    while (accepted < result->count && accepted < sample->draft_count &&
           taken[accepted].token == sample->drafts[accepted])
        accepted++;
    engine_metrics_drafts(e->metrics, sample->draft_count, accepted);
    struct engine_trace *trace = &((struct live_request *)sample->sequence->request)->trace;
    trace->draft_tokens += sample->draft_count;
    trace->accepted_tokens += accepted;
    atomic_fetch_add_explicit(&e->stats.draft_tokens, sample->draft_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats.accepted_tokens, accepted, memory_order_relaxed);
}

void publish_stats(engine *e)
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
    SET(host_saved_blocks, now.host.saved_blocks);
    SET(host_loaded_blocks, now.host.loaded_blocks);
    if (e->device->operations->device_busy_ns != NULL)
        SET(device_busy_ns, e->device->operations->device_busy_ns(e->device));
#undef SET
    struct engine_gauges gauges = {
        .running = now.running_requests,
        .waiting = now.waiting_requests,
        .tokens_used = now.blocks.tokens_used,
        .tokens_total = (uint64_t)now.blocks.total * BLOCK_TOKENS,
        .blocks_pinned = now.blocks.pinned,
        .host_usage = now.host.slots > 0 ? (double)now.host.used / now.host.slots : 0.0};
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

static void count_step(engine *e, const struct step_plan *plan, uint64_t elapsed_ns,
                       uint64_t end_ns)
{
    struct batcher_stats now;
    batcher_get_stats(e->batch, &now);
    struct engine_step_record record = {
        .rows = plan->row_count,
        .decodes = plan->decode_count,
        .drafts = plan->draft_count,
        .elapsed_ns = elapsed_ns,
        .predicted_ns = plan->predicted_ns,
        .preemptions = now.preemptions - e->preemptions_seen,
        .recomputed_tokens = now.recomputed_tokens - e->recomputed_seen,
        .lost_tokens = now.lost_tokens - e->lost_seen,
        .saved_blocks = now.host.saved_blocks - e->saved_seen,
        .loaded_blocks = now.host.loaded_blocks - e->loaded_seen,
    };
    engine_metrics_step(e->metrics, &record);
    e->preemptions_seen = now.preemptions;
    e->recomputed_seen = now.recomputed_tokens;
    e->lost_seen = now.lost_tokens;
    e->saved_seen = now.host.saved_blocks;
    e->loaded_seen = now.host.loaded_blocks;
    note_prefill(e, plan, elapsed_ns);
    float ms = (float)elapsed_ns / (float)NS_PER_MS;
    float average = atomic_load_explicit(&e->stats.step_ms, memory_order_relaxed);
    average = average == 0.0f ? ms : average + STEP_MS_WEIGHT * (ms - average);
    atomic_store_explicit(&e->stats.step_ms, average, memory_order_relaxed);
    atomic_store_explicit(&e->stats.last_step_ns, end_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats.steps, 1, memory_order_relaxed);
}

/* Each request of the step pays for its rows; who has ended since is told nothing more. A step begins where the one before it
 * has ended, unless there was nothing to do between: what stands between two steps is their work too. */
static void share_time(engine *e, const struct step_flight *flight, uint64_t end_ns)
{
    const struct step_plan *plan = &flight->plan;
    uint64_t from_ns = e->busy_until_ns != 0 ? e->busy_until_ns : flight->start_ns;
    struct time_shares shares = {.elapsed_ns = end_ns - from_ns};
    for (uint32_t i = 0; i < plan->entry_count; i++)
        shares.row_count += plan->entries[i].sequence != NULL ? plan->entries[i].count : 0;
    if (shares.row_count == 0)
        return;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        if (entry->sequence == NULL)
            continue;
        struct live_request *r = (struct live_request *)entry->sequence->request;
        r->busy_ns += time_shares_next(&shares, entry->count);
    }
    e->busy_until_ns = end_ns;
    atomic_fetch_add_explicit(&e->stats.busy_ns, end_ns - from_ns, memory_order_relaxed);
}

/* Who ends with this step is still there: its last token is taken afterwards. */
static void trace_rows(const struct step_plan *plan, uint64_t elapsed_ns, uint64_t end_ns)
{
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        if (entry->sequence == NULL)
            continue;
        const struct batch_request *request = entry->sequence->request;
        struct engine_trace *trace = &((struct live_request *)entry->sequence->request)->trace;
        /* A prompt's last row alone is planned as a decode. */
        if (i < plan->decode_count && entry->first >= request->prompt_count) {
            trace->decode_steps++;
            continue;
        }
        trace->chunk_tokens += entry->count;
        if (trace->chunk_count++ >= ENGINE_CHUNKS_MAX)
            continue;
        trace->chunks[trace->chunk_count - 1] =
            (struct engine_chunk){.end_ns = end_ns,
                                  .step_ns = elapsed_ns,
                                  .tokens = entry->count,
                                  .other_rows = plan->row_count - entry->count};
    }
}

void tell_step(const engine *e, const struct step_flight *flight, bool is_over, uint64_t at_ns,
               uint64_t step_ns)
{
    const struct step_plan *plan = &flight->plan;
    struct batcher_stats now;
    if (e->options.on_step == NULL)
        return;
    batcher_get_stats(e->batch, &now);
    struct engine_step step = {
        .is_over = is_over,
        .at_ns = at_ns,
        .step_ns = step_ns,
        .device_wait_ns = is_over ? flight->device_wait_ns : 0,
        .rows = plan->row_count,
        .decodes = plan->decode_count,
        .drafts = plan->draft_count,
        .sequence_count = plan->entry_count,
        .preempted = plan->preempted_count,
        .admitted = plan->admitted_count,
        .running = now.running_requests,
        .waiting = now.waiting_requests,
        .blocks_free = now.blocks.free,
        .blocks_cached = now.blocks.kept,
    };
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->entry_count && count < ENGINE_STEP_REQUESTS_MAX; i++) {
        if (plan->entries[i].sequence != NULL)
            step.requests[count++] = plan->entries[i].sequence->request->arrival + 1;
    }
    e->options.on_step(e->options.context, &step);
}

void note_step_time(engine *e, const struct step_flight *flight, uint64_t end_ns)
{
    /* A device comes to a step when it is done with the one before it. */
    uint64_t start_ns = e->step_end_ns > flight->start_ns ? e->step_end_ns : flight->start_ns;
    e->step_end_ns = end_ns;
    batcher_note_time(e->batch, &flight->plan, end_ns - start_ns);
    share_time(e, flight, end_ns);
    trace_rows(&flight->plan, end_ns - start_ns, end_ns);
    tell_step(e, flight, true, end_ns, end_ns - start_ns);
    count_step(e, &flight->plan, end_ns - start_ns, end_ns);
}
