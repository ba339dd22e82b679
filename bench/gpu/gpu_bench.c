/* The whole engine on a backend, without a network: for tools/gpu-check and by hand.
 *
 *   gpu_bench tokens --model M --backend B --requests N --prompt P --output O
 *       what the model says to N prompts of P fixed tokens, O tokens each, greedily: for comparing backends
 *   gpu_bench speed --model M --backend B --batches 1,8,32 --prompt P --output O [--kv TYPE]
 *       per batch: time to first token, inter-token times, tokens a second, bytes that a decode step has to read over the time it
 *       takes, host work a step, the share of the time in which the device was busy
 *
 * One JSON document on stdout. */

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "engine_crowd.h"

#define BATCHES_MAX 16u
#define WARM_OUTPUT 8u

struct arguments {
    const char *model, *backend, *kv_type;
    uint32_t batches[BATCHES_MAX], batch_count;
    uint32_t requests, prompt, output, chunk;
};

static engine *open_engine(const struct arguments *a, uint32_t sequences)
{
    struct error_note note = {""};
    uint32_t context = a->prompt + a->output;
    struct engine_options options = {.model_path = a->model,
                                     .backend = a->backend,
                                     .kv_cache_dtype = a->kv_type,
                                     .context_max = context,
                                     .sequence_count_max = sequences,
                                     .batch_tokens_max =
                                         a->chunk > sequences ? a->chunk : sequences,
                                     .queue_requests_max = sequences,
                                     .queue_tokens_max = (uint64_t)sequences * context};
    engine *e = NULL;
    status s = engine_open(&options, &e, &note);
    if (s == STATUS_OK)
        return e;
    (void)fprintf(stderr, "gpu_bench: %s (%s)\n", note.text, status_name(s));
    exit(s == STATUS_UNSUPPORTED ? 77 : 1);
}

static json_t *must(json_t *json)
{
    CHECK(json != NULL);
    return json;
}

static json_t *run_tokens(const struct arguments *a)
{
    engine *e = open_engine(a, a->requests);
    struct crowd_options options = {a->requests, a->prompt, a->output, 1};
    struct crowd_result result;
    crowd_run(e, &options, &result);
    json_t *rows = must(json_array());
    for (uint32_t i = 0; i < a->requests; i++) {
        json_t *row = must(json_array());
        for (uint32_t t = 0; t < a->output; t++)
            json_array_append_new(row, json_integer(result.tokens[(size_t)i * a->output + t]));
        json_array_append_new(rows, row);
    }
    json_t *all =
        must(json_pack("{s:s,s:o}", "backend", engine_get_info(e)->backend, "tokens", rows));
    crowd_result_deinit(&result);
    engine_close(e);
    return all;
}

static double percentile_ms(const struct crowd_result *result, double share)
{
    if (result->gap_count == 0)
        return 0.0;
    uint32_t at = (uint32_t)(share * (result->gap_count - 1));
    return (double)result->gaps_ns[at] / 1e6;
}

/* What one decode step has to read: the weights, and every sequence's keys and values. */
static double step_bytes(const engine *e, const struct arguments *a, uint32_t batch)
{
    const struct engine_info *info = engine_get_info(e);
    double context = a->prompt + a->output / 2.0;
    return (double)info->weight_bytes + batch * context * (double)info->kv_bytes_per_token;
}

