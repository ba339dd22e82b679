#include "report.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "check.h"

static void samples_add(struct report_samples *samples, uint64_t ns)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 4096 : 2 * samples->capacity;
        samples->milliseconds = realloc(samples->milliseconds, samples->capacity * sizeof(float));
        CHECK(samples->milliseconds != NULL);
    }
    samples->milliseconds[samples->count++] = (float)((double)ns / 1e6);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static bool is_answered(struct report *report, const struct stream_client_result *result)
{
    if (result->status_code == 200 && result->is_complete && result->event_count > 0)
        return true;
    if (report->error_count++ == 0)
        fprintf(stderr, "serving_bench: first failure: HTTP status %d, %u events, %s\n",
                result->status_code, result->event_count, result->is_complete ? "complete" : "cut");
    return false;
}

void report_add(struct report *report, const struct stream_client_result *result)
{
    report->request_count++;
    if (!is_answered(report, result))
        return;
    uint64_t ttft_ns = result->first_token_ns - result->start_ns;
    samples_add(&report->first_token, ttft_ns);
    samples_add(&report->end_to_end, result->end_ns - result->start_ns);
    uint32_t tokens =
        result->completion_tokens > 0 ? result->completion_tokens : result->event_count;
    report->output_tokens += tokens;
    report->prompt_tokens += result->prompt_tokens;
    report->cached_tokens += result->cached_tokens;
    double mean_gap_ms =
        tokens > 1 ? (double)(result->end_ns - result->first_token_ns) / 1e6 / (tokens - 1) : 0;
    bool is_good = (report->ttft_slo_ms <= 0 || (double)ttft_ns / 1e6 <= report->ttft_slo_ms) &&
                   (report->gap_slo_ms <= 0 || mean_gap_ms <= report->gap_slo_ms);
    report->good_count += is_good;
}

void report_add_gap(struct report *report, uint64_t gap_ns)
{
    samples_add(&report->gap, gap_ns);
}

void report_add_gap_beside(struct report *report, uint64_t gap_ns)
{
    samples_add(&report->gap_beside, gap_ns);
}

void report_add_long(struct report *report, const struct stream_client_result *result)
{
    if (is_answered(report, result))
        report->long_prompt = *result;
}

static double percentile(const struct report_samples *samples, double share)
{
    if (samples->count == 0)
        return 0;
    size_t index = (size_t)(share * (double)samples->count);
    return samples->milliseconds[index < samples->count ? index : samples->count - 1];
}

static void write_samples(struct report_samples *samples, FILE *out, const char *name)
{
    if (samples->count > 0)
        qsort(samples->milliseconds, samples->count, sizeof(float), compare_floats);
    fprintf(
        out,
        ",\"%s\":{\"count\":%zu,\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
        name, samples->count, percentile(samples, 0.50), percentile(samples, 0.95),
        percentile(samples, 0.99), percentile(samples, 0.999), percentile(samples, 1.0));
}

static void write_long(struct report *report, FILE *out)
{
    const struct stream_client_result *one = &report->long_prompt;
    fprintf(out, ",\"long_prompt\":{\"prompt_tokens\":%u,\"ttft_ms\":%.3f", one->prompt_tokens,
            (double)(one->first_token_ns - one->start_ns) / 1e6);
    write_samples(&report->gap_beside, out, "inter_token_ms");
    fprintf(out, "}");
}

void report_write(struct report *report, FILE *out, const char *name, uint32_t concurrency,
                  double rate)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    double client_cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    double seconds = (double)(report->ended_ns - report->started_ns) / 1e9;
    fprintf(out,
            "{\"name\":\"%s\",\"concurrency\":%u,\"rate\":%g,\"seconds\":%.3f,\"requests\":%llu,"
            "\"errors\":%llu,"
            "\"prompt_tokens\":%llu,\"cached_tokens\":%llu,\"output_tokens\":%llu,\"output_tokens_"
            "per_second\":%.2f,"
            "\"goodput_requests_per_second\":%.3f,\"client_cpu_seconds\":%.3f",
            name, concurrency, rate, seconds, (unsigned long long)report->request_count,
            (unsigned long long)report->error_count, (unsigned long long)report->prompt_tokens,
            (unsigned long long)report->cached_tokens, (unsigned long long)report->output_tokens,
            (double)report->output_tokens / seconds, (double)report->good_count / seconds,
            client_cpu);
    write_samples(&report->first_token, out, "ttft_ms");
    write_samples(&report->gap, out, "inter_token_ms");
    write_samples(&report->end_to_end, out, "end_to_end_ms");
    if (report->long_prompt.is_complete)
        write_long(report, out);
    fprintf(out, "}\n");
}

void report_deinit(struct report *report)
{
    free(report->first_token.milliseconds);
    free(report->gap.milliseconds);
    free(report->gap_beside.milliseconds);
    free(report->end_to_end.milliseconds);
}
