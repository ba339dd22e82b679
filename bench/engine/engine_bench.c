/* Prefill and decode without a network: the engine's model, batcher and sampler on its backend, timed over lengths,
 * batches and contexts, for every kernel path that this CPU runs. A figure is read beside the machine's limits, taken in
 * the same run:
 *
 *   bandwidth_share      bytes that the steps have to read (weights, and every sequence's keys and values once), over
 *                        the time taken, over the read bandwidth of a set as large as the model's weights
 *   far_bandwidth_share  the same over the bandwidth of a set far larger than the last-level cache; it passes 1 where
 *                        the cache holds a part of what a step reads
 *   compute_share        the time that the products need at the path's int8 peak and attention at its f32 peak, over the
 *                        time taken
 *
 * One JSON document on stdout, a table on stderr. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "machine.h"
#include "memory_plan.h"
#include "model_run.h"
#include "roofs.h"
#include "step_cost.h"
#include "thread.h"

#define LIST_MAX     16u
#define REPEAT_MAX   101u
#define CONTEXT_MIN  KV_BLOCK_TOKENS
#define SLOTS_PROBED 64u /* enough that what they take stands out from rounding to large pages */
/* A decode figure is the mean of the steps that fit this time: a single step of 5 ms is at the mercy of one interrupt. */
#define DECODE_NS (100 * NS_PER_MS)
/* Of the memory that is free, for the cache, when no limit is given: 64 sequences of 8k tokens need 12 GB. */
#define CACHE_SHARE 0.6

struct list {
    uint32_t values[LIST_MAX], count;
};

struct bench {
    const char *model_path, *path_name, *operation;
    struct list batches, contexts, lengths;
    uint32_t threads, repeat, step_tokens;
    uint64_t cache_bytes_max;
    enum kv_type kv_type;
    bool uses_planner;

    model_source *source;
    struct model_info file_info;
    json_t *rows, *paths;

    /* The path at work. */
    backend *b;
    enum backend_path path;
    struct roofs roofs;
    struct model_cost cost;
    struct model_run *run;
};

static const struct list default_batches = {{1, 4, 8, 16, 32, 64}, 6};
static const struct list default_contexts = {{128, 512, 1024, 2048, 4096, 8192}, 6};
static const struct list default_lengths = {{128, 512, 2048, 4096, 8192}, 5};

/* --- what fits --- */

static bool is_wanted(const struct bench *bench, const char *operation)
{
    return bench->operation == NULL || strcmp(bench->operation, operation) == 0;
}

