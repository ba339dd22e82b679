#include "encoder_metrics.h"

#include "check.h"

/* vLLM's buckets (vllm/v1/metrics/buckets.py), with shorter ones before them: a short text takes a millisecond. */
static const double second_bounds[] = {.001, .0025, .005, .01, .025, .05, .1, .3, .5, .8, 1,
                                       1.5,  2,     2.5,  5,   10,   15,  20, 30, 60, 120};
static const double token_bounds[] = {1,   8,    16,   32,   64,   128,  256,
                                      512, 1024, 2048, 4096, 8192, 16384};

status encoder_metrics_init(struct encoder_metrics *m, metrics_registry *registry,
                            const char *model_name)
{
    static const char *const labels[] = {"model_name", "engine", NULL};
    static const char *const reasons[] = {"model_name", "engine", "finished_reason", NULL};
    const char *values[] = {model_name, "0", "stop"};
    const struct {
        enum metrics_kind kind;
        const char *name, *help;
        const double *bounds;
        uint32_t bound_count;
        metrics_series **out;
    } rows[] = {
        {METRICS_GAUGE, "vllm:num_requests_running", "Requests with texts in the running pass.",
         NULL, 0, &m->running},
        {METRICS_GAUGE, "vllm:num_requests_waiting", "Requests waiting to run.", NULL, 0,
         &m->waiting},
        {METRICS_COUNTER, "vllm:prompt_tokens_total", "Tokens of texts processed.", NULL, 0,
         &m->prompt_tokens},
        {METRICS_COUNTER, "vllm:request_success_total", "Requests that ended well.", NULL, 0,
         &m->succeeded},
        {METRICS_HISTOGRAM, "vllm:e2e_request_latency_seconds", "From submission to the end.",
         second_bounds, ARRAY_COUNT(second_bounds), &m->latency},
        {METRICS_HISTOGRAM, "vllm:request_queue_time_seconds", "From submission to the first pass.",
         second_bounds, ARRAY_COUNT(second_bounds), &m->queue_time},
        {METRICS_HISTOGRAM, "vllm:iteration_tokens_total", "Tokens of one pass.", token_bounds,
         ARRAY_COUNT(token_bounds), &m->pass_tokens},
        {METRICS_HISTOGRAM, "vllm:request_prompt_tokens", "Tokens of a request.", token_bounds,
         ARRAY_COUNT(token_bounds), &m->request_tokens},
    };
    *m = (struct encoder_metrics){.running = NULL};
    if (registry == NULL)
        return STATUS_OK;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct metrics_family_options options = {
            .kind = rows[i].kind,
            .name = rows[i].name,
            .help = rows[i].help,
            .labels = rows[i].out == &m->succeeded ? reasons : labels,
            .bounds = rows[i].bounds,
            .bound_count = rows[i].bound_count,
        };
        metrics_family *family = NULL;
        status s = metrics_family_create(registry, &options, &family);
        if (s != STATUS_OK)
            return s;
        *rows[i].out = metrics_series_get(family, values);
    }
    return STATUS_OK;
}
