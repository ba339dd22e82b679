#include "batcher.h"

#include <stddef.h>

#include "batcher_private.h"
#include "check.h"
#include "memory.h"

/* Continuous batching: the batch is chosen anew at each step, so a request joins the step after it
 * came and leaves with its last token; nobody waits for the longest of a batch.
 *
 *                     submit                         plan: slot and blocks for all its tokens
 *                        |          +---------+ -------------------------------> +---------+
 *                        +--------> | waiting |                                  | running |
 *   pending siblings (n > 1) -----> +---------+ <------------------------------- +---------+
 *            |      no free slot                  plan: no block left for a better one |
 *            |                                                                         | end
 * (length, stop, cancel)
 *            +------------------------> running, sharing the prompt's blocks           v
 *               complete: prompt done, slot free                                     ended
 *
 * Order. One total order rules all: priority, then turn, then arrival, then index
 * (sequence_is_before). The queue gives its first; when blocks run out the running sequence that
 * comes last loses its own; the queue never lets anybody pass a head that does not fit. So the
 * first in the order always advances: it can take every other one's blocks, and a request that
 * could not run alone is refused before it comes here (batcher_tokens_max). That is why there is no
 * deadlock and no starvation among equals; a stream of better priorities may starve a worse one, as
 * its client asked.
 *
 * Turn. Tenants' prompts are read in turns: start-time fair queueing (Goyal, Vin and Cheng 1996).
 * A request's virtual start, fixed at its submission, is where the tenant's last prompt of its
 * priority ends, or now if that is later. The end is its tokens later; now is the latest start of
 * those that were given a slot, and the latest end of those that have left. So a tenant with twenty prompts in the queue stands behind
 * itself, and who comes next to it is before all but the first of them. Of one tenant alone the
 * start is the number of prompt tokens that it submitted before.
 *
 * A short question must not wait for a long document that came a moment before it. So its turn is
 * the start plus TURN_FACTOR times its own tokens: a later one passes it only while the tokens in
 * between are few for its length. All of its tenant that ever pass a prompt hold together at most
 * TURN_FACTOR - 1 times its own tokens, however many come, so it is late by a factor that is known
 * and not by the traffic; and those of another tenant, as many as it takes to reach its turn.
 * Tokens that the cache holds do not count: the long history of a conversation is a short prompt.
 *
 * Newcomers. A tenant with nothing in the batch must not pay for another's flood. Its prompt's own
 * tokens count once in its turn, so that a flood of shorter ones does not pass it. And where
 * tenants have two answers and more, on average, the steps that read it are as long as the target
 * allows, not the factor (batch_plan.c). Of each tenant only one request gets this. Without it a
 * prompt of 67 tokens beside 14 answers was read in five steps and more, and prompts of 11 that came
 * later went before it (bench/NOTES.md).
 *
 * Memory. A sequence gets the blocks for all its known tokens at once when it starts, not chunk by
 * chunk: two half-computed prompts that wait for each other's blocks cannot exist. Beyond that it
 * grows by a block every 16 tokens, so a start must leave one free block for each running sequence
 * (growth reserve): else each start would be paid for by a preemption a moment later.
 *
 * Preemption throws the KV away and puts the sequence back into its place in the queue with its
 * tokens, outputs included, as the prompt. The next token is a pure function of tokens, seed, index
 * and position, so the client sees a pause and nothing else. Full blocks stay findable in the
 * prefix cache until somebody needs them, so often only the last few tokens are computed again.
 * Where there is a tier below the cache they are found there after that (batch_host.c).
 *
 * Drafts. Behind the row of a sequence that generates, rows with guesses of its next tokens cost
 * little while the weights are what a step waits for. What is sampled from such a row is kept as
 * long as the tokens before it turn out to be those that were sampled, so the sequence says what
 * it would say without (batch_drafts.c).
 *
 * Outputs at submission. A request that another engine has begun comes with what its sequences have said; each is
 * then queued as one that was preempted.
 *
 * n > 1. Only sequence 0 computes the prompt; the others are pending. When its last row has given
 * logits they share its blocks and sample from the same row. Where slots are short, a sibling joins
 * the queue as if it were a request of its own; prefix cache or not, it gives the same tokens. The
 * last, partly filled block of the prompt is copied by whoever writes it while others still hold
 * it.
 *
 * Why the queue's bound is not here: the answer "full" belongs to the thread that brings the
 * request (queue_gate.h). */

