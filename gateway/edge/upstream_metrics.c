#include "upstream_metrics.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"

enum meaning { RUNNING, WAITING, KV_USAGE };

static const struct {
    const char *name;
    enum meaning meaning;
} names[] = {
    {"vllm:num_requests_running", RUNNING},    {"vllm:num_requests_waiting", WAITING},
    {"vllm:kv_cache_usage_perc", KV_USAGE},    {"vllm:gpu_cache_usage_perc", KV_USAGE},
    {"sglang:num_running_reqs", RUNNING},      {"sglang:num_queue_reqs", WAITING},
    {"sglang:token_usage", KV_USAGE},          {"llamacpp:requests_processing", RUNNING},
    {"llamacpp:requests_deferred", WAITING},   {"llamacpp:kv_cache_usage_ratio", KV_USAGE},
    {"trtllm_num_requests_running", RUNNING},  {"trtllm_num_requests_waiting", WAITING},
    {"trtllm_kv_cache_utilization", KV_USAGE},
};

#define NUMBER_BYTES_MAX 63u

/* The value of a line, behind its name and labels; NaN: it has none. */
static double value_read(struct text_slice rest)
{
    char number[NUMBER_BYTES_MAX + 1];
    size_t bytes = 0;
    char *end;
    double value;

    if (rest.bytes > 0 && rest.data[0] == '{') {
        const char *close = memrchr(rest.data, '}', rest.bytes);

        if (close == NULL)
            return NAN;
        rest.bytes -= (size_t)(close + 1 - rest.data);
        rest.data = close + 1;
    }
    while (rest.bytes > 0 && (*rest.data == ' ' || *rest.data == '\t')) {
        rest.data++;
        rest.bytes--;
    }
    while (bytes < rest.bytes && bytes < NUMBER_BYTES_MAX &&
           !isspace((unsigned char)rest.data[bytes])) {
        number[bytes] = rest.data[bytes];
        bytes++;
    }
    number[bytes] = '\0';
    value = strtod(number, &end);
    return bytes > 0 && *end == '\0' ? value : NAN;
}

static uint32_t count_of(double value)
{
    return value > 0 ? value < 1e9 ? (uint32_t)(value + 0.5) : 1000000000u : 0;
}

static void take(struct upstream_load *load, enum meaning meaning, double value)
{
    if (meaning == RUNNING)
        load->running += count_of(value);
    else if (meaning == WAITING)
        load->waiting += count_of(value);
    else if (value > load->kv_usage)
        load->kv_usage = value < 1 ? value : 1;
}

static bool line_read(struct text_slice line, struct upstream_load *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t bytes = strlen(names[i].name);
        double value;

        if (line.bytes <= bytes || memcmp(line.data, names[i].name, bytes) != 0 ||
            strchr("{ \t", line.data[bytes]) == NULL)
            continue;
        value = value_read((struct text_slice){line.data + bytes, line.bytes - bytes});
        if (isnan(value))
            return false;
        take(out, names[i].meaning, value);
        return true;
    }
    return false;
}

bool upstream_metrics_read(struct text_slice text, struct upstream_load *out)
{
    bool has_any = false;

    *out = (struct upstream_load){0};
    while (text.bytes > 0) {
        const char *end = memchr(text.data, '\n', text.bytes);
        size_t bytes = end != NULL ? (size_t)(end - text.data) : text.bytes;

        has_any |= line_read((struct text_slice){text.data, bytes}, out);
        bytes += end != NULL;
        text.data += bytes;
        text.bytes -= bytes;
    }
    return has_any;
}
