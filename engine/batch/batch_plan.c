#include "batcher_private.h"

#include <stddef.h>

#include "check.h"

/* Which rows the next step computes: first every running sequence that generates (one row each, so
 * that no stream stalls), then chunks of prompts in order, whether they run already or wait.
 *
 * Then drafts beside the decodes, if prompts leave room for them (batch_drafts.c).
 *
 * How much of the prompts. With no generation running, as much as a step may hold. Else the step is
 * given a length, and takes the prompt rows that are predicted to fit into it:
 *
 *     length = factor * pace, at most the target;   pace = the step in which all requests at hand,
 *                                                   prompts included, would generate
 *
 * The pace is what these clients will see once the prompts are read, so tokens come at most `factor`
 * times as far apart while they are. Beside eight generations one long prompt gets about
 * (factor - 1) / factor of the time, and nobody stalls. Of a wave of 16 prompts the first four to
 * generate leave the others more: a step may take as long as with 16 generations, which with four is
 * mostly free; the wave's last first token comes little later than with generation held back. A
 * plain multiple of the present decodes' time made that token wait nearly twice as long
 * (bench/NOTES.md).
 *
 * A newcomer's prompt (batcher.c) may make the step as long as the target. */

/* While streams are running, a step has room for prompts for at least this share of the decodes'
 * own time, also when they alone take longer than the target: else a busy engine would never start
 * anybody. */
#define PREFILL_SHARE_MIN 0.1
/* And at least these rows: the kernels work on four at a time. */
#define PREFILL_ROWS_MIN 4u

/* Prompt rows beside decodes while the cost model knows nothing yet. */
#define PREFILL_ROWS_UNKNOWN 16u

/* Free blocks that a start must leave for each sequence that will then run: its next block. */
#define GROWTH_RESERVE_BLOCKS 1u

static uint32_t rows_left(const batcher *b)
{
    return b->options.batch_tokens_max - b->plan.row_count;
}

/* Beside the prompts: one row, or none when its last token is on its way. */
static bool is_generating(const struct sequence *s)
{
    return sequence_token_count(s) - s->computed_count == 1;
}

static bool is_decode(const struct sequence *s)
{
    return is_generating(s) && !sequence_is_full(s);
}

/* The row of the prompt's last token gives the first output; those before it score the prompt. */
static uint32_t rows_to_score(const struct sequence *s)
{
    const struct batch_request *request = s->request;
    return request->scores_prompt && s->index == 0 ? request->prompt_count - 1 : 0;
}

/* A sequence is never computed past the rows that have been scored, so those of a chunk that are to be lie at its start. */
static uint32_t scores_of_chunk(const struct sequence *s, uint32_t count)
{
    uint32_t end = rows_to_score(s);
    if (s->request->scored_count >= end || s->computed_count < s->request->scored_count)
        return 0;
    return s->computed_count + count < end ? count : end - s->computed_count;
}

static void add_entry(batcher *b, struct sequence *s, uint32_t count)
{
    struct step_plan *plan = &b->plan;
    bool gives_logits =
        s->computed_count + count == sequence_token_count(s) && !s->request->is_prompt_only;
    uint32_t scores = scores_of_chunk(s, count);
    CHECK(s->draft_count == 0); /* all of the step before have met their samples */
    b->entries[plan->entry_count++] = (struct step_entry){
        .sequence = s,
        .first = s->computed_count,
        .count = count,
        .score_row = plan->logit_row_count,
        .score_count = scores,
        .logit_row = gives_logits ? plan->logit_row_count + scores : UINT32_MAX,
    };
    plan->logit_row_count += scores + (gives_logits ? 1 : 0);
    plan->score_count += scores;
    plan->row_count += count;
    plan->context += context_of_rows(s->computed_count, count);
}

static void preempt(batcher *b, struct sequence *victim)
{
    CHECK(b->unknown_count == 0);
    victim->lost_count = victim->computed_count;
    batcher_stop_sequence(b, victim);
    batcher_queue_sequence(b, victim);
    batcher_update_waiting(b, victim->request);
    victim->request->preemption_count++;
    b->preemptions++;
    b->plan.preempted_count++;
}

static bool generates(const batcher *b)
{
    uint32_t i = 0;
    while (i < b->running_count && !is_generating(b->running[i]))
        i++;
    return i < b->running_count;
}

/* Gives `s` a block of its own for its next position. STATUS_NO_MEMORY: not without a preemption.
 */