/* Measured with one prompt of 3,900 tokens and 100-token ones behind it, beside eight streams
 * (bench/NOTES.md): 1 is arrival order; from 4 on the short ones no longer see the long one. */
#define TURN_FACTOR 4u

static void *make_array(uint32_t count, size_t item_bytes)
{
    return memory_allocate_array(count, item_bytes);
}

static status make_arrays(batcher *b)
{
    uint32_t slots = b->options.sequence_count_max;
    b->running = make_array(slots, sizeof *b->running);
    b->free_slots = make_array(slots, sizeof *b->free_slots);
    b->entries = make_array(slots, sizeof *b->entries);
    b->copy_from = make_array(slots, sizeof *b->copy_from);
    b->copy_to = make_array(slots, sizeof *b->copy_to);
    b->samples = make_array(slots, sizeof *b->samples);
    bool is_whole = b->running != NULL && b->free_slots != NULL && b->entries != NULL &&
                    b->copy_from != NULL && b->copy_to != NULL && b->samples != NULL;
    return is_whole ? STATUS_OK : STATUS_NO_MEMORY;
}

status batcher_create(const struct batcher_options *options, batcher **out)
{
    if (options->block_count == 0 || options->sequence_count_max == 0 ||
        options->batch_tokens_max < options->sequence_count_max ||
        options->draft_tokens_max > DRAFT_TOKENS_LIMIT ||
        (options->host_slots > 0 && !options->prefix_cache))
        return STATUS_INVALID;
    batcher *b = memory_allocate_array(1, sizeof *b);
    if (b == NULL)
        return STATUS_NO_MEMORY;
    b->options = *options;
    cost_model_init(&b->cost);
    draft_odds_init(&b->draft_odds);
    status s = make_arrays(b);
    for (uint32_t i = 0; s == STATUS_OK && i < options->sequence_count_max; i++)
        b->free_slots[i] = options->sequence_count_max - 1 - i; /* 0 first */
    if (s == STATUS_OK)
        s = block_allocator_create(options->block_count, &b->blocks);
    if (s == STATUS_OK && options->prefix_cache)
        s = prefix_cache_create(b->blocks, &options->hash_key, &b->prefixes);
    if (s == STATUS_OK)
        s = batch_host_create(b);
    if (s == STATUS_OK)
        block_allocator_set_pinned_max(b->blocks, options->pinned_blocks_max);
    if (s == STATUS_OK && b->prefixes != NULL && options->mark_changed != NULL)
        s = prefix_marks_create(options->block_count, options->mark_changed, options->mark_context,
                                &b->marks);
    if (b->marks != NULL)
        prefix_cache_set_marks(b->prefixes, b->marks);
    if (s != STATUS_OK) {
        batcher_destroy(b);
        return s;
    }
    *out = b;
    return STATUS_OK;
}

void batcher_destroy(batcher *b)
{
    if (b == NULL)
        return;
    CHECK(b->requests == NULL);
    batch_host_destroy(b);
    prefix_cache_destroy(b->prefixes);
    prefix_marks_destroy(b->marks);
    block_allocator_destroy(b->blocks);
    memory_release(b->samples);
    memory_release(b->copy_to);
    memory_release(b->copy_from);
    memory_release(b->entries);
    memory_release(b->free_slots);
    memory_release(b->running);
    memory_release(b);
}

void batcher_watch_blocks(batcher *b, block_watch_fn *watch, void *context)
{
    block_allocator_set_watch(b->blocks, watch, context);
}

void batcher_set_now(batcher *b, uint64_t now_ns)
{
    block_allocator_set_now(b->blocks, now_ns);
}

void batcher_pin_block(batcher *b, const struct sequence *s, uint32_t index)
{
    const struct batch_request *request = s->request;
    uint64_t until_ns = 0;
    for (uint32_t i = 0; i < request->pin_count; i++) {
        if (index < request->pins[i].blocks && request->pins[i].until_ns > until_ns)
            until_ns = request->pins[i].until_ns;
    }
    if (until_ns != 0) /* where no more may be pinned it stays an ordinary block */
        (void)block_pin(b->blocks, s->table.blocks[index], until_ns);
}

uint32_t batcher_tokens_max(const batcher *b)
{
    uint64_t tokens = (uint64_t)b->options.block_count * BLOCK_TOKENS;
    return tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
}

