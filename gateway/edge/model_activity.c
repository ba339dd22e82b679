#include "model_activity.h"

#include "edge.h"

static void add(_Atomic uint64_t *sum, uint64_t amount)
{
    if (amount > 0)
        atomic_fetch_add_explicit(sum, amount, memory_order_relaxed);
}

void model_activity_note(const struct edge_record *record)
{
    const struct request_usage *usage = &record->usage;
    struct model_activity *activity;

    if (record->model == NULL || record->proxy == NULL) /* it was not for a model */
        return;
    activity = &record->edge->activities[record->model->index];
    add(&activity->requests, 1);
    add(&activity->errors, record->status_code >= 500);
    add(&activity->refused, record->status_code == 429);
    add(&activity->prompt_tokens, usage->prompt_tokens);
    add(&activity->cached_tokens, usage->cached_tokens);
    add(&activity->output_tokens, usage->completion_tokens);
    if (usage->cost_nano != 0)
        atomic_fetch_add_explicit(&activity->cost_nano, usage->cost_nano, memory_order_relaxed);
}

void model_activity_refuse(struct model_activity *activity)
{
    add(&activity->requests, 1);
    add(&activity->refused, 1);
}

static double take(_Atomic uint64_t *sum)
{
    return (double)atomic_exchange_explicit(sum, 0, memory_order_relaxed);
}

void model_activity_take(struct model_activity *activity, struct history_row *row)
{
    row->values[HISTORY_REQUESTS] += take(&activity->requests);
    row->values[HISTORY_ERRORS] += take(&activity->errors);
    row->values[HISTORY_REFUSED] += take(&activity->refused);
    row->values[HISTORY_PROMPT_TOKENS] += take(&activity->prompt_tokens);
    row->values[HISTORY_CACHED_TOKENS] += take(&activity->cached_tokens);
    row->values[HISTORY_OUTPUT_TOKENS] += take(&activity->output_tokens);
    row->values[HISTORY_COST] +=
        (double)atomic_exchange_explicit(&activity->cost_nano, 0, memory_order_relaxed) / 1e9;
    latency_counts_take(&activity->first_token, &row->first_token);
    latency_counts_take(&activity->inter_token, &row->inter_token);
}