static status make_room(batcher *b, struct sequence *s)
{
    uint32_t index = s->computed_count / BLOCK_TOKENS;
    if (index >= s->table.count)
        return block_table_extend(&s->table, b->blocks, index + 1);
    uint32_t source;
    status result = block_table_make_writable(&s->table, b->blocks, index, &source);
    if (result == STATUS_OK && source != BLOCK_NONE) {
        b->copy_from[b->plan.copy_count] = source;
        b->copy_to[b->plan.copy_count] = s->table.blocks[index];
        b->plan.copy_count++;
        /* The copy holds what the source held; the rest of the block is the writer's. */
        block_set_filled(b->blocks, s->table.blocks[index], s->computed_count % BLOCK_TOKENS);
    }
    return result;
}

/* Would plan_decodes find the blocks that it needs? */
static bool decodes_have_room(const batcher *b)
{
    uint32_t needed = 0;
    for (uint32_t i = 0; i < b->running_count; i++) {
        const struct sequence *s = b->running[i];
        uint32_t index = s->computed_count / BLOCK_TOKENS;
        if (is_decode(s))
            needed += index >= s->table.count ||
                      block_reference_count(b->blocks, s->table.blocks[index]) > 1;
    }
    return needed <= block_available_count(b->blocks);
}

/* Decodes, best first. Whoever needs a block and finds none takes those of the last in the order,
 * which has not been planned yet: it comes later, or it prefills. The last in the order may be the
 * needy one itself. */
static void plan_decodes(batcher *b)
{
    for (uint32_t i = 0; i < b->running_count; i++) {
        struct sequence *s = b->running[i];
        if (!is_decode(s))
            continue;
        while (s->state == SEQUENCE_RUNNING && make_room(b, s) == STATUS_NO_MEMORY)
            preempt(b, b->running[b->running_count - 1]);
        if (s->state == SEQUENCE_RUNNING)
            add_entry(b, s, 1);
    }
    b->plan.decode_count = b->plan.entry_count;
}

/* After the decodes have been planned: how long the step with prompts may be. */
static void set_limits(batcher *b)
{
    const struct batcher_options *options = &b->options;
    bool has_limit = options->inter_token_factor > 0.0 || options->inter_token_target_ns > 0;
    b->plan_limit_ns = b->plan_newcomer_limit_ns = 0.0;
    if (!has_limit || b->plan.decode_count == 0)
        return;
    struct step_shape decodes = plan_shape(b);
    uint32_t slots = options->sequence_count_max - b->running_count;
    uint32_t waiting = b->waiting.count < slots ? b->waiting.count : slots;
    /* Prompts at hand are taken to have the context of those that generate. */
    struct step_shape all = {.rows = b->running_count + waiting,
                             .logit_rows = b->running_count + waiting};
    all.context = decodes.context * all.rows / decodes.rows;
    double limit = options->inter_token_factor * cost_model_predict_ns(&b->cost, &all);
    double target = (double)options->inter_token_target_ns;
    if (target > 0.0 && (limit <= 0.0 || target < limit))
        limit = target;
    double least = (1.0 + PREFILL_SHARE_MIN) * b->plan_decodes_ns;
    b->plan_limit_ns = limit > least ? limit : least;
    if (target > 0.0)
        b->plan_newcomer_limit_ns = target > least ? target : least;
}

/* Answers that a tenant has in a batch, on average, for newcomers to be told from everybody else. */
#define CROWD_MIN 2u

/* Nothing else of its tenant has a slot, while others have several each. */
static bool is_newcomer(const batcher *b, const struct sequence *s)
{
    if (b->running_count < CROWD_MIN * b->running_tenant_count)
        return false;
    for (uint32_t i = 0; i < b->running_count; i++) {
        if (b->running[i] != s && b->running[i]->request->tenant == s->request->tenant)
            return false;
    }
    return true;
}

static double limit_for_ns(const batcher *b, const struct sequence *s)
{
    return is_newcomer(b, s) ? b->plan_newcomer_limit_ns : b->plan_limit_ns;
}

/* How many rows of a prompt from position `first` this step takes; 0: none, the step is full. `limit_ns`: how long
 * it may be; 0: no limit. */
