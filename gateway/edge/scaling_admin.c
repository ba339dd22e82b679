#include "scaling_admin.h"

#include "control_internal.h"
#include "control_question.h"
#include "json.h"

static void number(struct buffer *out, const char *key, double value)
{
    json_write_key(out, key);
    json_write_double(out, value);
}

static void count(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void open(struct buffer *out, const char *key)
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
}

static void counts_write(const struct model_scaling *scaling, const struct control *control,
                         struct buffer *out)
{
    uint32_t starting = 0, asleep = 0, leaving = 0;

    for (uint32_t i = 0; i < scaling->model->replica_count; i++) {
        enum replica_state state = edge_replica_state(&scaling->model->replicas[i]);

        starting += state == REPLICA_PLACING || state == REPLICA_STARTING;
        asleep += state == REPLICA_ASLEEP;
        leaving += control->slots[scaling->first_slot + i].leave_by_ns != UINT64_MAX;
    }
    count(out, "desired", scaling->count);
    count(out, "ready", edge_ready_count(scaling->model));
    count(out, "starting", starting);
    count(out, "asleep", asleep);
    count(out, "leaving", leaving);
}

static void needs_write(const struct autoscaler_decision *decision, struct buffer *out)
{
    open(out, "bounds");
    count(out, "min", decision->count_min);
    count(out, "max", decision->count_max);
    buffer_append_byte(out, '}');
    open(out, "arrivals_per_second");
    number(out, "stable", decision->arrivals_per_s);
    number(out, "panic", decision->arrivals_panic_per_s);
    buffer_append_byte(out, '}');
    number(out, "concurrency", decision->concurrency);
    number(out, "load", decision->load);
    number(out, "backlog", decision->backlog);
    json_write_key(out, "forecast_per_second");
    if (decision->forecast_per_s < 0)
        json_write_text(out, NULL);
    else
        json_write_double(out, decision->forecast_per_s);
    open(out, "needs");
    number(out, "stable", decision->need_stable);
    number(out, "panic", decision->need_panic);
    number(out, "forecast", decision->need_forecast);
    buffer_append_byte(out, '}');
    count(out, "stabilised", decision->count_stabilised);
}

static void capacity_write(const struct model_scaling *scaling, struct buffer *out)
{
    struct step_cost cost = step_model_fit(&scaling->steps);
    enum capacity_bound bound;
    struct capacity one = capacity_under(&cost, &scaling->shape, &scaling->limits, &scaling->level,
                                         ROLE_MIXED, &bound);

    open(out, "replica");
    number(out, "requests_per_second", one.requests_per_s);
    number(out, "concurrency", one.concurrency);
    json_write_key(out, "bound");
    json_write_text(out, capacity_bound_name(bound));
    open(out, "step_ns");
    number(out, "fixed", cost.fixed_ns);
    number(out, "prefill_token", cost.prefill_token_ns);
    number(out, "kv_token", cost.kv_token_ns);
    buffer_append_text(out, "}}");
    open(out, "request");
    number(out, "prompt_tokens", scaling->shape.prompt_tokens);
    number(out, "cached_tokens", scaling->shape.cached_tokens);
    number(out, "output_tokens", scaling->shape.output_tokens);
    buffer_append_byte(out, '}');
}

static void decision_write(const struct model_scaling *scaling, struct buffer *out)
{
    const struct autoscaler_decision *decision = &scaling->decision;
    char text[512];

    json_write_key(out, "decision");
    if (!scaling->is_automatic) {
        json_write_text(out, NULL);
        return;
    }
    buffer_append_byte(out, '{');
    json_write_key(out, "reason");
    json_write_text(out, autoscaler_reason_name(decision->reason));
    json_write_key(out, "panicking");
    json_write_bool(out, decision->is_panicking);
    needs_write(decision, out);
    number(out, "held", scaling->seen.held);
    number(out, "running", scaling->seen.running);
    number(out, "cold_start_seconds", scaling->seen.cold_start_s);
    capacity_write(scaling, out);
    (void)autoscaler_explain(decision, &scaling->seen, text, sizeof(text));
    json_write_key(out, "explanation");
    json_write_text(out, text);
    buffer_append_byte(out, '}');
}

static int scaling_write(struct control *control, struct text_slice rest, struct text_slice query,
                         struct buffer *out)
{
    (void)rest;
    (void)query;
    buffer_append_text(out, "{\"models\":[");
    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        const struct model_scaling *scaling = &control->scalings[i];

        if (scaling->model == NULL)
            continue;
        json_write_comma(out);
        buffer_append_byte(out, '{');
        json_write_key(out, "model");
        json_write_text(out, scaling->model->name);
        json_write_key(out, "automatic");
        json_write_bool(out, scaling->is_automatic);
        counts_write(scaling, control, out);
        decision_write(scaling, out);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "]}");
    return 200;
}

void admin_scaling(struct edge_record *record, struct text_slice rest)
{
    control_question_ask(record, scaling_write, rest);
}
