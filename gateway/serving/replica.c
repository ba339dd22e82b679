/* The replica as an object: opened, loaded, closed. The order of closing is the point of this file:
 *
 *   phase CLOSING       handlers and jobs keep their hands off the engine
 *   workers joined      nobody submits any more
 *   a turn of all loops those that looked at the phase before are done
 *   engine closed       the last events come; each job that was left is told so
 *   jobs gone           the loops have sent it
 *   server stopped, freed */

#include "replica_life.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "gateway_link_calls.h"
#include "heartbeat.h"
#include "job.h"
#include "log.h"
#include "memory.h"
#include "reply.h"
#include "thread.h"

/* Jobs between loops and workers. Each waits for one parse and one tokenization, about a
 * millisecond, so more than this is a second of waiting for nothing: better to say so. */
#define PREPARE_QUEUE_MAX 1024u

/* How long answers that are complete may take to leave when the replica closes. */
#define FLUSH_NS NS_PER_SECOND

/* Mean tokens of an answer before any has finished. */
#define ANSWER_TOKENS_GUESS 128u
#define RETRY_MS_MIN        250.0
#define RETRY_MS_MAX        60000.0

/* Half of what waits, at the pace of the passes so far. */
static uint64_t encoder_retry_ms(const encoder *e)
{
    struct encoder_stats stats;
    encoder_get_stats(e, &stats);
    double passes = stats.tokens > 0 ? (double)stats.waiting_tokens / 2 * (double)stats.passes /
                                           (double)stats.tokens
                                     : 1;
    double ms = passes * (double)stats.pass_ms;
    ms = ms < RETRY_MS_MIN ? RETRY_MS_MIN : ms;
    return (uint64_t)(ms > RETRY_MS_MAX ? RETRY_MS_MAX : ms);
}

const tokenizer *replica_tokenizer(const struct replica *replica)
{
    return replica->engine != NULL ? engine_get_tokenizer(replica->engine)
                                   : encoder_get_tokenizer(replica->encoder);
}

uint32_t replica_context_max(const struct replica *replica)
{
    return replica->engine != NULL ? engine_get_info(replica->engine)->context_max
                                   : encoder_get_info(replica->encoder)->context_max;
}

const char *replica_backend(const struct replica *replica)
{
    return replica->engine != NULL ? engine_get_info(replica->engine)->backend
                                   : encoder_get_info(replica->encoder)->backend;
}

uint64_t replica_retry_after_ms(const struct replica *replica)
{
    struct engine_stats stats;
    if (replica->engine == NULL)
        return encoder_retry_ms(replica->encoder);
    engine_get_stats(replica->engine, &stats);
    uint64_t count = atomic_load_explicit(&replica->finished_count, memory_order_relaxed);
    uint64_t tokens = atomic_load_explicit(&replica->finished_tokens, memory_order_relaxed);
    double mean = count > 0 ? (double)tokens / (double)count : ANSWER_TOKENS_GUESS;
    double places = stats.running > 0 ? stats.running : 1;
    double ahead = stats.waiting > 2 ? stats.waiting / 2.0 : 1;
    double ms = mean * (double)stats.step_ms * ahead / places;
    ms = ms < RETRY_MS_MIN ? RETRY_MS_MIN : ms;
    return (uint64_t)(ms > RETRY_MS_MAX ? RETRY_MS_MAX : ms);
}

static void set_limits(struct replica *replica)
{
    const struct config_limits *limits = &replica->config->limits;
    replica->limits = (struct api_limits){
        .messages_max = (uint32_t)limits->messages,
        .stops_max = (uint32_t)limits->stops,
        .n_max = (uint32_t)limits->n,
        .logit_bias_max = (uint32_t)limits->logit_bias,
        .prompt_scores_max = (uint32_t)limits->prompt_logprobs,
        .json_depth_max = (uint32_t)limits->json_depth,
        .json_values_max = (uint32_t)limits->json_values,
        .stop_bytes_max = limits->stop_bytes,
        .prompt_bytes_max = limits->prompt_bytes,
        .grammar_bytes_max = replica->config->grammar.source_bytes,
        .strict = replica->config->server.strict_params,
        .pins_prompts =
            replica->model->enable_prefix_caching && replica->model->prompt_cache_pin_max > 0,
        .trusts_templates = replica->model->trust_request_chat_template,
    };
}