static json_t *run_batch(engine *e, const struct arguments *a, uint32_t batch)
{
    struct crowd_options warm = {batch, a->prompt, WARM_OUTPUT, 2 * batch};
    struct crowd_options options = {batch, a->prompt, a->output, 2 * batch + 1};
    struct engine_stats before, after;
    struct crowd_result result;
    crowd_run(e, &warm, &result);
    crowd_result_deinit(&result);
    engine_get_stats(e, &before);
    crowd_run(e, &options, &result);
    engine_get_stats(e, &after);
    double seconds = (double)result.decode_ns / 1e9;
    double rate = seconds > 0 ? result.decode_tokens / seconds : 0.0;
    double steps = (double)(after.steps - before.steps);
    double device_ns = (double)(after.device_busy_ns - before.device_busy_ns);
    double host_ns = (double)(after.busy_ns - before.busy_ns) -
                     (double)(after.device_wait_ns - before.device_wait_ns);
    json_t *row = must(json_pack("{s:i,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "batch", (int)batch,
                                 "prompt", (int)a->prompt, "output", (int)a->output,
                                 "first_token_ms", (double)result.first_token_ns / 1e6,
                                 "inter_token_p50_ms", percentile_ms(&result, 0.5),
                                 "inter_token_p99_ms", percentile_ms(&result, 0.99), "tokens_per_s",
                                 rate, "read_bytes_per_s", step_bytes(e, a, batch) * rate / batch,
                                 "host_us_per_step", host_ns / 1e3 / (steps > 0 ? steps : 1),
                                 "device_busy_share", device_ns / (double)result.elapsed_ns));
    crowd_result_deinit(&result);
    return row;
}

static json_t *run_speed(const struct arguments *a)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < a->batch_count; i++)
        most = a->batches[i] > most ? a->batches[i] : most;
    engine *e = open_engine(a, most);
    json_t *rows = must(json_array());
    for (uint32_t i = 0; i < a->batch_count; i++)
        json_array_append_new(rows, run_batch(e, a, a->batches[i]));
    const struct engine_info *info = engine_get_info(e);
    json_t *all = must(json_pack("{s:s,s:I,s:I,s:o}", "backend", info->backend, "weight_bytes",
                                 (json_int_t)info->weight_bytes, "kv_bytes_per_token",
                                 (json_int_t)info->kv_bytes_per_token, "rows", rows));
    engine_close(e);
    return all;
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: gpu_bench tokens|speed --model PATH --backend NAME [--requests N] "
                  "[--batches LIST] [--prompt N] [--output N] [--chunk N] [--kv TYPE]\n");
    return 2;
}

static bool read_list(const char *text, struct arguments *a)
{
    char *end;
    for (a->batch_count = 0; a->batch_count < BATCHES_MAX; text = end + 1) {
        unsigned long value = strtoul(text, &end, 10);
        if (end == text || value == 0 || value > 4096)
            return false;
        a->batches[a->batch_count++] = (uint32_t)value;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
    }
    return false;
}

static bool read_number(const char *text, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    return end != text && *end == '\0' && value > 0 && value <= 1u << 20;
}

static bool read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"model", required_argument, NULL, 'm'},
                                            {"backend", required_argument, NULL, 'b'},
                                            {"requests", required_argument, NULL, 'r'},
                                            {"batches", required_argument, NULL, 'l'},
                                            {"prompt", required_argument, NULL, 'p'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"chunk", required_argument, NULL, 'c'},
                                            {"kv", required_argument, NULL, 'k'},
                                            {0}};
    *a = (struct arguments){.requests = 4, .prompt = 128, .output = 64, .chunk = 2048};
    a->batches[0] = a->batch_count = 1;
    bool is_good = true;
    for (int c; is_good && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'm':
            a->model = optarg;
            break;
        case 'b':
            a->backend = optarg;
            break;
        case 'k':
            a->kv_type = optarg;
            break;
        case 'r':
            is_good = read_number(optarg, &a->requests);
            break;
        case 'l':
            is_good = read_list(optarg, a);
            break;
        case 'p':
            is_good = read_number(optarg, &a->prompt);
            break;
        case 'o':
            is_good = read_number(optarg, &a->output);
            break;
        case 'c':
            is_good = read_number(optarg, &a->chunk);
            break;
        default:
            is_good = false;
        }
    }
    return is_good && optind + 1 == argc && a->model != NULL && a->backend != NULL;
}

int main(int argc, char **argv)
{
    struct arguments a;
    if (!read_arguments(argc, argv, &a))
        return usage();
    json_t *all;
    if (strcmp(argv[optind], "tokens") == 0)
        all = run_tokens(&a);
    else if (strcmp(argv[optind], "speed") == 0)
        all = run_speed(&a);
    else
        return usage();
    int failed = json_dumpf(all, stdout, JSON_REAL_PRECISION(9));
    (void)fputc('\n', stdout);
    json_decref(all);
    return failed == 0 ? 0 : 1;
}