static uint32_t chunk_rows(const batcher *b, double limit_ns, uint32_t first, uint32_t remaining)
{
    uint32_t most = rows_left(b);
    uint32_t chunk = remaining < most ? remaining : most;
    if (limit_ns <= 0.0)
        return chunk;
    uint32_t prefill_rows = b->plan.row_count - b->plan.decode_count;
    struct step_shape shape = plan_shape(b);
    uint32_t fit;
    if (cost_model_is_ready(&b->cost))
        fit = cost_model_fit_rows(&b->cost, &shape, first, chunk, limit_ns);
    else
        fit = prefill_rows < PREFILL_ROWS_UNKNOWN ? PREFILL_ROWS_UNKNOWN - prefill_rows : 0;
    uint32_t owed = prefill_rows < PREFILL_ROWS_MIN ? PREFILL_ROWS_MIN - prefill_rows : 0;
    fit = fit > owed ? fit : owed;
    return fit < chunk ? fit : chunk;
}

/* What is left of a chunk by the room for scores. A chunk has either none or begins with them: up to where the scoring had
 * come before a preemption, the prompt is read like any other. */
static uint32_t chunk_to_score(const batcher *b, const struct sequence *s, uint32_t chunk)
{
    uint32_t scored = s->request->scored_count;
    if (scored >= rows_to_score(s))
        return chunk;
    uint32_t most = s->computed_count < scored ? scored - s->computed_count
                                               : STEP_SCORES_MAX - b->plan.score_count;
    return chunk < most ? chunk : most;
}

uint32_t batcher_shareable_blocks(const struct sequence *s)
{
    uint32_t limit = (sequence_token_count(s) - 1) / BLOCK_TOKENS;
    limit = limit < s->hash_count ? limit : s->hash_count;
    uint32_t scored = s->request->scored_count / BLOCK_TOKENS;
    if (s->request->scored_count < rows_to_score(s) && scored < limit)
        limit = scored;
    return limit;
}

/* Shares what the cache holds of the tokens of `s`. */
static void match_prefix(batcher *b, struct sequence *s)
{
    if (b->prefixes == NULL || s->request->computes_all)
        return;
    struct block_table *table = &s->table;
    uint32_t limit = batcher_shareable_blocks(s);
    uint32_t prompt_blocks = s->request->prompt_count / BLOCK_TOKENS;
    uint32_t first_part = limit < prompt_blocks ? limit : prompt_blocks;
    table->count =
        prefix_cache_match(b->prefixes, s->request->prompt_hashes, first_part, table->blocks);
    if (table->count == prompt_blocks && limit > prompt_blocks)
        table->count += prefix_cache_match(b->prefixes, s->output_hashes, limit - prompt_blocks,
                                           table->blocks + prompt_blocks);
}

/* Counts once a request, at its first start. */
static void count_prefix_hit(batcher *b, const struct sequence *s)
{
    struct batch_request *request = s->request;
    if (request->was_admitted)
        return;
    request->was_admitted = true;
    if (b->prefixes == NULL)
        return;
    uint32_t matched = s->table.count;
    request->cached_tokens = matched * BLOCK_TOKENS;
    b->prefix_query_tokens += request->prompt_count;
    b->prefix_hit_tokens += request->cached_tokens;
    bool is_whole = request->prompt_count == (matched + 1) * BLOCK_TOKENS;
    if (is_whole && prefix_cache_has(b->prefixes, sequence_block_hash(s, matched)))
        b->recomputed_tokens += BLOCK_TOKENS;
}

/* Sequences of the request that will share the blocks of `s` once its prompt is done, and then grow
 * too. */
static uint32_t pending_siblings(const struct sequence *s)
{
    const struct batch_request *request = s->request;
    if (s->index != 0 || s->output_count + s->unknown_count != 0 || request->sequence_count == 1)
        return 0;
    return request->live_count - 1;
}

