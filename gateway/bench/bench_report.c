#include "bench.h"
#include "check.h"
#include "json.h"

static const double shares[] = {0.5, 0.9, 0.95, 0.99, 1};
static const char *const share_names[] = {"p50", "p90", "p95", "p99", "max"};

static double seconds_of(const struct bench_result *result)
{
    double seconds = (double)(result->ended_ns - result->started_ns) / 1e9;

    return seconds > 0 ? seconds : 1e-9;
}

static void row_write(const char *name, struct bench_samples *samples, struct buffer *out)
{
    buffer_append_format(out, "%-15s %9.1f", name, bench_samples_mean(samples));
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++)
        buffer_append_format(out, " %9.1f", bench_samples_percentile(samples, shares[i]));
    buffer_append_byte(out, '\n');
}

void bench_write_text(const struct bench_order *order, struct bench_result *result,
                      struct buffer *out)
{
    double seconds = seconds_of(result);
    uint64_t ended = result->sent - result->failed;

    if (order->load.rate > 0)
        buffer_append_format(out, "%s, %s, %g requests a second (Poisson, at most %u at once)\n",
                             order->url, order->load.model, order->load.rate, order->concurrency);
    else
        buffer_append_format(out, "%s, %s, %u clients that ask again at once\n", order->url,
                             order->load.model, order->concurrency);
    buffer_append_format(out, "requests        %llu in %.1f s, %.2f a second; %llu failed\n",
                         (unsigned long long)result->sent, seconds, (double)ended / seconds,
                         (unsigned long long)result->failed);
    if (result->failed > 0)
        buffer_append_format(out, "first failure   %s\n", result->first_failure.text);
    buffer_append_format(
        out,
        "tokens          prompts %llu (%llu from a cache), answers %llu; %.1f answered a second\n",
        (unsigned long long)result->prompt_tokens, (unsigned long long)result->cached_tokens,
        (unsigned long long)result->output_tokens, (double)result->output_tokens / seconds);
    buffer_append_format(out, "%-15s %9s", "milliseconds", "mean");
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++)
        buffer_append_format(out, " %9s", share_names[i]);
    buffer_append_byte(out, '\n');
    row_write("first token", &result->ttft, out);
    row_write("between tokens", &result->gap, out);
    row_write("whole answer", &result->end_to_end, out);
    if (order->ttft_slo_ms > 0 || order->gap_slo_ms > 0)
        buffer_append_format(
            out, "goodput         %.2f requests a second, %.1f %% within the service level\n",
            (double)result->good / seconds,
            result->sent > 0 ? 100.0 * (double)result->good / (double)result->sent : 0);
}

static void count(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void number(struct buffer *out, const char *key, double value)
{
    json_write_key(out, key);
    json_write_double(out, value);
}

static void samples_write(const char *key, struct bench_samples *samples, struct buffer *out)
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
    count(out, "count", samples->count);
    number(out, "mean", bench_samples_mean(samples));
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++)
        number(out, share_names[i], bench_samples_percentile(samples, shares[i]));
    buffer_append_byte(out, '}');
}

void bench_write_json(const struct bench_order *order, struct bench_result *result,
                      struct buffer *out)
{
    double seconds = seconds_of(result);

    buffer_append_byte(out, '{');
    json_write_key(out, "url");
    json_write_text(out, order->url);
    json_write_key(out, "model");
    json_write_text(out, order->load.model);
    json_write_key(out, "rate");
    if (order->load.rate > 0)
        json_write_double(out, order->load.rate);
    else
        json_write_text(out, NULL);
    count(out, "concurrency", order->concurrency);
    number(out, "seconds", seconds);
    count(out, "requests", result->sent);
    count(out, "failed", result->failed);
    json_write_key(out, "first_failure");
    json_write_text(out, result->failed > 0 ? result->first_failure.text : NULL);
    number(out, "requests_per_second", (double)(result->sent - result->failed) / seconds);
    count(out, "prompt_tokens", result->prompt_tokens);
    count(out, "cached_tokens", result->cached_tokens);
    count(out, "output_tokens", result->output_tokens);
    number(out, "output_tokens_per_second", (double)result->output_tokens / seconds);
    count(out, "good_requests", result->good);
    number(out, "goodput_requests_per_second", (double)result->good / seconds);
    samples_write("ttft_ms", &result->ttft, out);
    samples_write("inter_token_ms", &result->gap, out);
    samples_write("end_to_end_ms", &result->end_to_end, out);
    buffer_append_text(out, "}\n");
}
