#include "engine_private.h"

#include "clock.h"
#include "device_samples.h"
#include "prefix_cache.h"

/* Everything a request needs while it lives is allocated here, on the thread that submits it, so that the step and the
 * publisher thread never allocate. */

/* Ceiling of one request's memory. 128 sequences of 128 Ki tokens with every penalty on stay below it. */
#define REQUEST_BYTES_MAX ((size_t)4 << 30)

static status make_prompt_hashes(engine *e, struct live_request *r)
{
    struct batch_request *batch = &r->batch;
    uint32_t count = batch->prompt_count / BLOCK_TOKENS;
    struct hash128 *hashes = arena_allocate_array(r->memory, count, sizeof *hashes);
    if (hashes == NULL)
        return STATUS_NO_MEMORY;
    struct hash128 parent = batch->hash_root;
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = parent =
            prefix_hash_next(&e->hash_key, parent, i, batch->prompt + i * BLOCK_TOKENS);
    batch->prompt_hashes = hashes;
    return STATUS_OK;
}

/* What drafts are looked up in. */
static status make_prompt_runs(engine *e, struct live_request *r)
{
    struct prompt_index_options options = {.prompt = r->batch.prompt,
                                           .prompt_count = r->batch.prompt_count,
                                           .length_min = e->options.lookup_min,
                                           .length_max = e->options.lookup_max,
                                           .prediction = r->caller->prediction,
                                           .prediction_count = r->caller->prediction_count};
    return prompt_index_create(&options, r->memory, &r->prompt_runs);
}

