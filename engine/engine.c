#include "engine_private.h"

#include <string.h>

#include "adapter_metrics.h"
#include "check.h"
#include "communicator.h"
#include "memory.h"
#include "rank_backend.h"
#include "step_flight.h"

/* Opening and closing: what is made when, and in which order it goes. The work is elsewhere: engine_submit.c and
 * live_request.c (requests come in), step_loop.c (tokens are made), publisher.c and text_stream.c (text goes out). */

/* Messages on their way to the publisher or back: some steps' worth of tokens, so that a publisher that is held up for a
 * moment does not hold up the step thread. */
#define MESSAGES_PER_SEQUENCE 4u
#define MESSAGES_MIN          256u

#define SEQUENCES_LIMIT    4096u      /* sequence_count_max */
#define BATCH_TOKENS_LIMIT (1u << 20) /* batch_tokens_max */
#define ADAPTERS_LIMIT     1024u      /* adapters_max */
#define ADAPTER_RANK_LIMIT 512u       /* adapter_rank_max; vLLM's largest */

static status check_options(engine *e, const struct engine_options *options,
                            struct error_note *note)
{
    if (options->sequence_count_max < 1 || options->sequence_count_max > SEQUENCES_LIMIT) {
        error_note_set(note, "sequence_count_max must be within 1 and %u, not %u", SEQUENCES_LIMIT,
                       options->sequence_count_max);
        return STATUS_INVALID;
    }
    if (options->batch_tokens_max < options->sequence_count_max ||
        options->batch_tokens_max > BATCH_TOKENS_LIMIT) {
        error_note_set(note,
                       "batch_tokens_max must be within sequence_count_max (%u) and %u, not %u",
                       options->sequence_count_max, BATCH_TOKENS_LIMIT, options->batch_tokens_max);
        return STATUS_INVALID;
    }
    if (options->queue_requests_max < 1 || options->queue_tokens_max < 1) {
        error_note_set(note, "queue_requests_max and queue_tokens_max must be at least 1");
        return STATUS_INVALID;
    }
    if (!(options->pinned_share >= 0.0 && options->pinned_share <= 1.0)) {
        error_note_set(note, "pinned_share must be within 0 and 1, not %g", options->pinned_share);
        return STATUS_INVALID;
    }
    if (options->draft_tokens_max > DRAFT_TOKENS_LIMIT) {
        error_note_set(note, "draft_tokens_max must be at most %u, not %u", DRAFT_TOKENS_LIMIT,
                       options->draft_tokens_max);
        return STATUS_INVALID;
    }
    if (options->draft_tokens_max > 0 &&
        (options->lookup_min < 1 || options->lookup_min > options->lookup_max ||
         options->lookup_max > PROMPT_LOOKUP_LENGTH_MAX)) {
        error_note_set(note, "1 <= lookup_min <= lookup_max <= %u must hold, not %u and %u",
                       PROMPT_LOOKUP_LENGTH_MAX, options->lookup_min, options->lookup_max);
        return STATUS_INVALID;
    }
    if (options->adapters_max > ADAPTERS_LIMIT ||
        (options->adapters_max > 0 &&
         (options->adapter_rank_max < 1 || options->adapter_rank_max > ADAPTER_RANK_LIMIT))) {
        error_note_set(note,
                       "adapters_max must be at most %u and adapter_rank_max within 1 and %u, not "
                       "%u and %u",
                       ADAPTERS_LIMIT, ADAPTER_RANK_LIMIT, options->adapters_max,
                       options->adapter_rank_max);
        return STATUS_INVALID;
    }
    if (options->rank_count > COMMUNICATOR_RANKS_MAX) {
        error_note_set(note, "rank_count must be at most %u, not %u", COMMUNICATOR_RANKS_MAX,
                       options->rank_count);
        return STATUS_INVALID;
    }
    if (!kv_type_find(options->kv_cache_dtype, &e->kv_type)) {
        error_note_set(note, "there is no kv_cache_dtype \"%s\"", options->kv_cache_dtype);
        return STATUS_INVALID;
    }
    if (backend_path_find(options->backend, &e->path))
        return STATUS_OK;
    error_note_set(note, "there is no backend \"%s\"", options->backend);
    return STATUS_INVALID;
}

