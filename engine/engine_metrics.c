#include "engine_metrics.h"

#include <stdio.h>

#include "batcher.h"
#include "block_allocator.h"
#include "check.h"
#include "clock.h"
#include "memory.h"

/* vLLM's default buckets (vllm/v1/metrics/buckets.py). */
static const double first_token_bounds[] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                            .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                            20,   40,   80,  160, 640, 2560};
static const double token_bounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                      .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
static const double request_bounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
static const double iteration_bounds[] = {1,   8,    16,   32,   64,   128,  256,
                                          512, 1024, 2048, 4096, 8192, 16384};
static const double beside_bounds[] = {0,  4,  8,   12,  16,  24,  32,   48,
                                       64, 96, 128, 192, 256, 512, 1024, 4096};
static const double prediction_bounds[] = {.5, .67, .8, .9, .95, 1.05, 1.1, 1.25, 1.5, 2, 4};
static const double block_bounds[] = {.001, .002, .005, .01, .02, .05, .1,  .2,  .5,   1,   2,
                                      5,    10,   20,   30,  60,  120, 300, 600, 1200, 1800};
static const double n_bounds[] = {1, 2, 5, 10, 20};
static const double preemption_bounds[] = {1, 2, 3, 4, 5, 10, 20};

/* 1-2-5 series up to the longest sequence: one bound more than 32 bits need. */
#define LENGTH_BOUNDS_MAX 30u

enum counter_id {
    COUNTER_PROMPT_TOKENS,
    COUNTER_GENERATION_TOKENS,
    COUNTER_CACHED,
    COUNTER_RECOMPUTED,
    COUNTER_PREFIX_QUERIES,
    COUNTER_PREFIX_HITS,
    COUNTER_PREEMPTIONS,
    COUNTER_CORRUPTED,
    COUNTER_COUNT
};

enum histogram_id {
    HISTOGRAM_FIRST_TOKEN,
    HISTOGRAM_INTER_TOKEN,
    HISTOGRAM_PER_TOKEN,
    HISTOGRAM_E2E,
    HISTOGRAM_QUEUE,
    HISTOGRAM_INFERENCE,
    HISTOGRAM_PREFILL,
    HISTOGRAM_DECODE,
    HISTOGRAM_ITERATION,
    HISTOGRAM_PROMPT,
    HISTOGRAM_GENERATION,
    HISTOGRAM_GENERATION_MAX,
    HISTOGRAM_PARAM_MAX_TOKENS,
    HISTOGRAM_KV_COMPUTED,
    HISTOGRAM_PARAM_N,
    HISTOGRAM_PREEMPTIONS,
    HISTOGRAM_BLOCK_LIFETIME,
    HISTOGRAM_BLOCK_IDLE,
    HISTOGRAM_BLOCK_REUSE,
    HISTOGRAM_BESIDE,
    HISTOGRAM_PREDICTION,
    HISTOGRAM_COUNT
};

struct engine_metrics {
    metrics_series *running, *waiting, *waiting_capacity, *waiting_deferred, *kv_usage, *pinned;
    metrics_series *healthy, *wasted_preempted, *wasted_drafts, *wasted_abandoned;
    metrics_series *source_compute, *source_cache, *source_host;
    metrics_series *sleep_states[ENGINE_SLEEP_LEVEL_MAX + 1]; /* by level */
    metrics_series *finished[FINISH_ERROR + 1]; /* by enum finish_reason; NONE unused */
    metrics_series *counters[COUNTER_COUNT];
    metrics_series *histograms[HISTOGRAM_COUNT];
    /* Memory below the cache; NULL where there is none. */
    metrics_series *host_usage, *host_queries, *host_hits, *host_saved, *host_loaded;
    /* Speculation; NULL where there is none. */
    metrics_series *drafts, *draft_tokens, *accepted_tokens;
    metrics_series *accepted_at[DRAFT_TOKENS_LIMIT]; /* by place in the draft */
};

