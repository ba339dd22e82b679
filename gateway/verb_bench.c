/* penstock bench: what a server does under a load. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "calibration.h"
#include "check.h"
#include "clock.h"
#include "verbs.h"

#define REPORT_BYTES_MAX (1u << 20)
#define MODEL_BYTES_MAX  1024u
#define URL_BYTES        1000u
#define RATE_MAX         1e6
#define CONCURRENCY_MAX  4096
#define OPEN_CONCURRENCY                                                                           \
    1024u /* streams at once where only a rate is given: more would be the client's own limit that is measured */
#define TOKENS_MAX   1000000
#define KEY_VARIABLE "PENSTOCK_API_KEY" /* as a word of the command line others could see it */

static const char verb[] = "penstock bench";

/* What the command line says, before it is looked at. */
struct words {
    const char *url, *rate, *format;
    int32_t concurrency, requests, seconds, prompt, output, shared, ttft_ms, gap_ms, seed;
    bool is_calibration;
};

static bool rate_read(const char *text, double *out)
{
    char *end = NULL;

    if (text == NULL)
        return true;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*out) && *out > 0 && *out <= RATE_MAX)
        return true;
    (void)fprintf(stderr, "%s: --rate must be a number of requests a second above 0, not '%s'\n",
                  verb, text);
    return false;
}

static bool words_check(const struct words *words, struct bench_order *order, char url[URL_BYTES])
{
    size_t bytes = words->url != NULL ? strlen(words->url) : 0;

    if (words->url == NULL || strstr(words->url, "://") == NULL) {
        (void)fprintf(stderr, "%s: needs the URL of an API, for example http://127.0.0.1:8080\n",
                      verb);
        return false;
    }
    while (bytes > 0 && words->url[bytes - 1] == '/')
        bytes--;
    if (bytes >= URL_BYTES) {
        (void)fprintf(stderr, "%s: the URL is too long\n", verb);
        return false;
    }
    (void)snprintf(url, URL_BYTES, "%.*s", (int)bytes, words->url);
    if (words->concurrency == 0 || words->requests == 0 || words->prompt == 0 ||
        words->output == 0) {
        (void)fprintf(
            stderr,
            "%s: --concurrency, --requests, --prompt-tokens and --output-tokens begin at 1\n",
            verb);
        return false;
    }
    if (strcmp(words->format, "text") != 0 && strcmp(words->format, "json") != 0) {
        (void)fprintf(stderr, "%s: --format is text or json, not '%s'\n", verb, words->format);
        return false;
    }
    return rate_read(words->rate, &order->load.rate);
}

static void print(const struct buffer *out)
{
    (void)fwrite(out->data, 1, out->bytes, stdout);
    (void)fflush(stdout);
}

static int run(const struct bench_order *order, bool is_json)
{
    struct bench_result result;
    struct error_note note = {""};
    struct buffer out;
    status outcome = bench_run(order, &result, &note);
    int code = 1;

    if (outcome != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", verb,
                      note.text[0] != '\0' ? note.text : status_name(outcome));
    } else {
        buffer_init(&out, REPORT_BYTES_MAX);
        if (is_json)
            bench_write_json(order, &result, &out);
        else
            bench_write_text(order, &result, &out);
        print(&out);
        buffer_deinit(&out);
        code = result.failed == 0 ? 0 : 1;
    }
    bench_result_deinit(&result);
    return code;
}

static int calibrate(const struct bench_order *order)
{
    struct error_note note = {""};
    struct step_cost cost;
    struct buffer out;
    status outcome = calibration_measure(order, &cost, &note);

    if (outcome != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", verb,
                      note.text[0] != '\0' ? note.text : status_name(outcome));
        return 1;
    }
    buffer_init(&out, REPORT_BYTES_MAX);
    calibration_write(order->load.model, &cost, &out);
    print(&out);
    buffer_deinit(&out);
    return 0;
}

static int run_words(const struct words *words, struct bench_order *order)
{
    struct error_note note = {""};
    struct buffer model;
    int code = 1;

    buffer_init(&model, MODEL_BYTES_MAX);
    if (order->load.model == NULL && bench_find_model(order, &model, &note) == STATUS_OK &&
        model.failed == STATUS_OK)
        order->load.model = model.data;
    if (order->load.model == NULL)
        (void)fprintf(stderr, "%s: %s\n", verb,
                      note.text[0] != '\0' ? note.text : "the model's name is too long");
    else
        code = words->is_calibration ? calibrate(order)
                                     : run(order, strcmp(words->format, "json") == 0);
    buffer_deinit(&model);
    return code;
}

int verb_bench(int argument_count, char **arguments)
{
    struct words words = {.format = "text",
                          .concurrency = -1,
                          .requests = 100,
                          .prompt = 128,
                          .output = 64,
                          .seed = 1};
    struct bench_order order = {.load = {.group_count = 1, .turns = 1}};
    char url[URL_BYTES];
    const struct flag flags[] = {
        {.name = "--model", .text = &order.load.model},
        {.name = "--rate", .text = &words.rate},
        {.name = "--concurrency", .number = &words.concurrency, .number_max = CONCURRENCY_MAX},
        {.name = "--requests", .number = &words.requests, .number_max = 1000000},
        {.name = "--seconds", .number = &words.seconds, .number_max = 1000000},
        {.name = "--prompt-tokens", .number = &words.prompt, .number_max = TOKENS_MAX},
        {.name = "--output-tokens", .number = &words.output, .number_max = TOKENS_MAX},
        {.name = "--shared-tokens", .number = &words.shared, .number_max = TOKENS_MAX},
        {.name = "--ttft-slo-ms", .number = &words.ttft_ms, .number_max = 1000000},
        {.name = "--inter-token-slo-ms", .number = &words.gap_ms, .number_max = 1000000},
        {.name = "--seed", .number = &words.seed, .number_max = INT32_MAX},
        {.name = "--ca-file", .text = &order.ca_file},
        {.name = "--format", .text = &words.format},
        {.name = "--calibrate", .is_given = &words.is_calibration},
    };

    if (!arguments_read("bench", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &words.url) ||
        !words_check(&words, &order, url))
        return EXIT_USAGE;
    order.url = url;
    order.key = getenv(KEY_VARIABLE); // NOLINT: one thread
    order.load.seed = (uint64_t)words.seed;
    order.load.prompt_words = (uint32_t)words.prompt;
    order.load.output_tokens = (uint32_t)words.output;
    order.load.shared_words = (uint32_t)words.shared;
    order.concurrency = words.concurrency > 0 ? (uint32_t)words.concurrency
                        : words.rate != NULL  ? OPEN_CONCURRENCY
                                              : 8;
    order.request_count = (uint64_t)words.requests;
    order.duration_ns = (uint64_t)words.seconds * NS_PER_SECOND;
    order.ttft_slo_ms = words.ttft_ms;
    order.gap_slo_ms = words.gap_ms;
    return run_words(&words, &order);
}