static void fill_info(engine *e)
{
    const struct model_info *file = &e->file_info;
    e->info.architecture = file->architecture;
    e->info.name = e->file_info.name;
    e->info.parameter_count = file->parameter_count;
    e->info.weight_bytes = file->weight_bytes;
    e->info.kv_cache_dtype = kv_type_name(e->kv_type);
    e->info.kv_bytes_per_token = file->kv_block_bytes *
                                 rank_kv_copies(file->n_kv_heads, e->options.rank_count) /
                                 BLOCK_TOKENS;
    e->info.vocabulary = file->vocabulary;
    e->info.layers = file->n_layers;
    e->info.width = file->d;
    e->info.pooling = file->pooling.are_told && file->pooling.kind == POOLING_MEAN ? EMBEDDING_MEAN
                                                                                   : EMBEDDING_LAST;
    e->info.has_unknown_pooling = file->has_unknown_pooling ||
                                  (file->pooling.are_told && file->pooling.kind != POOLING_MEAN &&
                                   file->pooling.kind != POOLING_LAST);
    e->info.adapters_max = e->options.adapters_max;
    e->info.threads = e->options.threads != 0 ? e->options.threads : thread_core_count();
}

/* What the tokens are to the engine. */
static status read_tokens(engine *e)
{
    uint32_t count = tokenizer_token_count(e->tokens);
    e->end_tokens = memory_allocate_array(count, sizeof *e->end_tokens);
    if (e->end_tokens == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < count && i < e->info.vocabulary; i++) {
        if (tokenizer_is_end(e->tokens, (int32_t)i))
            e->end_tokens[e->end_token_count++] = (int32_t)i;
        size_t bytes = tokenizer_piece(e->tokens, (int32_t)i, true).bytes;
        e->piece_bytes_max = bytes > e->piece_bytes_max ? bytes : e->piece_bytes_max;
    }
    e->has_fim = model_file_fim_tokens(e->source, e->tokens, &e->fim);
    return STATUS_OK;
}

static status open_text(engine *e, struct error_note *note)
{
    struct tokenizer_folder text;
    status s = model_file_text(e->source, &text, note);
    if (s != STATUS_OK)
        return s;
    e->tokens = text.tokenizer;
    text.tokenizer = NULL;
    if (text.chat_template.bytes > 0)
        s = chat_template_create(buffer_slice(&text.chat_template), &e->chat, note);
    if (s != STATUS_OK)
        error_note_prefix(note, "chat template");
    e->chat_text = text.chat_template;
    text.chat_template = (struct buffer){0};
    tokenizer_folder_deinit(&text);
    return s == STATUS_OK ? read_tokens(e) : s;
}

static status open_file(engine *e, const struct engine_options *options, struct error_note *note)
{
    status s = model_source_open(options->model_path, &e->source, note);
    if (s == STATUS_OK)
        s = model_file_info(e->source, e->kv_type, &e->file_info, note);
    if (s != STATUS_OK)
        return s;
    fill_info(e);
    return open_text(e, note);
}

static status make_batcher(engine *e)
{
    random_bytes(&e->hash_key, sizeof e->hash_key);
    queue_gate_init(&e->gate, e->options.queue_requests_max, e->options.queue_tokens_max,
                    e->options.sequence_count_max);
    struct batcher_options options = {
        .block_count = e->info.block_count,
        .sequence_count_max = e->options.sequence_count_max,
        .batch_tokens_max = e->options.batch_tokens_max,
        .prefix_cache = e->options.prefix_cache,
        .pinned_blocks_max = (uint32_t)(e->options.pinned_share * e->info.block_count),
        .host_slots = e->host_slots,
        .hash_key = e->hash_key,
        .inter_token_target_ns = e->options.inter_token_target_ns,
        .inter_token_factor = e->options.inter_token_factor,
        .draft_tokens_max = e->options.draft_tokens_max,
        .mark_changed = e->options.on_mark,
        .mark_context = e->options.context,
        .gate = &e->gate,
    };
    return batcher_create(&options, &e->batch);
}