struct hash128 sequence_block_hash(const struct sequence *s, uint32_t index)
{
    CHECK(index < s->hash_count);
    uint32_t prompt_blocks = s->request->prompt_count / BLOCK_TOKENS;
    return index < prompt_blocks ? s->request->prompt_hashes[index]
                                 : s->output_hashes[index - prompt_blocks];
}

void batcher_update_waiting(batcher *b, struct batch_request *request)
{
    bool is_waiting = request->live_count > 0 && request->running_count == 0;
    if (is_waiting == request->is_waiting)
        return;
    request->is_waiting = is_waiting;
    if (is_waiting)
        queue_gate_reenter(b->options.gate, request->prompt_count);
    else
        queue_gate_leave(b->options.gate, request->prompt_count);
}

void batcher_queue_sequence(batcher *b, struct sequence *s)
{
    CHECK(s->table.count == 0 && s->unknown_count == 0);
    s->state = SEQUENCE_WAITING;
    s->computed_count = 0;
    sequence_queue_insert(&b->waiting, s);
}

static bool is_tenant_running(const batcher *b, uint64_t tenant)
{
    uint32_t i = 0;
    while (i < b->running_count && b->running[i]->request->tenant != tenant)
        i++;
    return i < b->running_count;
}

static void advance_now(batcher *b, uint64_t to)
{
    b->virtual_now = to > b->virtual_now ? to : b->virtual_now;
}

void batcher_start_sequence(batcher *b, struct sequence *s)
{
    CHECK(b->running_count < b->options.sequence_count_max);
    b->running_tenant_count += !is_tenant_running(b, s->request->tenant);
    s->slot = b->free_slots[b->options.sequence_count_max - b->running_count - 1];
    s->has_slot_state = false;
    uint32_t at = b->running_count++;
    while (at > 0 && sequence_is_before(s, b->running[at - 1])) {
        b->running[at] = b->running[at - 1];
        at--;
    }
    b->running[at] = s;
    s->state = SEQUENCE_RUNNING;
    advance_now(b, s->request->virtual_start);
    if (s->request->running_count++ == 0)
        b->running_request_count++;
    batcher_update_waiting(b, s->request);
    queue_gate_set_free_slots(b->options.gate, b->options.sequence_count_max - b->running_count);
}

void batcher_stop_sequence(batcher *b, struct sequence *s)
{
    uint32_t at = 0;
    while (at < b->running_count && b->running[at] != s)
        at++;
    CHECK(at < b->running_count);
    b->running_count--;
    b->free_slots[b->options.sequence_count_max - b->running_count - 1] = s->slot;
    for (; at < b->running_count; at++)
        b->running[at] = b->running[at + 1];
    b->running_tenant_count -= !is_tenant_running(b, s->request->tenant);
    block_table_release(&s->table, b->blocks);
    if (--s->request->running_count == 0)
        b->running_request_count--;
    queue_gate_set_free_slots(b->options.gate, b->options.sequence_count_max - b->running_count);
}

/* Prompt tokens that neither the cache nor the tier below holds now. Some may be gone when the request starts. */
static uint32_t uncached_tokens(const batcher *b, const struct batch_request *request)
{
    uint32_t blocks = request->prompt_count / BLOCK_TOKENS;
    uint32_t held = 0;
    while (b->prefixes != NULL && held < blocks &&
           (prefix_cache_has(b->prefixes, request->prompt_hashes[held]) ||
            (b->host.is_open && host_tier_has(b->host.tier, request->prompt_hashes[held]))))
        held++;
    uint32_t uncached = request->prompt_count - held * BLOCK_TOKENS;
    return uncached > 0 ? uncached : 1;
}

/* Its place among the tenants' prompts. A look at every live request, but for a tenant that has some: its latest stand
 * first. */
static void set_turn(const batcher *b, struct batch_request *request, uint32_t own)
{
    const struct batch_request *other = b->requests;
    bool is_newcomer = other != NULL;
    uint64_t start = b->virtual_now;
    for (; other != NULL; other = other->next) {
        if (other->tenant != request->tenant)
            continue;
        is_newcomer = false;
        if (other->priority != request->priority)
            continue;
        start = other->virtual_end > start ? other->virtual_end : start;
        break;
    }
    request->virtual_start = start;
    request->virtual_end = start + own;
    request->turn = start + (is_newcomer ? 1 : TURN_FACTOR) * (uint64_t)own;
}