/* The batcher's view of sequence `index`. */
static status make_sequence(engine *e, struct live_request *r, uint32_t index,
                            uint32_t output_count_max)
{
    uint32_t prompt_count = r->batch.prompt_count;
    uint32_t blocks = sequence_blocks_max(prompt_count, output_count_max);
    uint32_t *table = arena_allocate_array(r->memory, blocks, sizeof *table);
    struct sequence *s = &r->batch.sequences[index];
    s->request = &r->batch;
    s->index = index;
    s->outputs = arena_allocate_array(r->memory, output_count_max, sizeof *s->outputs);
    s->output_count_max = output_count_max;
    if (table == NULL || s->outputs == NULL)
        return STATUS_NO_MEMORY;
    block_table_init(&s->table, table, blocks);
    if (r->prompt_runs != NULL) {
        status made = prompt_lookup_create(r->prompt_runs, s->outputs, output_count_max, r->memory,
                                           &s->lookup);
        if (made != STATUS_OK)
            return made;
    }
    if (!e->options.prefix_cache)
        return STATUS_OK;
    uint32_t output_blocks = blocks - prompt_count / BLOCK_TOKENS;
    s->output_hashes = arena_allocate_array(r->memory, output_blocks, sizeof *s->output_hashes);
    return s->output_hashes != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static struct text_slice piece_of(const void *context, int32_t token)
{
    return tokenizer_piece(context, token, true);
}

/* The sampler and the text stream of sequence `index`. */
static status make_stream(engine *e, struct live_request *r, uint32_t index,
                          uint32_t output_count_max, size_t stop_bytes_max)
{
    struct sampler_options options = {
        .params = &r->caller->sampling,
        .vocabulary = e->info.vocabulary,
        .index = index,
        .prompt = r->batch.prompt,
        .prompt_count = r->batch.prompt_count,
        .output_count_max = output_count_max,
        .end_tokens = e->end_tokens,
        .end_token_count = e->end_token_count,
        .allowed = r->grammar != NULL ? r->constraints[index].allowed : NULL,
        .piece = piece_of,
        .piece_context = e->tokens,
    };
    status s = sampler_create(&options, r->memory, &r->samplers[index]);
    if (s != STATUS_OK)
        return s;
    r->streams[index].stop = -1;
    return text_stream_init(&r->streams[index].text, r->stops, e->piece_bytes_max, stop_bytes_max,
                            r->memory);
}

/* Where each sequence stands in the grammar. */
static status make_constraints(engine *e, struct live_request *r)
{
    uint32_t n = r->caller->n;
    uint32_t words = grammar_mask_words(e->grammar_vocabulary);
    r->grammar = r->caller->grammar;
    if (r->grammar == NULL)
        return STATUS_OK;
    grammar_retain(r->grammar);
    r->constraints = arena_allocate_array(r->memory, n, sizeof *r->constraints);
    if (r->constraints == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct constraint *c = &r->constraints[i];
        c->allowed = arena_allocate_array(r->memory, words, sizeof *c->allowed);
        status s = c->allowed != NULL ? STATUS_OK : STATUS_NO_MEMORY;
        if (s == STATUS_OK)
            s = grammar_matcher_create(r->grammar, r->memory, &c->matcher);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* How much each sequence has reasoned. */
static status make_reasoning(struct live_request *r)
{
    const struct engine_request *caller = r->caller;
    if (caller->reasoning == NULL)
        return STATUS_OK;
    r->reasoning = arena_allocate_array(r->memory, caller->n, sizeof *r->reasoning);
    if (r->reasoning == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < caller->n; i++)
        reasoning_watch_init(&r->reasoning[i], caller->reasoning);
    return STATUS_OK;
}

static status make_sequences(engine *e, struct live_request *r, uint32_t output_count_max)
{
    const struct engine_request *caller = r->caller;
    size_t stop_bytes_max = 0;
    for (uint32_t i = 0; i < caller->stop_count; i++) {
        if (caller->stops[i].bytes > stop_bytes_max)
            stop_bytes_max = caller->stops[i].bytes;
    }
    r->batch.sequences = arena_allocate_array(r->memory, caller->n, sizeof *r->batch.sequences);
    r->samplers = arena_allocate_array(r->memory, caller->n, sizeof *r->samplers);
    r->streams = arena_allocate_array(r->memory, caller->n, sizeof *r->streams);
    if (r->batch.sequences == NULL || r->samplers == NULL || r->streams == NULL)
        return STATUS_NO_MEMORY;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < caller->n; i++) {
        s = make_sequence(e, r, i, output_count_max);
        if (s == STATUS_OK)
            s = make_stream(e, r, i, output_count_max, stop_bytes_max);
    }
    return s;
}

static void fill_pins(struct live_request *r)
{
    for (uint32_t i = 0; i < r->caller->pin_count; i++) {
        const struct engine_pin *pin = &r->caller->pins[i];
        r->pins[i] = (struct block_pin){.blocks = pin->tokens / BLOCK_TOKENS,
                                        .until_ns = r->submitted_ns + pin->ttl_ns};
    }
    r->batch.pins = r->pins;
    r->batch.pin_count = r->caller->pin_count;
}

static status fill(engine *e, struct live_request *r, uint32_t output_count_max)
{
    const struct engine_request *caller = r->caller;
    r->batch.prompt = caller->prompt;
    r->batch.prompt_count = caller->prompt_count;
    r->batch.hash_root =
        adapter_hash_root(r->adapter, &e->hash_key, prefix_hash_root(caller->cache_salt));
    r->batch.marks = caller->marks;
    r->batch.mark_count = caller->mark_count;
    r->batch.priority = caller->priority;
    r->batch.tenant = caller->tenant;
    r->batch.scores_prompt = caller->prompt_scores != NULL;
    r->batch.sequence_count = caller->n;
    fill_pins(r);
    r->batch.is_prompt_only = caller->embedding != NULL;
    r->batch.computes_all = r->batch.is_prompt_only && caller->pooling == EMBEDDING_MEAN;
    if (r->batch.is_prompt_only) {
        r->hidden = arena_allocate_array(r->memory, e->info.width, sizeof *r->hidden);
        if (r->hidden == NULL)
            return STATUS_NO_MEMORY;
    }
    status s = STATUS_OK;
    if (e->options.prefix_cache)
        s = make_prompt_hashes(e, r);
    if (s == STATUS_OK && e->options.draft_tokens_max > 0 && !r->batch.is_prompt_only &&
        (caller->prediction_count > 0 || !e->options.drafts_predictions_only))
        s = make_prompt_runs(e, r);
    if (s == STATUS_OK && caller->stop_count > 0)
        s = stop_matcher_create(caller->stops, caller->stop_count, caller->include_stop, &r->stops);
    if (s == STATUS_OK)
        s = make_constraints(e, r);
    if (s == STATUS_OK)
        s = make_reasoning(r);
    if (s == STATUS_OK)
        s = device_wishes_create(e, r);
    if (s == STATUS_OK)
        s = make_sequences(e, r, output_count_max);
    return s;
}

status live_request_create(engine *e, struct engine_request *caller, uint32_t output_count_max,
                           struct live_request **out)
{
    arena *memory;
    status s = arena_create(REQUEST_BYTES_MAX, &memory);
    if (s != STATUS_OK)
        return s;
    struct live_request *r = arena_allocate(memory, sizeof *r);
    if (r == NULL) {
        arena_destroy(memory);
        return STATUS_NO_MEMORY;
    }
    r->engine = e;
    r->caller = caller;
    r->memory = memory;
    r->submitted_ns = clock_now_ns();
    r->adapter = caller->adapter;
    adapter_begin_request(r->adapter);
    atomic_init(&r->references, 1);
    s = fill(e, r, output_count_max);
    if (s != STATUS_OK) {
        live_request_discard(r);
        return s;
    }
    *out = r;
    return STATUS_OK;
}

void live_request_discard(struct live_request *r)
{
    adapter_end_request(r->adapter, false);
    live_request_release(r);
}

void live_request_retain(struct live_request *r)
{
    /* Relaxed: the caller holds a reference already. */
    atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
}

void live_request_release(struct live_request *r)
{
    /* Release: what this thread did to the request comes before the free; acquire: on the thread that frees. */
    if (atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) != 1)
        return;
    stop_matcher_destroy(r->stops);
    grammar_release(r->grammar);
    arena_destroy(r->memory);
}

void live_request_signal(struct live_request *r, uint32_t signals)
{
    engine *e = r->engine;
    /* Release pairs with the step thread's acquire exchange: what was written before the signal is seen with it. */
    live_request_retain(r);
    uint32_t before =
        atomic_fetch_or_explicit(&r->signals, signals | SIGNAL_QUEUED, memory_order_acq_rel);
    if ((before & SIGNAL_QUEUED) != 0) {
        live_request_release(r); /* it is in the inbox with a reference of its own */
    } else {
        struct live_request *head = atomic_load_explicit(&e->inbox, memory_order_relaxed);
        do {
            r->inbox_next = head;
        } while (!atomic_compare_exchange_weak_explicit(&e->inbox, &head, r, memory_order_release,
                                                        memory_order_relaxed));
    }
    parking_signal(&e->step_parking);
}