static status make_buffers(engine *e)
{
    struct step_buffers *b = &e->step;
    size_t rows = e->options.batch_tokens_max;
    size_t slots = e->options.sequence_count_max;
    size_t blocks = blocks_for_tokens(e->info.context_max);
    size_t logit_rows = engine_logit_rows_max(e);
    b->tokens = memory_allocate_array(rows, sizeof *b->tokens);
    b->row_position = memory_allocate_array(rows, sizeof *b->row_position);
    b->row_sequence = memory_allocate_array(rows, sizeof *b->row_sequence);
    b->row_start = memory_allocate_array(slots + 1, sizeof *b->row_start);
    b->block_tables = memory_allocate_array(slots * blocks, sizeof *b->block_tables);
    b->adapters = memory_allocate_array(slots, sizeof *b->adapters);
    b->logit_rows = memory_allocate_array(logit_rows, sizeof *b->logit_rows);
    b->hidden_rows = memory_allocate_array(rows, sizeof *b->hidden_rows);
    b->hidden_sums = memory_allocate_array(rows, sizeof *b->hidden_sums);
    b->results = memory_allocate_array(logit_rows, sizeof *b->results);
    b->sample_results = memory_allocate_array(slots, sizeof *b->sample_results);
    b->task_first = memory_allocate_array(slots + 1, sizeof *b->task_first);
    bool is_whole = b->tokens != NULL && b->row_position != NULL && b->row_sequence != NULL &&
                    b->row_start != NULL && b->block_tables != NULL && b->adapters != NULL &&
                    b->logit_rows != NULL && b->hidden_rows != NULL && b->hidden_sums != NULL &&
                    b->results != NULL && b->sample_results != NULL && b->task_first != NULL;
    return is_whole ? STATUS_OK : STATUS_NO_MEMORY;
}

/* What only a device needs. */
static status make_device_buffers(engine *e)
{
    struct step_buffers *b = &e->step;
    size_t slots = e->options.sequence_count_max, logit_rows = engine_logit_rows_max(e);
    if (!e->device_samples)
        return STATUS_OK;
    size_t words = (e->info.vocabulary + 31) / 32;
    b->device_samples = memory_allocate_array(slots, sizeof *b->device_samples);
    b->masks = memory_allocate_array(slots * words, sizeof *b->masks);
    b->host_rows = memory_allocate_array(logit_rows, sizeof *b->host_rows);
    b->is_host_row = memory_allocate_array(logit_rows, sizeof *b->is_host_row);
    bool is_whole = b->device_samples != NULL && b->masks != NULL && b->host_rows != NULL &&
                    b->is_host_row != NULL;
    return is_whole ? STATUS_OK : STATUS_NO_MEMORY;
}

static void free_buffers(struct step_buffers *b)
{
    memory_release(b->is_host_row);
    memory_release(b->host_rows);
    memory_release(b->masks);
    memory_release(b->device_samples);
    memory_release(b->task_first);
    memory_release(b->sample_results);
    memory_release(b->results);
    memory_release(b->hidden_sums);
    memory_release(b->hidden_rows);
    memory_release(b->logit_rows);
    memory_release(b->adapters);
    memory_release(b->block_tables);
    memory_release(b->row_start);
    memory_release(b->row_sequence);
    memory_release(b->row_position);
    memory_release(b->tokens);
}

static status make_grammars(engine *e)
{
    status s = grammar_vocabulary_create(e->tokens, e->info.vocabulary, e->end_tokens,
                                         e->end_token_count, &e->grammar_vocabulary);
    if (s != STATUS_OK)
        return s;
    return grammar_cache_create(e->grammar_vocabulary, &e->options.grammar_limits,
                                e->options.grammar_cache_bytes, &e->grammars);
}

static status make_messages(engine *e)
{
    size_t count = (size_t)MESSAGES_PER_SEQUENCE * e->options.sequence_count_max;
    count = count > MESSAGES_MIN ? count : MESSAGES_MIN;
    e->messages = memory_allocate_array(count, sizeof *e->messages);
    if (e->messages == NULL)
        return STATUS_NO_MEMORY;
    status s = ring_create(count, &e->outbox);
    if (s == STATUS_OK)
        s = ring_create(count, &e->free_messages);
    for (size_t i = 0; s == STATUS_OK && i < count; i++)
        s = ring_push(e->free_messages, &e->messages[i]);
    return s;
}

