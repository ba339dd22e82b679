#include "minute.h"

#include <math.h>
#include <string.h>

#include "memory.h"

#define MINUTE_S 60.0

const struct time_state time_states[TIME_STATES] = {
    {"busy_prefill", "prompts", 'P', 231, 25},  {"busy_decode", "answers", 'D', 16, 74},
    {"waiting_kv", "KV cache", 'K', 16, 140},   {"cold_start", "starts", 'C', 16, 214},
    {"held_by_limits", "limits", 'L', 16, 209}, {"fragmentation", "fragments", 'F', 16, 144},
    {"broken", "broken", 'X', 231, 160},        {"idle_no_traffic", "idle", '.', 248, 238},
};

static double number_or_0(const json_t *object, const char *key)
{
    double value = fact_number(object, key);

    return isfinite(value) ? value : 0;
}

/* The two newest rows of one model, or of all. */
struct rows {
    const json_t *newest, *before;
};

static struct rows rows_find(const json_t *rows, const char *model, double newest_start)
{
    struct rows found = {NULL, NULL};
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        double start = fact_number(row, "start");

        if (model[0] != '\0' && strcmp(fact_text(row, "model"), model) != 0)
            continue;
        if (start == newest_start)
            found.newest = row;
        else if (start == newest_start - MINUTE_S)
            found.before = row;
    }
    return found;
}

static double quantile(const struct rows *rows, const char *of, const char *which)
{
    double value = fact_number(json_object_get(rows->newest, of), which);

    return isfinite(value) ? value : fact_number(json_object_get(rows->before, of), which);
}

static double latest(const struct rows *rows, const char *key)
{
    return fact_number(rows->newest != NULL ? rows->newest : rows->before, key);
}

/* `over_s` of the newest minute is over. */
static void minute_fill(struct minute *minute, const struct rows *rows, double over_s)
{
    const struct {
        const json_t *row;
        double weight;
    } parts[] = {{rows->newest, 1}, {rows->before, (MINUTE_S - over_s) / MINUTE_S}};
    double seconds = over_s + (rows->before != NULL ? MINUTE_S - over_s : 0), replica_seconds = 0;

    for (int i = 0; i < 2 && seconds > 0; i++) {
        double a_second = parts[i].weight / seconds;
        const json_t *states = json_object_get(parts[i].row, "states");

        minute->requests += a_second * number_or_0(parts[i].row, "requests");
        minute->failed += a_second * number_or_0(parts[i].row, "errors");
        minute->output_tokens += a_second * number_or_0(parts[i].row, "output_tokens");
        minute->prompt_tokens += a_second * number_or_0(parts[i].row, "prompt_tokens");
        minute->cost += a_second * number_or_0(parts[i].row, "cost");
        for (int j = 0; j < TIME_STATES; j++) {
            double part = parts[i].weight * fmax(0, number_or_0(states, time_states[j].key));

            minute->shares[j] += part;
            replica_seconds += part;
        }
    }
    for (int j = 0; j < TIME_STATES && replica_seconds > 0; j++)
        minute->shares[j] /= replica_seconds;
    minute->first_p50 = quantile(rows, "ttft", "p50");
    minute->first_p99 = quantile(rows, "ttft", "p99");
    minute->between_p50 = quantile(rows, "inter_token", "p50");
    minute->waiting = latest(rows, "waiting");
    minute->kv_usage = latest(rows, "kv_usage");
}

static struct minute *model_of(struct minutes *minutes, const char *name)
{
    for (uint32_t i = 0; i < minutes->count; i++) {
        if (strcmp(minutes->models[i].name, name) == 0)
            return &minutes->models[i];
    }
    minutes->models[minutes->count].name = name;
    return &minutes->models[minutes->count++];
}

static void replicas_count(struct minutes *minutes, const json_t *replicas)
{
    size_t i;
    json_t *replica;

    json_array_foreach(replicas, i, replica)
    {
        struct minute *model = model_of(minutes, fact_text(replica, "model"));
        bool is_ready = strcmp(fact_text(replica, "state"), "ready") == 0;

        model->under_way += number_or_0(replica, "outstanding");
        minutes->total.under_way += number_or_0(replica, "outstanding");
        model->replicas++;
        model->ready += is_ready;
        minutes->total.replicas++;
        minutes->total.ready += is_ready;
    }
}

bool minutes_init(struct minutes *minutes, const struct top_facts *facts)
{
    const json_t *replicas = top_facts_rows(facts, FACT_REPLICAS, "replicas");
    const json_t *totals = top_facts_rows(facts, FACT_HISTORY, "total");
    const json_t *rows = top_facts_rows(facts, FACT_HISTORY, "rows");
    const json_t *last = json_array_get(totals, json_array_size(totals) - 1);
    double newest_start = fact_number(last, "start"),
           over_s = fmin(MINUTE_S, fmax(0, number_or_0(last, "seconds")));
    size_t i;
    json_t *row;
    struct rows found;

    *minutes = (struct minutes){.total = {.name = ""}};
    minutes->models = memory_allocate_array(json_array_size(replicas) + json_array_size(rows),
                                            sizeof(*minutes->models));
    if (minutes->models == NULL)
        return false;
    replicas_count(minutes, replicas);
    /* Those that have no replica now, but had. */
    json_array_foreach(rows, i, row)
    {
        if (fact_number(row, "start") >= newest_start - MINUTE_S)
            (void)model_of(minutes, fact_text(row, "model"));
    }
    for (uint32_t j = 0; j < minutes->count; j++) {
        found = rows_find(rows, minutes->models[j].name, newest_start);
        minute_fill(&minutes->models[j], &found, over_s);
    }
    found = rows_find(totals, "", newest_start);
    minute_fill(&minutes->total, &found, over_s);
    return true;
}

void minutes_deinit(struct minutes *minutes)
{
    memory_release(minutes->models);
}

uint32_t minutes_find(const struct minutes *minutes, const char *name)
{
    for (uint32_t i = 0; i < minutes->count && name != NULL; i++) {
        if (strcmp(minutes->models[i].name, name) == 0)
            return i;
    }
    return 0;
}