static const struct {
    const char *name, *help;
} counter_rows[COUNTER_COUNT] = {
    [COUNTER_PROMPT_TOKENS] = {"vllm:prompt_tokens_total", "Prompt tokens processed."},
    [COUNTER_GENERATION_TOKENS] = {"vllm:generation_tokens_total", "Tokens generated for clients."},
    [COUNTER_CACHED] = {"vllm:prompt_tokens_cached_total",
                        "Prompt tokens whose KV was found in the prefix cache."},
    [COUNTER_RECOMPUTED] = {"vllm:prompt_tokens_recomputed_total",
                            "Cached prompt tokens computed again so that logits exist."},
    [COUNTER_PREFIX_QUERIES] = {"vllm:prefix_cache_queries_total",
                                "Prompt tokens looked up in the prefix cache, once a request."},
    [COUNTER_PREFIX_HITS] = {"vllm:prefix_cache_hits_total",
                             "Prompt tokens found in the prefix cache, once a request."},
    [COUNTER_PREEMPTIONS] = {"vllm:num_preemptions_total",
                             "Sequences that lost their KV blocks to a better one."},
    [COUNTER_CORRUPTED] = {"vllm:corrupted_requests_total",
                           "Sequences ended because their logits were not finite."},
};

#define BOUNDS(array) array, ARRAY_COUNT(array)

static const struct {
    const char *name, *help;
    const double *bounds; /* NULL: lengths */
    uint32_t bound_count;
} histogram_rows[HISTOGRAM_COUNT] = {
    [HISTOGRAM_FIRST_TOKEN] = {"vllm:time_to_first_token_seconds",
                               "From submission to a request's first token.",
                               BOUNDS(first_token_bounds)},
    [HISTOGRAM_INTER_TOKEN] = {"vllm:inter_token_latency_seconds",
                               "Between two tokens of a sequence.", BOUNDS(token_bounds)},
    [HISTOGRAM_PER_TOKEN] = {"vllm:request_time_per_output_token_seconds",
                             "Mean time per token after the first, once a request.",
                             BOUNDS(token_bounds)},
    [HISTOGRAM_E2E] = {"vllm:e2e_request_latency_seconds", "From submission to the end.",
                       BOUNDS(request_bounds)},
    [HISTOGRAM_QUEUE] = {"vllm:request_queue_time_seconds", "From submission to the first step.",
                         BOUNDS(request_bounds)},
    [HISTOGRAM_INFERENCE] = {"vllm:request_inference_time_seconds",
                             "From the first step to the last token.", BOUNDS(request_bounds)},
    [HISTOGRAM_PREFILL] = {"vllm:request_prefill_time_seconds",
                           "From the first step to the first token.", BOUNDS(request_bounds)},
    [HISTOGRAM_DECODE] = {"vllm:request_decode_time_seconds", "From the first to the last token.",
                          BOUNDS(request_bounds)},
    [HISTOGRAM_ITERATION] = {"vllm:iteration_tokens_total", "Tokens computed in one step.",
                             BOUNDS(iteration_bounds)},
    [HISTOGRAM_PROMPT] = {"vllm:request_prompt_tokens", "Prompt tokens of a request.", NULL, 0},
    [HISTOGRAM_GENERATION] = {"vllm:request_generation_tokens",
                              "Tokens generated for a request, all its sequences.", NULL, 0},
    [HISTOGRAM_GENERATION_MAX] = {"vllm:request_max_num_generation_tokens",
                                  "Tokens of a request's longest sequence.", NULL, 0},
    [HISTOGRAM_PARAM_MAX_TOKENS] = {"vllm:request_params_max_tokens",
                                    "The max_tokens that a request asked for.", NULL, 0},
    [HISTOGRAM_KV_COMPUTED] = {"vllm:request_prefill_kv_computed_tokens",
                               "Prompt tokens of a request that were computed, not cached.", NULL,
                               0},
    [HISTOGRAM_PARAM_N] = {"vllm:request_params_n", "The n that a request asked for.",
                           BOUNDS(n_bounds)},
    [HISTOGRAM_PREEMPTIONS] = {"vllm:request_num_preemptions", "Preemptions of a request.",
                               BOUNDS(preemption_bounds)},
    [HISTOGRAM_BLOCK_LIFETIME] = {"vllm:kv_block_lifetime_seconds",
                                  "From a block's first use until it was given up, of one in 64.",
                                  BOUNDS(block_bounds)},
    [HISTOGRAM_BLOCK_IDLE] = {"vllm:kv_block_idle_before_evict_seconds",
                              "From a block's last use until it was given up, of one in 64.",
                              BOUNDS(block_bounds)},
    [HISTOGRAM_BLOCK_REUSE] = {"vllm:kv_block_reuse_gap_seconds",
                               "From a block's last use until a prompt found it, of one in 64.",
                               BOUNDS(block_bounds)},
    [HISTOGRAM_BESIDE] = {"penstock_step_prompt_tokens",
                          "Prompt tokens in a step in which answers grew.", BOUNDS(beside_bounds)},
    [HISTOGRAM_PREDICTION] = {"penstock_step_time_ratio",
                              "Time of a step over the time predicted for it.",
                              BOUNDS(prediction_bounds)},
};