static status make_metrics(engine *e, const struct engine_options *options)
{
    if (options->metrics == NULL)
        return STATUS_OK;
    struct engine_metrics_options metrics = {
        .registry = options->metrics,
        .model_name = options->served_name != NULL ? options->served_name : e->info.name,
        .context_max = e->info.context_max,
        .block_count = e->info.block_count,
        .draft_tokens_max = e->options.draft_tokens_max,
        .cache_dtype = e->info.kv_cache_dtype,
        .has_host = e->host_slots > 0,
    };
    status s = engine_metrics_create(&metrics, &e->metrics);
    if (s == STATUS_OK)
        batcher_watch_blocks(e->batch, engine_metrics_block, e->metrics);
    if (s == STATUS_OK && e->options.adapters_max > 0)
        s = adapter_metrics_create(e, options->metrics, &e->adapter_metrics);
    return s;
}

static status make_state(engine *e, const struct engine_options *options)
{
    status s = adapter_table_open(&e->adapters, e->options.adapters_max);
    if (s == STATUS_OK)
        s = make_batcher(e);
    if (s == STATUS_OK)
        s = make_buffers(e);
    if (s == STATUS_OK)
        s = make_device_buffers(e);
    if (s == STATUS_OK)
        s = step_flights_open(&e->flights, e->options.sequence_count_max);
    if (s == STATUS_OK)
        s = make_grammars(e);
    if (s == STATUS_OK)
        s = make_messages(e);
    if (s == STATUS_OK)
        s = make_metrics(e, options);
    return s;
}

/* The step thread opens the device and loads the model, because the device belongs to the thread that opened it. In between
 * it is told how much of the device's memory is for what. */
static status open_device(engine *e, const struct engine_options *options, struct error_note *note)
{
    status s = thread_start(&e->step_thread, "step", step_thread_run, e);
    if (s != STATUS_OK)
        return s;
    e->has_step_thread = true;
    s = opening_wait(&e->device_opening, note);
    if (s != STATUS_OK)
        return s;
    s = engine_plan_memory(e, note);
    if (s == STATUS_OK)
        s = make_state(e, options);
    opening_tell(&e->planning, s);
    return s == STATUS_OK ? opening_wait(&e->opening, note) : s;
}

static status start_publisher(engine *e)
{
    status s = thread_start(&e->publisher_thread, "publisher", publisher_thread_run, e);
    e->has_publisher_thread = s == STATUS_OK;
    return s;
}

status engine_open(const struct engine_options *options, engine **out, struct error_note *note)
{
    engine *e = memory_allocate_array(1, sizeof *e);
    if (e == NULL)
        return STATUS_NO_MEMORY;
    int rc = pthread_mutex_init(&e->upload.lock, NULL);
    CHECK(rc == 0);
    e->options = *options;
    e->options.model_path = e->options.backend = e->options.served_name = NULL;
    e->options.slice_vendor = NULL;
    e->place = device_place_of(options->slice_vendor);
    e->options.weight_cache = e->options.kv_cache_dtype = NULL;
    e->model_path = options->model_path;
    e->weight_cache = options->weight_cache;
    status s = check_options(e, options, note);
    if (s == STATUS_OK)
        s = open_file(e, options, note);
    if (s == STATUS_OK)
        s = open_device(e, options, note);
    if (s == STATUS_OK)
        s = start_publisher(e);
    if (s != STATUS_OK) {
        engine_close(e);
        return s;
    }
    *out = e;
    return STATUS_OK;
}

void engine_drain(engine *e)
{
    atomic_store_explicit(&e->is_draining, true, memory_order_relaxed);
}

static void stop_threads(engine *e)
{
    atomic_store_explicit(&e->is_draining, true, memory_order_relaxed);
    if (e->has_step_thread) {
        atomic_store_explicit(&e->is_closing, true, memory_order_release);
        parking_signal(&e->step_parking);
        int rc = pthread_join(e->step_thread, NULL);
        CHECK(rc == 0);
    }
    if (e->has_publisher_thread) {
        atomic_store_explicit(&e->publisher_may_end, true, memory_order_release);
        parking_signal(&e->publisher_parking);
        int rc = pthread_join(e->publisher_thread, NULL);
        CHECK(rc == 0);
    }
    /* Stop strings found after the step thread's last look. */
    struct live_request *r = atomic_exchange_explicit(&e->inbox, NULL, memory_order_acquire);
    while (r != NULL) {
        struct live_request *next = r->inbox_next;
        live_request_release(r);
        r = next;
    }
}