static status create_metrics(struct replica *replica)
{
    static const double bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                    0.05,   0.1,   0.25,   0.5,   1,    2.5};
    struct metrics_family_options options = {
        .kind = METRICS_HISTOGRAM,
        .name = "penstock_prepare_seconds",
        .help = "Time to parse, render and tokenize a request, and to hand it to the engine.",
        .bounds = bounds,
        .bound_count = sizeof bounds / sizeof bounds[0],
    };
    metrics_family *family = NULL;
    status s = metrics_registry_create(&replica->metrics);
    if (s == STATUS_OK)
        s = metrics_family_create(replica->metrics, &options, &family);
    if (s == STATUS_OK)
        replica->prepare_seconds = metrics_series_get(family, NULL);
    if (s == STATUS_OK)
        s = start_moments_init(&replica->start, replica->metrics);
    return s;
}

/* All come from one address, the gateway's, which bounds what it sends. */
static void trust_one_address(struct http_limits *limits)
{
    limits->connection_per_address_max = limits->accepts_per_second_max = 0;
    limits->upload_bytes_max = limits->buffered_bytes_max;
}

/* Formatting 50k events/s is 1/6 core. */
static uint32_t loop_count(void)
{
    return thread_core_count() > 4 ? 2 : 1;
}

/* A gateway sends what its replicas tell it. */
static status open_tracing(struct replica *replica, struct error_note *note)
{
    const struct config_tracing *settings = &replica->config->observability.tracing;
    if (replica->is_trusted || settings->endpoint[0] == '\0')
        return STATUS_OK;
    return replica_tracing_open(settings, replica->model->name, loop_count(), replica->metrics,
                                &replica->tracing, note);
}

static status create_server(struct replica *replica, const char *listen, struct error_note *note)
{
    const struct config_server *server = &replica->config->server;
    bool has_tls = !replica->is_trusted && server->tls_certificate != NULL &&
                   server->tls_certificate[0] != '\0';
    struct http_listener_options listener = {
        .address = listen,
        .certificate = has_tls ? server->tls_certificate : NULL,
        .key = has_tls ? server->tls_key : NULL,
        .handler = replica_handle,
        .context = replica,
        .headers = api_answer_headers,
        .header_count = api_answer_header_count,
        .time_header = API_TIME_HEADER,
    };
    struct http_server_options options = {
        .loop_count = loop_count(),
        .limits = config_http_limits(replica->config),
        .listeners = &listener,
        .listener_count = 1,
        .metrics = replica->metrics,
        .server_name = "penstock/" PENSTOCK_VERSION,
    };
    if (replica->link != NULL) {
        gateway_link_listen(replica->link, &listener);
        trust_one_address(&options.limits);
    }
    status s = http_server_create(&options, &replica->http, note);
    if (s != STATUS_OK)
        return s;
    s = http_server_start(replica->http, NULL, NULL);
    if (s != STATUS_OK)
        error_note_set(note, "cannot start the HTTP loops: %s", status_name(s));
    return s;
}

static status create_response_store(struct replica *replica)
{
    const struct config_responses *responses = &replica->config->responses;
    struct response_store_limits limits = {
        .bytes_max = responses->memory_bytes,
        .count_max = (uint32_t)responses->count,
        .ttl_ns = responses->ttl_ns,
    };
    return response_store_create(&limits, &replica->salt_key, &replica->responses);
}

/* A gateway that has started us has made the file beside the socket; without one nobody looks. One on another machine is told what
 * we write for ourselves. */
static status open_page(struct replica *replica, const char *listen)
{
    char path[256];
    if (replica->link != NULL)
        return shared_page_writer_create(&replica->page);
    int bytes = snprintf(path, sizeof path, "%s.page", listen + strlen("unix:"));
    if (!replica->is_trusted || bytes < 0 || (size_t)bytes >= sizeof path)
        return STATUS_OK;
    status s = shared_page_writer_open(path, &replica->page);
    if (s != STATUS_OK && s != STATUS_NOT_FOUND)
        log_warn("gateway/serving", "the gateway is not told what the cache holds: %s: %s", path,
                 status_name(s));
    return STATUS_OK;
}