static const char *const plain_labels[] = {"model_name", "engine", NULL};

/* Makes a family and its one series with the plain labels, or (extra != NULL) with one label more.
 */
static status make_series(const struct engine_metrics_options *o, struct metrics_family_options f,
                          const char *extra, const char *const *extra_values, metrics_series **out)
{
    const char *const extra_labels[] = {"model_name", "engine", extra, NULL};
    f.labels = extra != NULL ? extra_labels : plain_labels;
    metrics_family *family;
    status s = metrics_family_create(o->registry, &f, &family);
    if (s != STATUS_OK)
        return s;
    if (extra == NULL) {
        const char *const values[] = {o->model_name, "0", NULL};
        *out = metrics_series_get(family, values);
        return STATUS_OK;
    }
    for (; *extra_values != NULL; extra_values++, out++) {
        const char *const values[] = {o->model_name, "0", *extra_values, NULL};
        *out = metrics_series_get(family, values);
    }
    return STATUS_OK;
}

static uint32_t length_bounds(uint32_t longest, double *bounds)
{
    static const double mantissas[] = {1, 2, 5};
    uint32_t count = 0;
    double decade = 1;
    for (uint32_t i = 0; count < LENGTH_BOUNDS_MAX; i++) {
        double bound = mantissas[i % 3] * decade;
        if (bound > longest)
            break;
        bounds[count++] = bound;
        decade *= i % 3 == 2 ? 10 : 1;
    }
    return count;
}

static status make_gauges(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    const struct {
        const char *name, *help;
        metrics_series **out;
    } rows[] = {
        {"vllm:num_requests_running", "Requests in the running batch.", &m->running},
        {"vllm:num_requests_waiting", "Requests waiting to run.", &m->waiting},
        {"vllm:kv_cache_usage_perc", "Share of the KV cache's positions in use, 0 to 1.",
         &m->kv_usage},
        {"vllm:engine_healthy", "1 until the engine's device fails.", &m->healthy},
        {"penstock_kv_pinned_blocks", "Blocks of the KV cache that requests have pinned.",
         &m->pinned},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct metrics_family_options f = {
            .kind = METRICS_GAUGE, .name = rows[i].name, .help = rows[i].help};
        status s = make_series(o, f, NULL, NULL, rows[i].out);
        if (s != STATUS_OK)
            return s;
    }
    static const char *const reasons[] = {"capacity", "deferred", NULL};
    metrics_series *by_reason[2];
    struct metrics_family_options f = {.kind = METRICS_GAUGE,
                                       .name = "vllm:num_requests_waiting_by_reason",
                                       .help = "Requests waiting to run, by what they wait for."};
    status s = make_series(o, f, "reason", reasons, by_reason);
    if (s != STATUS_OK)
        return s;
    m->waiting_capacity = by_reason[0];
    m->waiting_deferred = by_reason[1];
    return STATUS_OK;
}