static uint64_t blocks_of(uint32_t batch, uint32_t context)
{
    return (uint64_t)batch * ((context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS);
}

static bool fits(const struct bench *bench, uint32_t batch, uint32_t context)
{
    uint32_t trained = bench->file_info.context_trained;
    return (trained == 0 || context <= trained) &&
           blocks_of(batch, context) * bench->file_info.kv_block_bytes <= bench->cache_bytes_max;
}

/* The cache and the slots that the wanted rows need, of those that fit. False: nothing fits. */
static bool size_run(const struct bench *bench, struct model_run_options *out)
{
    *out = (struct model_run_options){.source = bench->source,
                                      .kv_type = bench->kv_type,
                                      .step_tokens = bench->step_tokens,
                                      .sequence_count = 1,
                                      .uses_planner = bench->uses_planner};
    uint64_t blocks = 0;
    for (uint32_t i = 0; is_wanted(bench, "prefill") && i < bench->lengths.count; i++) {
        uint32_t length = bench->lengths.values[i];
        if (fits(bench, 1, length) && length > out->context_max)
            out->context_max = length;
    }
    for (uint32_t i = 0; is_wanted(bench, "decode") && i < bench->contexts.count; i++) {
        for (uint32_t j = 0; j < bench->batches.count; j++) {
            uint32_t context = bench->contexts.values[i], batch = bench->batches.values[j];
            if (!fits(bench, batch, context))
                continue;
            out->context_max = context > out->context_max ? context : out->context_max;
            out->sequence_count = batch > out->sequence_count ? batch : out->sequence_count;
            blocks = blocks_of(batch, context) > blocks ? blocks_of(batch, context) : blocks;
        }
    }
    uint64_t one = blocks_of(1, out->context_max + 1);
    out->block_count = (uint32_t)(blocks > one ? blocks : one);
    return out->context_max != 0;
}

/* --- rows --- */

struct timing {
    const char *operation;
    uint32_t batch, context;
    uint32_t repeat;
    double tokens_per_s[REPEAT_MAX]; /* sorted by timing_report */
    double tokens, steps;            /* of one repetition */
    struct step_cost cost;           /* of one repetition */
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void timing_report(struct bench *bench, struct timing *t)
{
    qsort(t->tokens_per_s, t->repeat, sizeof *t->tokens_per_s, compare_doubles);
    double median = t->tokens_per_s[t->repeat / 2];
    double seconds = t->tokens / median;
    const struct roofs *roofs = &bench->roofs;
    double near_share = t->cost.bytes / seconds / roofs->near_bytes_per_s;
    double far_share = t->cost.bytes / seconds / roofs->far_bytes_per_s;
    double compute_share = 0;
    if (roofs->int8_ops_per_s > 0)
        compute_share = (t->cost.product_ops / roofs->int8_ops_per_s +
                         t->cost.attention_ops / roofs->float_ops_per_s) /
                        seconds;
    const char *path = backend_path_name(bench->path);
    json_array_append_new(
        bench->rows,
        json_pack("{s:s,s:s,s:i,s:i,s:i,s:{s:f,s:f,s:f},s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "path", path,
                  "operation", t->operation, "batch", (int)t->batch, "context", (int)t->context,
                  "repeat", (int)t->repeat, "tokens_per_second", "median", median, "min",
                  t->tokens_per_s[0], "max", t->tokens_per_s[t->repeat - 1], "step_ms",
                  1e3 * seconds / t->steps, "bytes_per_step", t->cost.bytes / t->steps,
                  "product_ops_per_step", t->cost.product_ops / t->steps, "attention_ops_per_step",
                  t->cost.attention_ops / t->steps, "bandwidth_share", near_share,
                  "far_bandwidth_share", far_share, "compute_share", compute_share));
    fprintf(stderr,
            "%-12s %-8s batch %3u context %5u  %9.1f tok/s (%.1f..%.1f)  %8.2f ms a step  %5.1f %% "
            "of bandwidth (far %5.1f)  %5.1f %% of compute\n",
            path, t->operation, t->batch, t->context, median, t->tokens_per_s[0],
            t->tokens_per_s[t->repeat - 1], 1e3 * seconds / t->steps, 100 * near_share,
            100 * far_share, 100 * compute_share);
}

static void report_skipped(struct bench *bench, const char *operation, uint32_t batch,
                           uint32_t context)
{
    json_int_t bytes = (json_int_t)(blocks_of(batch, context) * bench->file_info.kv_block_bytes);
    const char *path = backend_path_name(bench->path);
    json_array_append_new(bench->rows,
                          json_pack("{s:s,s:s,s:i,s:i,s:b,s:I,s:I}", "path", path, "operation",
                                    operation, "batch", (int)batch, "context", (int)context,
                                    "skipped", 1, "cache_bytes", bytes, "cache_bytes_max",
                                    (json_int_t)bench->cache_bytes_max));
    fprintf(stderr,
            "%-12s %-8s batch %3u context %5u  skipped: %lld MiB of cache, %llu MiB allowed, "
            "context of the model %u\n",
            path, operation, batch, context, (long long)bytes >> 20,
            (unsigned long long)bench->cache_bytes_max >> 20, bench->file_info.context_trained);
}

static void bench_prefill(struct bench *bench, uint32_t length)
{
    if (!fits(bench, 1, length)) {
        report_skipped(bench, "prefill", 1, length);
        return;
    }
    uint32_t steps;
    struct timing t = {.operation = "prefill",
                       .batch = 1,
                       .context = length,
                       .repeat = bench->repeat,
                       .tokens = length,
                       .cost = prefill_cost(&bench->cost, length, bench->step_tokens)};
    for (uint32_t i = 0; i < bench->repeat; i++) {
        uint64_t ns = model_run_prefill(bench->run, length, &steps);
        t.tokens_per_s[i] = length * 1e9 / (double)ns;
    }
    t.steps = steps;
    timing_report(bench, &t);
}

static void bench_decode(struct bench *bench, uint32_t batch, uint32_t context)
{
    if (!fits(bench, batch, context)) {
        report_skipped(bench, "decode", batch, context);
        return;
    }
    /* The first step of a shape also warms the caches for it. */
    uint64_t first_ns = model_run_decode(bench->run, batch, context, 1);
    uint32_t steps = (uint32_t)(DECODE_NS / first_ns) + 1;
    struct timing t = {.operation = "decode",
                       .batch = batch,
                       .context = context,
                       .repeat = bench->repeat,
                       .tokens = batch,
                       .steps = 1,
                       .cost = decode_cost(&bench->cost, batch, context)};
    for (uint32_t i = 0; i < bench->repeat; i++) {
        uint64_t ns = model_run_decode(bench->run, batch, context, steps);
        t.tokens_per_s[i] = (double)batch * steps * 1e9 / (double)ns;
    }
    timing_report(bench, &t);
}

static void bench_rows(struct bench *bench)
{
    for (uint32_t i = 0; is_wanted(bench, "prefill") && i < bench->lengths.count; i++)
        bench_prefill(bench, bench->lengths.values[i]);
    for (uint32_t i = 0; is_wanted(bench, "decode") && i < bench->batches.count; i++)
        for (uint32_t j = 0; j < bench->contexts.count; j++)
            bench_decode(bench, bench->batches.values[i], bench->contexts.values[j]);
}

/* --- memory --- */

static struct model_run *open_run(const struct bench *bench,
                                  const struct model_run_options *options)
{
    struct error_note note = {""};
    struct model_run *run = NULL;
    status s = model_run_open(bench->b, options, &run, &note);
    if (s != STATUS_OK) {
        fprintf(stderr, "engine_bench: %s: %s\n", status_name(s), note.text);
        exit(1);
    }
    return run;
}

/* Bytes that one more slot of the running batch takes, by what the process holds with few and with many. */
static double measure_slot_bytes(const struct bench *bench)
{
    double resident[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct model_run_options options = {.source = bench->source,
                                            .kv_type = bench->kv_type,
                                            .step_tokens = SLOTS_PROBED + 1,
                                            .sequence_count = 1 + i * SLOTS_PROBED,
                                            .context_max = CONTEXT_MIN,
                                            .block_count = 2};
        struct model_run *run = open_run(bench, &options);
        resident[i] = (double)machine_resident_bytes();
        model_run_close(run);
    }
    return (resident[1] - resident[0]) / SLOTS_PROBED;
}

/* Fills the cache, and tells what a cached token and a slot take: as planned, and as the process grew. */
static json_t *measure_memory(struct bench *bench, const struct model_run_options *options)
{
    double slot_bytes = measure_slot_bytes(bench);
    bench->run = open_run(bench, options);
    double before = (double)machine_resident_bytes();
    model_run_fill(bench->run);
    double after = (double)machine_resident_bytes();
    const struct model_info *info = model_run_info(bench->run);
    double token_planned = (double)info->kv_block_bytes / KV_BLOCK_TOKENS;
    double token_measured = (after - before) / ((double)options->block_count * KV_BLOCK_TOKENS);
    double slot_planned = (double)info->vocabulary * sizeof(float);
    fprintf(stderr,
            "%-12s a cached token takes %.0f bytes (planned %.0f), a sequence of the running batch "
            "%.0f (planned: a row of logits, %.0f); weights %llu MiB, process %.0f MiB\n",
            backend_path_name(bench->path), token_measured, token_planned, slot_bytes, slot_planned,
            (unsigned long long)info->weight_bytes >> 20, after / (1 << 20));
    return json_pack("{s:{s:f,s:f},s:{s:f,s:f},s:I,s:I,s:f}", "bytes_per_cached_token", "planned",
                     token_planned, "resident", token_measured, "bytes_per_sequence", "planned",
                     slot_planned, "resident", slot_bytes, "weight_bytes",
                     (json_int_t)info->weight_bytes, "cache_blocks",
                     (json_int_t)options->block_count, "resident_bytes", after);
}

/* --- a path --- */

static void bench_path(struct bench *bench)
{
    struct model_run_options options;
    struct error_note note = {""};
    struct backend_options device = {.path = bench->path, .threads = bench->threads};
    if (!size_run(bench, &options)) {
        fprintf(stderr, "engine_bench: no row fits the model's context and the memory limit\n");
        exit(1);
    }
    if (backend_open(&device, &bench->b, &note) != STATUS_OK) {
        fprintf(stderr, "engine_bench: %s\n", note.text);
        exit(1);
    }
    bench->roofs =
        roofs_measure(bench->b, bench->path, bench->threads, bench->file_info.weight_bytes);
    roofs_print(&bench->roofs, backend_path_name(bench->path), bench->threads);
    json_t *memory = measure_memory(bench, &options);
    bench->cost = model_cost_of(model_source_gguf(bench->source), model_run_info(bench->run));
    bench_rows(bench);
    json_object_set_new(
        bench->paths, backend_path_name(bench->path),
        json_pack("{s:o,s:o}", "roofs", roofs_json(&bench->roofs), "memory", memory));
    model_run_close(bench->run);
    backend_close(bench->b);
}

/* The reference takes minutes for a prompt: only when it is asked for. */
static uint32_t bench_paths(struct bench *bench)
{
    uint32_t tried = 0;
    for (int path = BACKEND_REFERENCE; path <= BACKEND_AMX; path++) {
        const char *name = backend_path_name((enum backend_path)path);
        bool is_asked = bench->path_name != NULL ? strcmp(bench->path_name, name) == 0
                                                 : path != BACKEND_REFERENCE;
        if (!is_asked || !backend_path_is_supported((enum backend_path)path))
            continue;
        bench->path = (enum backend_path)path;
        bench_path(bench);
        tried++;
    }
    return tried;
}

/* --- options --- */

static const char usage[] =
    "usage: engine_bench --model FILE.gguf [options]\n"
    "  --threads N        compute team (default: the cores this process may run on)\n"
    "  --path NAME        avx2, avx-vnni, avx512-vnni, reference (default: every fast one of this "
    "CPU)\n"
    "  --operation NAME   prefill or decode (default: both)\n"
    "  --batch LIST       sequences of a decode step, as 1,4,16\n"
    "  --context LIST     tokens: lengths of prompts, and positions that a decode step attends to\n"
    "  --repeat N         measurements a row (default 5)\n"
    "  --step-tokens N    rows of a prefill step (default 512, as the server's)\n"
    "  --planner          prefill steps as the engine's batcher plans them\n"
    "  --kv-cache-dtype T auto, f16 or int8 (default: auto)\n"
    "  --cache-mib N      memory for keys and values (default: 60 % of what is free); rows that "
    "need\n"
    "                     more are skipped\n";

static bool parse_count(const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || value < least || value > most)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool parse_list(char *text, uint32_t least, uint32_t most, struct list *out)
{
    out->count = 0;
    for (char *rest = text, *item; (item = strtok_r(rest, ",", &rest)) != NULL; out->count++)
        if (out->count == LIST_MAX || !parse_count(item, least, most, &out->values[out->count]))
            return false;
    return out->count > 0;
}

static bool parse_option(struct bench *bench, int option, char *value)
{
    uint32_t mib = 0;
    switch (option) {
    case 'm':
        bench->model_path = value;
        return true;
    case 'p':
        bench->path_name = value;
        return true;
    case 'o':
        bench->operation = value;
        return strcmp(value, "prefill") == 0 || strcmp(value, "decode") == 0;
    case 't':
        return parse_count(value, 1, 1024, &bench->threads);
    case 'r':
        return parse_count(value, 1, REPEAT_MAX, &bench->repeat);
    case 's':
        return parse_count(value, 1, 1u << 20, &bench->step_tokens);
    case 'b':
        return parse_list(value, 1, 4096, &bench->batches);
    case 'c':
        if (!parse_list(value, CONTEXT_MIN, 1u << 24, &bench->contexts))
            return false;
        bench->lengths = bench->contexts;
        return true;
    case 'd':
        return kv_type_find(value, &bench->kv_type);
    case 'k':
        if (!parse_count(value, 1, 1u << 24, &mib))
            return false;
        bench->cache_bytes_max = (uint64_t)mib << 20;
        return true;
    case 'l':
        bench->uses_planner = true;
        return true;
    default:
        return false;
    }
}

static void parse_options(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {{"model", required_argument, NULL, 'm'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"operation", required_argument, NULL, 'o'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"context", required_argument, NULL, 'c'},
                                            {"repeat", required_argument, NULL, 'r'},
                                            {"step-tokens", required_argument, NULL, 's'},
                                            {"planner", no_argument, NULL, 'l'},
                                            {"kv-cache-dtype", required_argument, NULL, 'd'},
                                            {"cache-mib", required_argument, NULL, 'k'},
                                            {0}};
    bool is_valid = true;
    for (int c; is_valid && (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        is_valid = parse_option(bench, c, optarg);
    if (!is_valid || optind != argc || bench->model_path == NULL) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void open_file(struct bench *bench)
{
    struct error_note note = {""};
    status s = model_source_open(bench->model_path, &bench->source, &note);
    if (s == STATUS_OK)
        s = model_file_info(bench->source, bench->kv_type, &bench->file_info, &note);
    if (s == STATUS_OK && model_source_gguf(bench->source) == NULL) {
        error_note_set(&note, "%s is not a GGUF file", bench->model_path);
        s = STATUS_UNSUPPORTED;
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "engine_bench: %s\n", note.text);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {.batches = default_batches,
                          .contexts = default_contexts,
                          .lengths = default_lengths,
                          .threads = thread_core_count(),
                          .repeat = 5,
                          .step_tokens = 512,
                          .cache_bytes_max =
                              (uint64_t)((double)memory_available_bytes() * CACHE_SHARE)};
    CHECK(kv_type_find("auto", &bench.kv_type));
    parse_options(&bench, argc, argv);
    open_file(&bench);
    bench.rows = json_array();
    bench.paths = json_object();
    json_t *machine = machine_json();
    if (bench_paths(&bench) == 0) {
        fprintf(stderr, "engine_bench: this CPU has no such path\n");
        return 1;
    }
    const struct model_info *info = &bench.file_info;
    json_t *report =
        json_pack("{s:s,s:o,s:{s:s,s:s,s:I,s:I},s:i,s:i,s:b,s:s,s:I,s:o,s:o}", "benchmark",
                  "engine", "machine", machine, "model", "name", info->name, "architecture",
                  info->architecture, "parameters", (json_int_t)info->parameter_count, "file_bytes",
                  (json_int_t)info->weight_bytes, "threads", (int)bench.threads, "step_tokens",
                  (int)bench.step_tokens, "planner", bench.uses_planner, "kv_cache_dtype",
                  kv_type_name(bench.kv_type), "cache_bytes_max", (json_int_t)bench.cache_bytes_max,
                  "paths", bench.paths, "rows", bench.rows);
    CHECK(report != NULL);
    int result = json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    (void)putchar('\n');
    json_decref(report);
    model_source_close(bench.source);
    return result == 0 ? 0 : 1;
}