static void write_page(shared_page_writer *page, const engine *e, const struct engine_stats *now)
{
    struct shared_page_state state = {
        .running = now->running,
        .waiting = now->waiting,
        .waiting_tokens = now->waiting_tokens,
        .blocks_total = now->blocks_total,
        .blocks_free = now->blocks_free,
        .blocks_cached = now->blocks_cached,
        .sleep_level = engine_sleep_level(e),
        .steps = now->steps,
        .last_step_ns = now->last_step_ns,
        .busy_ns = now->busy_ns,
        .step_ms = now->step_ms,
        .prefill_ns_alone = now->prefill_ns_alone,
        .prefill_ns_beside = now->prefill_ns_beside,
        .prefill_tokens = now->totals.prefill_tokens,
        .kv_tokens = now->totals.kv_tokens,
        .requests = now->totals.requests,
        .prompt_tokens = now->totals.prompt_tokens,
        .cached_tokens = now->totals.cached_tokens,
        .output_tokens = now->totals.output_tokens,
        .output_squares = now->totals.output_squares,
        .draft_tokens = now->draft_tokens,
        .accepted_tokens = now->accepted_tokens,
    };
    shared_page_write(page, &state);
}

/* After each step, on the step thread. */
static void note_turn(void *context, const engine *e)
{
    struct replica *replica = context;
    struct engine_stats now;
    engine_get_stats(e, &now);
    if (now.first_token_ns != 0 && !start_moments_has(&replica->start, START_FIRST_TOKEN))
        start_moments_note(&replica->start, START_FIRST_TOKEN, now.first_token_ns,
                           now.first_submitted_ns);
    if (replica->page != NULL)
        write_page(replica->page, e, &now);
}

static void note_mark(void *context, uint64_t hash, bool is_resident)
{
    shared_page_note(((struct replica *)context)->page, hash, is_resident);
}

status replica_open(const struct config *config, const struct config_model *model,
                    const struct serving_options *options, struct replica **out,
                    struct error_note *note)
{
    struct replica *replica = memory_allocate_array(1, sizeof *replica);
    if (replica == NULL)
        return STATUS_NO_MEMORY;
    replica->config = config;
    replica->model = model;
    replica->runtime_adapters = options->adapters;
    replica->link = options->link;
    replica->is_trusted = options->link != NULL || strncmp(options->listen, "unix:", 5) == 0;
    replica->created_s = clock_wall_ms() / 1000;
    random_bytes(&replica->salt_key, sizeof replica->salt_key);
    set_limits(replica);
    status s = open_page(replica, options->listen);
    replica->start.page = replica->page;
    replica_open_flight(replica, options->listen);
    if (s == STATUS_OK)
        s = create_metrics(replica);
    if (s == STATUS_OK)
        start_moments_note(&replica->start, START_BEGUN, options->begun_ns, options->begun_ns);
    if (s == STATUS_OK)
        s = ring_create(PREPARE_QUEUE_MAX, &replica->prepare_queue);
    if (s == STATUS_OK)
        s = create_response_store(replica);
    if (s == STATUS_OK)
        s = replica_stories_create((uint32_t)config->observability.requests.replica_kept,
                                   &replica->stories);
    if (s != STATUS_OK)
        error_note_set(note, "cannot set up the replica: %s", status_name(s));
    else
        s = open_tracing(replica, note);
    if (s == STATUS_OK)
        s = create_server(replica, options->listen, note);
    if (s != STATUS_OK) {
        replica_close(replica);
        return s;
    }
    start_moments_note(&replica->start, START_LISTENING, clock_now_ns(), 0);
    *out = replica;
    return STATUS_OK;
}

static void copy_token_text(const tokenizer *t, int32_t id, char out[REPLICA_TOKEN_TEXT_BYTES])
{
    struct text_slice text = id >= 0 ? tokenizer_piece(t, id, true) : (struct text_slice){"", 0};
    size_t bytes = text.bytes < REPLICA_TOKEN_TEXT_BYTES ? text.bytes : 0;
    memcpy(out, text.data, bytes);
    out[bytes] = '\0';
}

/* Equal for equal weights, code and kernels: what a client compares to explain a changed answer. */
static void make_fingerprint(struct replica *replica)
{
    static const struct hash_key key = {0x70656e73746f636bull, 0x66696e6765727072ull};
    const struct engine_info *info = engine_get_info(replica->engine);
    char text[512];
    int bytes = snprintf(text, sizeof text, "%s %s %s %llu %s %s", PENSTOCK_VERSION,
                         info->architecture, info->name, (unsigned long long)info->weight_bytes,
                         info->backend, info->kv_cache_dtype);
    size_t used = (size_t)bytes < sizeof text ? (size_t)bytes : sizeof text - 1;
    snprintf(replica->fingerprint, sizeof replica->fingerprint, "fp_%012llx",
             (unsigned long long)hash64(&key, text, used) & 0xffffffffffffull);
}