static status make_sleep_states(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    static const char *const states[] = {"awake", "weights_offloaded", "discard_all", NULL};
    struct metrics_family_options f = {
        .kind = METRICS_GAUGE,
        .name = "vllm:engine_sleep_state",
        .help =
            "1 for the state that the engine is in: awake, asleep with its weights (level 1) or "
            "without them (level 2)."};
    status s = make_series(o, f, "sleep_state", states, m->sleep_states);
    if (s == STATUS_OK)
        engine_metrics_sleep(m, 0);
    return s;
}

static status make_labelled_counters(struct engine_metrics *m,
                                     const struct engine_metrics_options *o)
{
    static const char *const reasons[] = {"stop", "length", "repetition", "abort", "error", NULL};
    struct metrics_family_options f = {.kind = METRICS_COUNTER,
                                       .name = "vllm:request_success_total",
                                       .help = "Requests that have ended, by reason."};
    _Static_assert(FINISH_STOP == 1 && FINISH_ERROR == 5, "reasons follow enum finish_reason");
    status s = make_series(o, f, "finished_reason", reasons, &m->finished[FINISH_STOP]);
    if (s != STATUS_OK)
        return s;
    static const char *const sources[] = {"local_compute", "local_cache_hit",
                                          "external_kv_transfer", NULL};
    metrics_series *by_source[3];
    f.name = "vllm:prompt_tokens_by_source_total";
    f.help = "Prompt tokens by where their KV came from.";
    s = make_series(o, f, "source", sources, by_source);
    if (s != STATUS_OK)
        return s;
    m->source_compute = by_source[0];
    m->source_cache = by_source[1];
    m->source_host = by_source[2];
    return STATUS_OK;
}

static status make_waste(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    static const char *const reasons[] = {"preempted", "rejected_draft", "abandoned", NULL};
    struct metrics_family_options f = {
        .kind = METRICS_COUNTER,
        .name = "penstock_wasted_tokens_total",
        .help =
            "Tokens that were computed for nobody: those that a preemption threw away, drafts that "
            "were not sampled, and all of requests whose clients went."};
    metrics_series *by_reason[3];
    status s = make_series(o, f, "reason", reasons, by_reason);
    if (s != STATUS_OK)
        return s;
    m->wasted_preempted = by_reason[0];
    m->wasted_drafts = by_reason[1];
    m->wasted_abandoned = by_reason[2];
    return STATUS_OK;
}

static status make_cache_info(const struct engine_metrics_options *o)
{
    static const char *const labels[] = {"model_name",     "engine",      "block_size",
                                         "num_gpu_blocks", "cache_dtype", NULL};
    struct metrics_family_options f = {.kind = METRICS_GAUGE,
                                       .name = "vllm:cache_config_info",
                                       .help = "Shape of the KV cache; always 1.",
                                       .labels = labels};
    metrics_family *family;
    status s = metrics_family_create(o->registry, &f, &family);
    if (s != STATUS_OK)
        return s;
    char block_size[16];
    char blocks[16];
    (void)snprintf(block_size, sizeof block_size, "%u", BLOCK_TOKENS);
    (void)snprintf(blocks, sizeof blocks, "%u", o->block_count);
    const char *const values[] = {o->model_name, "0", block_size, blocks, o->cache_dtype, NULL};
    metrics_set(metrics_series_get(family, values), 1.0);
    return STATUS_OK;
}

