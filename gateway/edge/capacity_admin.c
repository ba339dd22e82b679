#include "capacity_admin.h"

#include <math.h>

#include "control_internal.h"
#include "control_question.h"
#include "json.h"
#include "limit_promise.h"

/* What is known of one model when it is asked for. */
struct view {
    const struct model_scaling *scaling;
    const struct config *config;
    struct capacity_sums minute;
    struct step_cost cost;
    double rate, replicas, rate_max; /* requests a second; rate_max: of all replicas */
    bool has_load, is_measured;
};

static void number(struct buffer *out, const char *key, double value)
{
    json_write_key(out, key);
    json_write_double(out, value); /* null where it is infinite */
}

static void count(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void null(struct buffer *out, const char *key)
{
    json_write_key(out, key);
    json_write_text(out, NULL);
}

static void open(struct buffer *out, const char *key)
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
}

static struct view view_of(const struct model_scaling *scaling, const struct config *config)
{
    static const struct service_level any = {0, 0};
    struct view view = {.scaling = scaling,
                        .config = config,
                        .minute = capacity_window_difference(&scaling->minute),
                        .cost = step_model_fit(&scaling->steps),
                        .replicas = edge_ready_count(scaling->model),
                        .is_measured = step_model_is_measured(&scaling->steps)};

    if (view.minute.at_ns > 0)
        view.rate = view.minute.arrivals / ((double)view.minute.at_ns / 1e9);
    view.has_load = view.rate > 0 && scaling->shape_weight > 0;
    view.rate_max = view.replicas * capacity_under(&view.cost, &scaling->shape, &scaling->limits,
                                                   &any, ROLE_MIXED, NULL)
                                        .requests_per_s;
    return view;
}

static void load_write(const struct view *view, struct buffer *out)
{
    const struct load_shape *shape = &view->scaling->shape;

    if (!view->has_load) {
        null(out, "load");
        return;
    }
    open(out, "load");
    number(out, "requests_per_second", view->rate);
    number(out, "prompt_tokens", shape->prompt_tokens + shape->cached_tokens);
    number(out, "output_tokens", shape->output_tokens);
    buffer_append_byte(out, '}');
}

static void predicted_write(const struct view *view, struct buffer *out)
{
    struct load_times times;

    if (!view->has_load || !view->is_measured || view->replicas < 1) {
        null(out, "predicted");
        return;
    }
    times = load_times_at(&view->cost, &view->scaling->shape, &view->scaling->limits,
                          view->rate / view->replicas);
    open(out, "predicted");
    number(out, "ttft_seconds", times.ttft_ns / 1e9);
    number(out, "inter_token_seconds", times.inter_token_ns / 1e9);
    number(out, "requests_per_second_max", view->rate_max);
    number(out, "utilisation", view->rate / view->rate_max);
    buffer_append_byte(out, '}');
}

static void measured_write(const struct view *view, struct buffer *out)
{
    const struct capacity_sums *minute = &view->minute;

    open(out, "measured");
    number(out, "ttft_seconds",
           minute->ttft_count > 0 ? minute->ttft_s / minute->ttft_count : INFINITY);
    number(out, "inter_token_seconds",
           minute->gap_count > 0 ? minute->gap_s / minute->gap_count : INFINITY);
    buffer_append_byte(out, '}');
}

static void calibration_put(const struct view *view, struct buffer *out)
{
    if (!view->is_measured) {
        null(out, "calibration");
        return;
    }
    open(out, "calibration");
    number(out, "fixed_ns", view->cost.fixed_ns);
    number(out, "prefill_token_ns", view->cost.prefill_token_ns);
    number(out, "kv_token_ns", view->cost.kv_token_ns);
    buffer_append_byte(out, '}');
}

static void promise_write(const char *scope, const char *name, double asked, double capacity,
                          struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "scope");
    json_write_text(out, scope);
    json_write_key(out, "name");
    json_write_text(out, name);
    json_write_key(out, "limit");
    json_write_text(out, "tokens_per_minute");
    number(out, "asked", asked);
    number(out, "capacity", capacity);
    buffer_append_byte(out, '}');
}

static void overcommitted_write(const struct view *view, struct buffer *out)
{
    const struct load_shape *shape = &view->scaling->shape;
    double capacity =
        60 * view->rate_max * (shape->prompt_tokens + shape->cached_tokens + shape->output_tokens);

    json_write_key(out, "overcommitted");
    buffer_append_byte(out, '[');
    for (int per = QUOTA_PER_ALL;
         per <= QUOTA_PER_KEY && view->is_measured && view->scaling->shape_weight > 0; per++) {
        struct limit_promise promise =
            limit_promise_of(view->config, view->scaling->model->name, (enum quota_per)per);

        if (promise.tokens_per_minute > capacity)
            promise_write(limit_promise_scope((enum quota_per)per), NULL, promise.tokens_per_minute,
                          capacity, out);
        if (promise.largest > capacity && promise.holders > 1)
            promise_write(limit_promise_scope((enum quota_per)per), promise.largest_name,
                          promise.largest, capacity, out);
    }
    buffer_append_byte(out, ']');
}

static void model_write(const struct view *view, struct buffer *out)
{
    const struct model_scaling *scaling = view->scaling;

    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "name");
    json_write_text(out, scaling->model->name);
    count(out, "replicas_ready", (uint64_t)view->replicas);
    number(out, "kv_tokens", scaling->limits.kv_tokens);
    number(out, "sequences_max", scaling->limits.sequences);
    load_write(view, out);
    predicted_write(view, out);
    measured_write(view, out);
    calibration_put(view, out);
    overcommitted_write(view, out);
    buffer_append_byte(out, '}');
}

static int capacity_write(struct control *control, struct text_slice rest, struct text_slice query,
                          struct buffer *out)
{
    const struct config *config = config_store_get(&control->edge->configs)->config;

    (void)rest;
    (void)query;
    buffer_append_text(out, "{\"models\":[");
    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        struct view view;

        if (control->scalings[i].model == NULL)
            continue;
        view = view_of(&control->scalings[i], config);
        model_write(&view, out);
    }
    buffer_append_text(out, "]}");
    return 200;
}

void admin_capacity(struct edge_record *record, struct text_slice rest)
{
    control_question_ask(record, capacity_write, rest);
}