static status load_encoder(struct replica *replica, struct error_note *note)
{
    const struct config_model *model = replica->model;
    struct encoder_options options = {
        .model_path = model->path,
        .backend = model->backend,
        .slice_vendor = getenv(SLICE_VENDOR_VARIABLE), // NOLINT: nobody changes it
        .threads = (uint32_t)model->threads,
        .context_max = (uint32_t)model->max_model_len,
        .batch_tokens_max = (uint32_t)model->max_num_batched_tokens,
        .sequence_count_max = (uint32_t)model->max_num_seqs,
        .queue_requests_max = (uint32_t)model->max_queued_requests,
        .queue_tokens_max = (uint64_t)model->max_queued_tokens,
        .metrics = replica->metrics,
        .served_name = model->name,
    };
    if (model->tensor_parallel > 1) {
        error_note_set(note,
                       "a model that only makes embeddings has one rank; set tensor_parallel to 1");
        return STATUS_UNSUPPORTED;
    }
    return encoder_open(&options, &replica->encoder, note);
}

/* Whether a model encodes is told by its files, unless the config says so. */
static bool is_encoder(const struct config_model *model)
{
    return encoder_can_open(model->path);
}

static status choose_pooling(struct replica *replica, struct error_note *note)
{
    const struct engine_info *info = engine_get_info(replica->engine);
    const char *wanted = replica->model->pooling;
    bool is_auto = strcmp(wanted, "auto") == 0;
    if (is_auto && info->has_unknown_pooling) {
        error_note_set(note, "the model's files tell a pooling that is neither the last token's "
                             "state nor the mean; choose one by the setting pooling");
        return STATUS_UNSUPPORTED;
    }
    replica->pooling = info->pooling;
    if (!is_auto)
        replica->pooling = strcmp(wanted, "mean") == 0 ? EMBEDDING_MEAN : EMBEDDING_LAST;
    return STATUS_OK;
}

static status load_engine(struct replica *replica, struct error_note *note)
{
    const struct config_model *model = replica->model;
    const struct config_speculative *drafts = &model->speculative;
    const struct config_grammar *texts = &replica->config->grammar;
    struct engine_options options = {
        .model_path = model->path,
        .backend = model->backend,
        .slice_vendor = getenv(SLICE_VENDOR_VARIABLE), // NOLINT: nobody changes it
        .weight_cache = model->weight_cache,
        .threads = (uint32_t)model->threads,
        .context_max = (uint32_t)model->max_model_len,
        .sequence_count_max = (uint32_t)model->max_num_seqs,
        .batch_tokens_max = (uint32_t)model->max_num_batched_tokens,
        .rank_count = (uint32_t)model->tensor_parallel,
        .kv_cache_dtype = model->kv_cache_dtype,
        .kv_bytes = model->kv_cache_memory,
        .host_bytes = model->kv_host_memory,
        .memory_share_count = replica->link != NULL ? 1 : config_replica_count(replica->config),
        .queue_requests_max = (uint32_t)model->max_queued_requests,
        .queue_tokens_max = (uint64_t)model->max_queued_tokens,
        .prefix_cache = model->enable_prefix_caching,
        .pinned_share = model->prompt_cache_pin_max,
        .adapters_max = config_adapters_max(model),
        .adapter_rank_max = (uint32_t)model->max_lora_rank,
        .inter_token_target_ns = model->inter_token_target_ns,
        .inter_token_factor = model->inter_token_factor,
        .draft_tokens_max = (uint32_t)drafts->num_speculative_tokens,
        .drafts_predictions_only = drafts->method == SPECULATIVE_NONE,
        .lookup_min = (uint32_t)drafts->prompt_lookup_min,
        .lookup_max = (uint32_t)drafts->prompt_lookup_max,
        .grammar_limits = {.states_max = (uint32_t)texts->states,
                           .compile_timeout_ns = texts->compile_timeout_ns,
                           .learn_time_ns = texts->learn_time_ns,
                           .memory_bytes_max = texts->compile_memory,
                           .mask_bytes_max = texts->mask_memory,
                           .depth_max = (uint32_t)texts->depth},
        .grammar_cache_bytes = texts->cache_bytes,
        .on_step_published = publish_wake,
        .on_turn = note_turn,
        .on_step = replica->flight != NULL ? replica_note_step : NULL,
        .on_mark = replica->page != NULL ? note_mark : NULL,
        .context = replica,
        .metrics = replica->metrics,
        .served_name = model->name,
    };
    status s = engine_open(&options, &replica->engine, note);
    return s == STATUS_OK ? choose_pooling(replica, note) : s;
}