static status make_speculation(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    const struct {
        const char *name, *help;
        metrics_series **out;
    } rows[] = {
        {"vllm:spec_decode_num_drafts_total", "Sequences' steps with drafted tokens.", &m->drafts},
        {"vllm:spec_decode_num_draft_tokens_total", "Tokens drafted.", &m->draft_tokens},
        {"vllm:spec_decode_num_accepted_tokens_total", "Drafted tokens that were sampled.",
         &m->accepted_tokens},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct metrics_family_options f = {
            .kind = METRICS_COUNTER, .name = rows[i].name, .help = rows[i].help};
        status s = make_series(o, f, NULL, NULL, rows[i].out);
        if (s != STATUS_OK)
            return s;
    }
    char numbers[DRAFT_TOKENS_LIMIT][4];
    const char *values[DRAFT_TOKENS_LIMIT + 1] = {NULL};
    CHECK(o->draft_tokens_max <= DRAFT_TOKENS_LIMIT);
    for (uint32_t i = 0; i < o->draft_tokens_max; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%u", i % 100);
        values[i] = numbers[i];
    }
    struct metrics_family_options f = {
        .kind = METRICS_COUNTER,
        .name = "vllm:spec_decode_num_accepted_tokens_per_pos_total",
        .help = "Drafted tokens that were sampled, by their place in the draft."};
    return make_series(o, f, "position", values, m->accepted_at);
}

static status make_host(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    const struct {
        enum metrics_kind kind;
        const char *name, *help;
        metrics_series **out;
    } rows[] = {
        {METRICS_GAUGE, "penstock_kv_host_usage_ratio",
         "Share of the host memory below the KV cache that holds blocks, 0 to 1.", &m->host_usage},
        {METRICS_COUNTER, "vllm:external_prefix_cache_queries_total",
         "Prompt tokens looked up in the host memory below the KV cache, once a request.",
         &m->host_queries},
        {METRICS_COUNTER, "vllm:external_prefix_cache_hits_total",
         "Prompt tokens whose KV came from the host memory below the KV cache, once a request.",
         &m->host_hits},
        {METRICS_COUNTER, "penstock_kv_host_saved_blocks_total",
         "Blocks copied from the KV cache to the host's memory.", &m->host_saved},
        {METRICS_COUNTER, "penstock_kv_host_loaded_blocks_total",
         "Blocks copied from the host's memory back to the KV cache.", &m->host_loaded},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct metrics_family_options f = {
            .kind = rows[i].kind, .name = rows[i].name, .help = rows[i].help};
        status s = make_series(o, f, NULL, NULL, rows[i].out);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

static status make_all(struct engine_metrics *m, const struct engine_metrics_options *o)
{
    status s = make_gauges(m, o);
    if (s == STATUS_OK)
        s = make_sleep_states(m, o);
    if (s == STATUS_OK)
        s = make_labelled_counters(m, o);
    if (s == STATUS_OK)
        s = make_waste(m, o);
    if (s == STATUS_OK)
        s = make_cache_info(o);
    if (s == STATUS_OK && o->draft_tokens_max > 0)
        s = make_speculation(m, o);
    if (s == STATUS_OK && o->has_host)
        s = make_host(m, o);
    for (size_t i = 0; s == STATUS_OK && i < COUNTER_COUNT; i++) {
        struct metrics_family_options f = {
            .kind = METRICS_COUNTER, .name = counter_rows[i].name, .help = counter_rows[i].help};
        s = make_series(o, f, NULL, NULL, &m->counters[i]);
    }
    double lengths[LENGTH_BOUNDS_MAX];
    uint32_t length_count = length_bounds(o->context_max, lengths);
    for (size_t i = 0; s == STATUS_OK && i < HISTOGRAM_COUNT; i++) {
        bool is_length = histogram_rows[i].bounds == NULL;
        struct metrics_family_options f = {
            .kind = METRICS_HISTOGRAM,
            .name = histogram_rows[i].name,
            .help = histogram_rows[i].help,
            .bounds = is_length ? lengths : histogram_rows[i].bounds,
            .bound_count = is_length ? length_count : histogram_rows[i].bound_count};
        s = make_series(o, f, NULL, NULL, &m->histograms[i]);
    }
    return s;
}

status engine_metrics_create(const struct engine_metrics_options *options,
                             struct engine_metrics **out)
{
    struct engine_metrics *m = memory_allocate_array(1, sizeof *m);
    if (m == NULL)
        return STATUS_NO_MEMORY;
    status s = make_all(m, options);
    if (s != STATUS_OK) {
        memory_release(m);
        return s;
    }
    metrics_set(m->healthy, 1);
    *out = m;
    return STATUS_OK;
}

void engine_metrics_destroy(struct engine_metrics *m)
{
    memory_release(m);
}

void engine_metrics_sleep(struct engine_metrics *m, uint32_t level)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i <= ENGINE_SLEEP_LEVEL_MAX; i++)
        metrics_set(m->sleep_states[i], i == level ? 1 : 0);
}

