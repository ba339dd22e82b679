#include "history_row.h"

#include "check.h"

static const char *const names[HISTORY_VALUE_COUNT] = {
    [HISTORY_REQUESTS] = "requests",
    [HISTORY_ERRORS] = "errors",
    [HISTORY_REFUSED] = "refused",
    [HISTORY_PROMPT_TOKENS] = "prompt_tokens",
    [HISTORY_CACHED_TOKENS] = "cached_tokens",
    [HISTORY_OUTPUT_TOKENS] = "output_tokens",
    [HISTORY_COST] = "cost",
    [HISTORY_DRAFTED_TOKENS] = "drafted_tokens",
    [HISTORY_ACCEPTED_TOKENS] = "accepted_tokens",
    [HISTORY_WAITING_SECONDS] = "waiting_seconds",
    [HISTORY_RUNNING_SECONDS] = "running_seconds",
    [HISTORY_KV_SECONDS] = "kv_seconds",
    [HISTORY_UP_SECONDS] = "up_seconds",
};

const char *history_value_name(enum history_value value)
{
    CHECK(value >= 0 && value < HISTORY_VALUE_COUNT);
    if ((int)value < TIME_COUNT)
        return replica_time_name((enum replica_time)value);
    return names[value];
}

void history_row_add(struct history_row *row, const struct history_row *other)
{
    for (int i = 0; i < HISTORY_VALUE_COUNT; i++)
        row->values[i] += other->values[i];
    latency_histogram_add(&row->first_token, &other->first_token);
    latency_histogram_add(&row->inter_token, &other->inter_token);
}

double history_row_replica_seconds(const struct history_row *row)
{
    double sum = 0;

    for (int i = 0; i < TIME_COUNT; i++)
        sum += row->values[i];
    return sum;
}

bool history_row_is_empty(const struct history_row *row)
{
    for (int i = 0; i < HISTORY_VALUE_COUNT; i++) {
        if (row->values[i] > 0)
            return false;
    }
    return latency_histogram_count(&row->first_token) == 0 &&
           latency_histogram_count(&row->inter_token) == 0;
}