void batcher_submit(batcher *b, struct batch_request *request)
{
    CHECK(request->sequence_count > 0 && request->prompt_count > 0);
    CHECK(b->prefixes == NULL || request->prompt_hashes != NULL);
    CHECK(!request->is_prompt_only || request->sequence_count == 1);
    bool has_outputs = false;
    for (uint32_t i = 0; i < request->sequence_count; i++) {
        struct sequence *s = &request->sequences[i];
        has_outputs |= s->output_count > 0;
        CHECK(s->output_count < s->output_count_max);
        CHECK(s->request == request && s->index == i && s->output_count_max > 0);
        CHECK((uint64_t)request->prompt_count + s->output_count_max <= batcher_tokens_max(b));
        CHECK(s->table.capacity >= sequence_blocks_max(request->prompt_count, s->output_count_max));
        s->state = SEQUENCE_PENDING;
        s->hash_count = b->prefixes != NULL ? request->prompt_count / BLOCK_TOKENS : 0;
    }
    request->live_count = request->sequence_count;
    request->is_waiting = true; /* the gate has counted it */
    set_turn(b, request, uncached_tokens(b, request));
    request->previous = NULL;
    request->next = b->requests;
    if (b->requests != NULL)
        b->requests->previous = request;
    b->requests = request;
    b->live_request_count++;
    /* Those that have parted already do not wait for the first one's prompt. */
    for (uint32_t i = 0; i < (has_outputs ? request->sequence_count : 1); i++)
        batcher_queue_sequence(b, &request->sequences[i]);
}

static void forget_request(batcher *b, struct batch_request *request)
{
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        b->requests = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
    b->live_request_count--;
    if (request->was_admitted)
        advance_now(b, request->virtual_end);
}

void batcher_end_sequence(batcher *b, struct sequence *s)
{
    CHECK(!b->has_plan && s->state != SEQUENCE_ENDED);
    if (s->state == SEQUENCE_RUNNING)
        batcher_stop_sequence(b, s);
    else if (s->state == SEQUENCE_WAITING)
        sequence_queue_remove(&b->waiting, s);
    bool was_sampled = s->output_count + s->unknown_count > 0;
    CHECK(s->index != 0 || was_sampled || s->request->live_count == 1);
    b->unknown_count -= s->unknown_count;
    s->unknown_count = 0;
    s->state = SEQUENCE_ENDED;
    b->refused = NULL; /* may have been this one, and its address may be used again */
    struct batch_request *request = s->request;
    request->live_count--;
    batcher_update_waiting(b, request);
    if (request->live_count == 0)
        forget_request(b, request);
}

void batcher_end_request(batcher *b, struct batch_request *request)
{
    /* From the last: sequence 0 computes the prompt for those that are pending. */
    for (uint32_t i = request->sequence_count; i-- > 0;) {
        if (request->sequences[i].state != SEQUENCE_ENDED)
            batcher_end_sequence(b, &request->sequences[i]);
    }
}

void batcher_abandon(batcher *b)
{
    b->has_plan = false;
    batch_host_done(b);
}

void batcher_extend(batcher *b, struct sequence *s, uint32_t sample)
{
    CHECK(!b->has_plan && s->state == SEQUENCE_RUNNING);
    CHECK(!sequence_is_full(s) && s->unknown_count < 2 && s->draft_count == 0);
    s->unknown_count++;
    s->unknown_sample = sample;
    b->unknown_count++;
}

/* A block may have been computed before all of its tokens were known. */
static void publish_known(batcher *b, struct sequence *s)
{
    uint32_t known = sequence_known_count(s);
    if (b->prefixes != NULL && known % BLOCK_TOKENS == 0 && s->computed_count >= known)
        batcher_publish_blocks(b, s, known / BLOCK_TOKENS - 1);
}