/* Blocks for all tokens of the queue's head, or nothing: false. */
static bool admit(batcher *b, struct sequence *s)
{
    uint32_t available = block_available_count(b->blocks);
    if (s == b->refused && available <= b->refused_available &&
        b->running_count >= b->refused_running)
        return false;
    match_prefix(b, s);
    uint32_t matched = s->table.count;
    uint32_t needed = blocks_for_tokens(sequence_token_count(s));
    uint64_t reserve = 0;
    if (b->running_count > 0) /* alone it always fits: nobody else grows */
        reserve = (uint64_t)GROWTH_RESERVE_BLOCKS * (b->running_count + pending_siblings(s));
    bool fits = block_available_count(b->blocks) >= needed - matched + reserve;
    if (!fits) {
        block_table_release(&s->table, b->blocks);
        b->refused = s;
        b->refused_available = available;
        b->refused_running = b->running_count;
        return false;
    }
    count_prefix_hit(b, s);
    for (uint32_t i = 0; i < matched && i < s->request->prompt_count / BLOCK_TOKENS; i++)
        batcher_pin_block(b, s, i);
    status extended = block_table_extend(&s->table, b->blocks, needed);
    CHECK(extended == STATUS_OK);
    s->computed_count = matched * BLOCK_TOKENS;
    if (s->lost_count > s->computed_count)
        b->lost_tokens += s->lost_count - s->computed_count;
    s->lost_count = 0;
    if (s->index == 0)
        s->request->mark_next = 0; /* of blocks that it lost they may be gone */
    sequence_queue_remove(&b->waiting, s);
    batcher_start_sequence(b, s);
    b->refused = NULL;
    b->plan.admitted_count++;
    return true;
}

/* The queue's first, if it comes before `other` (NULL: before nobody) and there is a slot. */
static struct sequence *next_waiting(const batcher *b, const struct sequence *other)
{
    struct sequence *s = b->waiting.root;
    bool has_slot = b->running_count < b->options.sequence_count_max;
    return s != NULL && has_slot && (other == NULL || sequence_is_before(s, other)) ? s : NULL;
}

/* Chunks of prompts in order, those that run merged with those that wait: whoever comes before a
 * prompt that is being read starts now and not behind it. */
static void plan_prefills(batcher *b)
{
    /* Whoever has just been preempted must not take back the blocks that it gave: it would lose
     * them again. */
    bool admits = b->plan.preempted_count == 0;
    uint32_t i = 0;
    for (;;) {
        while (i < b->running_count && is_generating(b->running[i]))
            i++;
        struct sequence *s = i < b->running_count ? b->running[i] : NULL;
        struct sequence *waiting = admits ? next_waiting(b, s) : NULL;
        s = waiting != NULL ? waiting : s;
        if (s == NULL)
            return;
        double limit_ns = limit_for_ns(b, s);
        if (chunk_rows(b, limit_ns, 0, 1) == 0)
            return;
        if (waiting != NULL) {
            admits = admit(b, waiting);
            if (!admits)
                continue;
        }
        i++; /* who was admitted stands at or before i, and who was there at i + 1 */
        if (batch_host_load(b, s))
            continue;
        uint32_t chunk =
            chunk_rows(b, limit_ns, s->computed_count, sequence_token_count(s) - s->computed_count);
        if (chunk == 0)
            return; /* it has its blocks and comes first among the prefills of the next step */
        chunk = chunk_to_score(b, s, chunk);
        if (chunk > 0) /* else only other prompts fit */
            add_entry(b, s, chunk);
    }
}

const struct step_plan *batcher_plan(batcher *b)
{
    CHECK(!b->has_plan);
    b->plan =
        (struct step_plan){.entries = b->entries, .copy_from = b->copy_from, .copy_to = b->copy_to};
    if (b->unknown_count > 0 && !decodes_have_room(b))
        return NULL; /* what is on its way may end somebody */
    batch_host_begin(b, generates(b));
    plan_decodes(b);
    if (b->plan.decode_count ==
        0) /* who generated may have lost its blocks, and loads must go on */
        batch_host_begin(b, false);
    struct step_shape decodes = plan_shape(b);
    b->plan_decodes_ns =
        cost_model_is_ready(&b->cost) ? cost_model_predict_ns(&b->cost, &decodes) : 0.0;
    set_limits(b);
    plan_prefills(b);
    batcher_plan_drafts(b);
    if (b->plan.entry_count == 0) {
        CHECK(b->unknown_count > 0 || (b->running_count == 0 && b->waiting.count == 0));
        return NULL;
    }
    struct step_shape shape = plan_shape(b);
    if (cost_model_is_ready(&b->cost))
        b->plan.predicted_ns = cost_model_predict_ns(&b->cost, &shape);
    batch_host_tell(b, &b->plan);
    b->has_plan = true;
    return &b->plan;
}

uint32_t step_plan_copy_run(const struct step_plan *plan, uint32_t start)
{
    /* A block that a preempted sequence gave back may be the source of an earlier copy and the
     * target of a later one. */
    uint32_t end = start;
    for (; end < plan->copy_count; end++) {
        for (uint32_t i = start; i < end; i++) {
            if (plan->copy_from[i] == plan->copy_to[end])
                return end - start;
        }
    }
    return end - start;
}