void engine_metrics_failed(struct engine_metrics *m)
{
    if (m != NULL)
        metrics_set(m->healthy, 0);
}

void engine_metrics_block(void *metrics, enum block_figure figure, uint64_t ns)
{
    static const enum histogram_id ids[] = {
        [BLOCK_LIFETIME] = HISTOGRAM_BLOCK_LIFETIME,
        [BLOCK_IDLE] = HISTOGRAM_BLOCK_IDLE,
        [BLOCK_REUSE_GAP] = HISTOGRAM_BLOCK_REUSE,
    };
    struct engine_metrics *m = metrics;
    metrics_observe(m->histograms[ids[figure]], (double)ns / (double)NS_PER_SECOND);
}

void engine_metrics_set_gauges(struct engine_metrics *m, const struct engine_gauges *gauges)
{
    if (m == NULL)
        return;
    metrics_set(m->running, gauges->running);
    metrics_set(m->waiting, gauges->waiting);
    metrics_set(m->waiting_capacity, gauges->waiting);
    metrics_set(m->pinned, gauges->blocks_pinned);
    if (m->host_usage != NULL)
        metrics_set(m->host_usage, gauges->host_usage);
    metrics_set(m->kv_usage, (double)gauges->tokens_used / (double)gauges->tokens_total);
}

void engine_metrics_step(struct engine_metrics *m, const struct engine_step_record *step)
{
    if (m == NULL)
        return;
    metrics_observe(m->histograms[HISTOGRAM_ITERATION], step->rows);
    if (step->decodes > 0)
        metrics_observe(m->histograms[HISTOGRAM_BESIDE], step->rows - step->decodes - step->drafts);
    if (step->predicted_ns > 0.0)
        metrics_observe(m->histograms[HISTOGRAM_PREDICTION],
                        (double)step->elapsed_ns / step->predicted_ns);
    if (step->preemptions > 0)
        metrics_add(m->counters[COUNTER_PREEMPTIONS], (double)step->preemptions);
    if (step->recomputed_tokens > 0)
        metrics_add(m->counters[COUNTER_RECOMPUTED], (double)step->recomputed_tokens);
    if (step->lost_tokens > 0)
        metrics_add(m->wasted_preempted, (double)step->lost_tokens);
    if (step->saved_blocks > 0)
        metrics_add(m->host_saved, (double)step->saved_blocks);
    if (step->loaded_blocks > 0)
        metrics_add(m->host_loaded, (double)step->loaded_blocks);
}

void engine_metrics_admitted(struct engine_metrics *m, const struct engine_admission_record *r)
{
    if (m == NULL)
        return;
    uint32_t computed = r->prompt_tokens - r->cached_tokens;
    uint32_t own = r->cached_tokens - r->host_tokens;
    metrics_add(m->counters[COUNTER_PROMPT_TOKENS], r->prompt_tokens);
    metrics_add(m->counters[COUNTER_CACHED], r->cached_tokens);
    metrics_add(m->source_compute, computed);
    metrics_add(m->source_cache, own);
    metrics_add(m->source_host, r->host_tokens);
    if (r->has_cache) {
        metrics_add(m->counters[COUNTER_PREFIX_QUERIES], r->prompt_tokens);
        metrics_add(m->counters[COUNTER_PREFIX_HITS], own);
    }
    if (m->host_usage != NULL) {
        metrics_add(m->host_queries, r->prompt_tokens - own);
        metrics_add(m->host_hits, r->host_tokens);
    }
}