void batcher_append(batcher *b, struct sequence *s, int32_t token)
{
    CHECK(!b->has_plan && s->state == SEQUENCE_RUNNING);
    CHECK(s->output_count < s->output_count_max);
    s->outputs[s->output_count++] = token;
    if (s->unknown_count > 0) {
        s->unknown_count--;
        b->unknown_count--;
        publish_known(b, s);
    }
    if (s->draft_count > 0 && *s->drafts == token) {
        s->drafts++;
        s->draft_count--;
        batcher_count_computed(b, s, 1);
    } else {
        s->draft_count = 0;
    }
    if (s->lookup == NULL)
        return;
    uint32_t length = prompt_lookup_length(s->lookup);
    bool is_hit = prompt_lookup_append(s->lookup);
    if (length > 0)
        draft_odds_note(&s->odds, &b->draft_odds, length, is_hit);
}

struct batch_request *batcher_any_request(const batcher *b)
{
    return b->requests;
}

void batcher_forget(batcher *b)
{
    CHECK(b->requests == NULL);
    if (b->host.is_open)
        prefix_cache_set_leave(b->prefixes, NULL, NULL);
    block_allocator_forget(b->blocks);
    batch_host_forget(b);
    if (b->host.is_open)
        batcher_open_host(b, b->host.block_ns);
}

void batcher_get_stats(const batcher *b, struct batcher_stats *out)
{
    *out = (struct batcher_stats){
        .running_sequences = b->running_count,
        .running_requests = b->running_request_count,
        .waiting_requests = b->live_request_count - b->running_request_count,
        .blocks = block_allocator_counts(b->blocks),
        .preemptions = b->preemptions,
        .prefix_query_tokens = b->prefix_query_tokens,
        .prefix_hit_tokens = b->prefix_hit_tokens,
        .recomputed_tokens = b->recomputed_tokens,
        .lost_tokens = b->lost_tokens,
    };
    batch_host_get_stats(b, &out->host);
}

/* Is the running list in order, and does every sequence in it have what it says? */
static bool running_is_consistent(const batcher *b)
{
    for (uint32_t i = 0; i < b->running_count; i++) {
        const struct sequence *s = b->running[i];
        if (s->state != SEQUENCE_RUNNING || s->computed_count > sequence_token_count(s) ||
            s->table.count < blocks_for_tokens(s->computed_count))
            return false;
        if (s->output_count + s->unknown_count > s->output_count_max ||
            s->slot >= b->options.sequence_count_max)
            return false;
        for (uint32_t j = 0; j < b->options.sequence_count_max - b->running_count; j++)
            if (b->free_slots[j] == s->slot)
                return false;
        if (i > 0 && !sequence_is_before(b->running[i - 1], s))
            return false;
    }
    return true;
}

bool batcher_is_consistent(const batcher *b)
{
    uint32_t running = 0, waiting = 0, requests = 0, running_requests = 0, tenants = 0;
    uint32_t unknown = 0;
    for (const struct batch_request *r = b->requests; r != NULL; r = r->next) {
        uint32_t live = 0, mine = 0;
        for (uint32_t i = 0; i < r->sequence_count; i++) {
            const struct sequence *s = &r->sequences[i];
            live += s->state != SEQUENCE_ENDED;
            mine += s->state == SEQUENCE_RUNNING;
            waiting += s->state == SEQUENCE_WAITING;
            unknown += s->unknown_count;
            if (s->state != SEQUENCE_RUNNING && (s->table.count != 0 || s->unknown_count != 0))
                return false;
        }
        if (live != r->live_count || mine != r->running_count ||
            r->is_waiting != (live > 0 && mine == 0))
            return false;
        running += mine;
        running_requests += mine > 0;
        requests++;
    }
    if (running != b->running_count || waiting != b->waiting.count ||
        requests != b->live_request_count || running_requests != b->running_request_count ||
        unknown != b->unknown_count)
        return false;
    const struct block_table **tables = memory_allocate_array(running, sizeof(void *));
    CHECK(tables != NULL);
    for (uint32_t i = 0; i < running; i++) {
        uint32_t first = 0;
        while (b->running[first]->request->tenant != b->running[i]->request->tenant)
            first++;
        tenants += first == i;
        tables[i] = &b->running[i]->table;
    }
    bool is_consistent = running_is_consistent(b) && tenants == b->running_tenant_count &&
                         block_tables_are_consistent(b->blocks, tables, running) &&
                         block_allocator_is_consistent(b->blocks) &&
                         (b->prefixes == NULL || prefix_cache_is_consistent(b->prefixes)) &&
                         (b->host.tier == NULL || host_tier_is_consistent(b->host.tier));
    memory_release(tables);
    return is_consistent;
}