/* An encoder has no more to warm than its weights. */
static void note_opened(struct replica *replica)
{
    uint64_t mapped_ns = clock_now_ns(), warmed_ns = mapped_ns;
    if (replica->engine != NULL) {
        mapped_ns = engine_get_info(replica->engine)->mapped_ns;
        warmed_ns = engine_get_info(replica->engine)->warmed_ns;
    }
    start_moments_note(&replica->start, START_MAPPED, mapped_ns, 0);
    start_moments_note(&replica->start, START_WARMED, warmed_ns, 0);
}

status replica_load(struct replica *replica, struct error_note *note)
{
    status s =
        is_encoder(replica->model) ? load_encoder(replica, note) : load_engine(replica, note);
    if (s != STATUS_OK)
        return s;
    note_opened(replica);
    s = replica_load_adapters(replica, note);
    if (s != STATUS_OK)
        return s;
    const tokenizer *t = replica_tokenizer(replica);
    replica->limits.vocabulary = tokenizer_token_count(t);
    copy_token_text(t, tokenizer_bos(t), replica->bos_text);
    copy_token_text(t, tokenizer_eos(t), replica->eos_text);
    if (replica->engine != NULL) {
        make_fingerprint(replica);
        s = replica_find_forms(replica);
    }
    if (s == STATUS_OK)
        s = prepare_start(replica);
    if (s != STATUS_OK)
        error_note_set(note, "cannot start the prepare workers: %s", status_name(s));
    return s;
}

void replica_set_phase(struct replica *replica, enum replica_phase phase)
{
    atomic_store_explicit(&replica->phase, phase, memory_order_release);
}

uint32_t replica_job_count(const struct replica *replica)
{
    return atomic_load_explicit(&replica->job_count, memory_order_relaxed);
}

struct loop_turn {
    struct http_message message;
    sem_t *done;
};

static void turn_run(struct http_message *message, http_loop *loop)
{
    (void)loop;
    struct loop_turn *turn = (struct loop_turn *)message;
    sem_post(turn->done);
}

/* Waits until each loop has come round once. */
static void wait_for_loops(struct replica *replica)
{
    sem_t done;
    if (sem_init(&done, 0, 0) != 0)
        return;
    for (uint32_t i = 0; i < http_server_loop_count(replica->http); i++) {
        struct loop_turn turn = {.message = {.run = turn_run}, .done = &done};
        http_loop_send(http_server_loop(replica->http, i), &turn.message);
        while (sem_wait(&done) != 0)
            ;
    }
    sem_destroy(&done);
}

static void wait_for_jobs(const struct replica *replica)
{
    uint64_t deadline_ns = clock_now_ns() + FLUSH_NS;
    struct timespec pause = {0, 5 * (long)NS_PER_MS};
    while ((replica_job_count(replica) > 0 || http_server_request_count(replica->http) > 0) &&
           clock_now_ns() < deadline_ns)
        nanosleep(&pause, NULL);
}

void replica_close(struct replica *replica)
{
    replica_set_phase(replica, REPLICA_CLOSING);
    prepare_stop(replica);
    if (replica->engine != NULL) {
        wait_for_loops(replica);
        engine_drain(replica->engine);
        engine_close(replica->engine);
        publish_release_departed(replica);
    }
    if (replica->encoder != NULL) {
        wait_for_loops(replica);
        encoder_close(replica->encoder);
    }
    prepare_end_rest(replica); /* what the model gave back after the workers had gone */
    if (replica->http != NULL) {
        wait_for_jobs(replica);
        http_server_drain(replica->http, false, 0);
        http_server_stop(replica->http);
        http_server_destroy(replica->http);
    }
    replica_tracing_close(replica->tracing);
    ring_destroy(replica->prepare_queue);
    response_store_destroy(replica->responses);
    replica_stories_destroy(replica->stories);
    flight_recorder_close(replica->flight, true); /* who ends well leaves none */
    metrics_registry_destroy(replica->metrics);
    shared_page_writer_close(replica->page);
    memory_release(replica->shown_tokens);
    token_list_deinit(&replica->reasoning_end);
    memory_release(replica);
}