void engine_metrics_drafts(struct engine_metrics *m, uint32_t drafted, uint32_t accepted)
{
    if (m == NULL)
        return;
    metrics_add(m->drafts, 1);
    metrics_add(m->draft_tokens, drafted);
    metrics_add(m->accepted_tokens, accepted);
    metrics_add(m->wasted_drafts, drafted - accepted);
    for (uint32_t i = 0; i < accepted; i++)
        metrics_add(m->accepted_at[i], 1);
}

void engine_metrics_corrupted(struct engine_metrics *m)
{
    if (m != NULL)
        metrics_add(m->counters[COUNTER_CORRUPTED], 1);
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_SECOND : 0.0;
}

void engine_metrics_token(struct engine_metrics *m, uint64_t now_ns, uint64_t since_ns)
{
    if (m == NULL)
        return;
    metrics_add(m->counters[COUNTER_GENERATION_TOKENS], 1);
    if (since_ns != 0)
        metrics_observe(m->histograms[HISTOGRAM_INTER_TOKEN], seconds_between(since_ns, now_ns));
}

void engine_metrics_first_token(struct engine_metrics *m, uint64_t latency_ns)
{
    if (m != NULL)
        metrics_observe(m->histograms[HISTOGRAM_FIRST_TOKEN], seconds_between(0, latency_ns));
}

/* The phases that a request reached. */
static void observe_times(struct engine_metrics *m, const struct engine_request_record *r)
{
    metrics_observe(m->histograms[HISTOGRAM_E2E], seconds_between(r->submitted_ns, r->now_ns));
    if (r->admitted_ns == 0)
        return;
    metrics_observe(m->histograms[HISTOGRAM_QUEUE],
                    seconds_between(r->submitted_ns, r->admitted_ns));
    if (r->first_token_ns == 0)
        return;
    double decode = seconds_between(r->first_token_ns, r->last_token_ns);
    metrics_observe(m->histograms[HISTOGRAM_INFERENCE],
                    seconds_between(r->admitted_ns, r->last_token_ns));
    metrics_observe(m->histograms[HISTOGRAM_PREFILL],
                    seconds_between(r->admitted_ns, r->first_token_ns));
    metrics_observe(m->histograms[HISTOGRAM_DECODE], decode);
    if (r->generated_tokens_max > 1)
        metrics_observe(m->histograms[HISTOGRAM_PER_TOKEN], decode / (r->generated_tokens_max - 1));
}

void engine_metrics_request(struct engine_metrics *m, const struct engine_request_record *r)
{
    if (m == NULL)
        return;
    CHECK(r->finish > FINISH_NONE && r->finish <= FINISH_ERROR);
    metrics_add(m->finished[r->finish], 1);
    if (r->finish == FINISH_ABORT && r->admitted_ns != 0)
        metrics_add(m->wasted_abandoned,
                    (double)r->prompt_tokens - r->cached_tokens + r->generated_tokens);
    observe_times(m, r);
    metrics_observe(m->histograms[HISTOGRAM_PROMPT], r->prompt_tokens);
    metrics_observe(m->histograms[HISTOGRAM_GENERATION], r->generated_tokens);
    metrics_observe(m->histograms[HISTOGRAM_GENERATION_MAX], r->generated_tokens_max);
    metrics_observe(m->histograms[HISTOGRAM_PARAM_MAX_TOKENS], r->max_tokens);
    metrics_observe(m->histograms[HISTOGRAM_PARAM_N], r->n);
    metrics_observe(m->histograms[HISTOGRAM_PREEMPTIONS], r->preemptions);
    if (r->admitted_ns != 0)
        metrics_observe(m->histograms[HISTOGRAM_KV_COMPUTED], r->prompt_tokens - r->cached_tokens);
}