void engine_close(engine *e)
{
    if (e == NULL)
        return;
    stop_threads(e);
    adapter_metrics_destroy(e->adapter_metrics);
    engine_metrics_destroy(e->metrics);
    ring_destroy(e->free_messages);
    ring_destroy(e->outbox);
    memory_release(e->messages);
    step_flights_close(&e->flights);
    free_buffers(&e->step);
    batcher_destroy(e->batch);
    adapter_table_close(&e->adapters);
    chat_template_destroy(e->chat);
    buffer_deinit(&e->chat_text);
    grammar_cache_destroy(e->grammars);
    grammar_vocabulary_destroy(e->grammar_vocabulary);
    memory_release(e->end_tokens);
    tokenizer_destroy(e->tokens);
    model_source_close(e->source);
    (void)pthread_mutex_destroy(&e->upload.lock);
    memory_release(e);
}

status engine_compile_grammar(engine *e, const struct grammar_source *source, grammar **out,
                              struct error_note *note)
{
    return grammar_cache_get(e->grammars, source, out, note);
}

const struct engine_info *engine_get_info(const engine *e)
{
    return &e->info;
}

const tokenizer *engine_get_tokenizer(const engine *e)
{
    return e->tokens;
}

struct text_slice engine_get_chat_template_text(const engine *e)
{
    return buffer_slice(&e->chat_text);
}

const struct fim_tokens *engine_get_fim_tokens(const engine *e)
{
    return e->has_fim ? &e->fim : NULL;
}

const chat_template *engine_get_chat_template(const engine *e)
{
    return e->chat;
}

void engine_get_stats(const engine *e, struct engine_stats *out)
{
#define GET(field) atomic_load_explicit(&e->stats.field, memory_order_relaxed)
    *out = (struct engine_stats){
        .running = GET(running),
        .waiting = atomic_load_explicit(&e->gate.requests, memory_order_relaxed),
        .waiting_tokens = atomic_load_explicit(&e->gate.tokens, memory_order_relaxed),
        .blocks_total = e->info.block_count,
        .blocks_free = GET(blocks_free),
        .blocks_cached = GET(blocks_kept),
        .blocks_pinned = GET(blocks_pinned),
        .steps = GET(steps),
        .last_step_ns = GET(last_step_ns),
        .prompt_tokens = GET(prompt_tokens),
        .generated_tokens = GET(generated_tokens),
        .preemptions = GET(preemptions),
        .prefix_query_tokens = GET(prefix_query_tokens),
        .prefix_hit_tokens = GET(prefix_hit_tokens),
        .host_saved_blocks = GET(host_saved_blocks),
        .host_loaded_blocks = GET(host_loaded_blocks),
        .draft_tokens = GET(draft_tokens),
        .accepted_tokens = GET(accepted_tokens),
        .busy_ns = GET(busy_ns),
        .device_wait_ns = GET(device_wait_ns),
        .device_busy_ns = GET(device_busy_ns),
        .step_ms = GET(step_ms),
        .prefill_ns_alone = GET(prefill_ns_alone),
        .prefill_ns_beside = GET(prefill_ns_beside),
    };
#undef GET
#define GET(field) atomic_load_explicit(&e->totals.field, memory_order_relaxed)
    out->totals = (struct engine_totals){
        .prefill_tokens = GET(prefill_tokens),
        .kv_tokens = GET(kv_tokens),
        .requests = GET(requests),
        .prompt_tokens = GET(prompt_tokens),
        .cached_tokens = GET(cached_tokens),
        .output_tokens = GET(output_tokens),
        .output_squares = GET(output_squares),
    };
    out->first_submitted_ns = GET(first_submitted_ns);
    out->first_token_ns = GET(first_token_ns);
#undef GET
}

static bool is_within(uint64_t busy_since_ns, uint64_t now_ns, uint64_t limit_ns)
{
    return busy_since_ns == 0 || now_ns <= busy_since_ns || now_ns - busy_since_ns <= limit_ns;
}

bool engine_is_alive(const engine *e, uint64_t now_ns, uint64_t limit_ns)
{
    if (atomic_load_explicit(&e->is_failed, memory_order_relaxed))
        return false;
    uint64_t step = atomic_load_explicit(&e->step_busy_since_ns, memory_order_relaxed);
    uint64_t publisher = atomic_load_explicit(&e->publisher_busy_since_ns, memory_order_relaxed);
    return is_within(step, now_ns, limit_ns) && is_within(publisher, now_ns, limit_ns);
}
