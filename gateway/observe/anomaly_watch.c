#include "anomaly_watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "memory.h"

/* --- life --- */

static status metrics_make(struct anomaly_watch *watch, metrics_registry *registry)
{
    static const char *const labels[] = {"model", "signal", NULL};
    metrics_family *score, *is_anomalous;
    const struct metrics_family_row rows[] = {
        {&score,
         {METRICS_GAUGE, "penstock_anomaly_score",
          "How many robust deviations a signal is to the bad side of what is usual at this hour of "
          "the week.",
          labels, NULL, 0, 0}},
        {&is_anomalous,
         {METRICS_GAUGE, "penstock_anomaly", "1 while a signal is unusual, else 0.", labels, NULL,
          0, 0}},
    };
    status result = metrics_families_create(registry, rows, ARRAY_COUNT(rows));

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; i < watch->model_count; i++) {
        for (int j = 0; j < ANOMALY_SIGNAL_COUNT; j++) {
            const char *const values[] = {watch->models[i].name,
                                          anomaly_signal_name((enum anomaly_signal)j)};

            watch->models[i].score[j] = metrics_series_get(score, values);
            watch->models[i].is_anomalous[j] = metrics_series_get(is_anomalous, values);
        }
    }
    return STATUS_OK;
}

status anomaly_watch_init(struct anomaly_watch *watch, const struct history_options *options)
{
    *watch = (struct anomaly_watch){
        .settings = options->anomalies,
        .window_s = (int64_t)(options->anomalies.window_ns / NS_PER_SECOND),
        .model_count = options->model_count,
        .models = memory_allocate_array(options->model_count, sizeof(watch->models[0]))};
    if (watch->models == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < options->model_count; i++)
        (void)snprintf(watch->models[i].name, sizeof(watch->models[i].name), "%s",
                       options->models[i]);
    return metrics_make(watch, options->registry);
}

void anomaly_watch_deinit(struct anomaly_watch *watch)
{
    for (uint32_t i = 0; watch->models != NULL && i < watch->model_count; i++) {
        for (int j = 0; j < ANOMALY_SIGNAL_COUNT; j++)
            memory_release(watch->models[i].series[j]);
    }
    memory_release(watch->models);
    watch->models = NULL;
}

/* NULL: no memory; the signal is not judged, then. */
static struct anomaly_series *series_of(const struct anomaly_watch *watch,
                                        struct anomaly_model *model, enum anomaly_signal signal)
{
    if (model->series[signal] == NULL) {
        model->series[signal] = memory_allocate(sizeof(*model->series[signal]));
        if (model->series[signal] != NULL)
            anomaly_series_init(model->series[signal], signal, watch->window_s);
    }
    return model->series[signal];
}

/* --- what is remembered --- */

static void signal_load(void *context, const char *model, const char *signal, int64_t start_s,
                        double value)
{
    struct anomaly_watch *watch = context;

    for (uint32_t i = 0; i < watch->model_count; i++) {
        if (strcmp(watch->models[i].name, model) != 0)
            continue;
        for (int j = 0; j < ANOMALY_SIGNAL_COUNT; j++) {
            enum anomaly_signal which = (enum anomaly_signal)j;
            struct anomaly_series *series;

            if (strcmp(anomaly_signal_name(which), signal) != 0)
                continue;
            series = series_of(watch, &watch->models[i], which);
            if (series != NULL)
                anomaly_series_learn(series, start_s, value);
        }
    }
}

status anomaly_watch_load(struct anomaly_watch *watch, history_store *store, int64_t now_s,
                          struct error_note *note)
{
    return history_store_read_signals(store, watch->window_s,
                                      now_s - (int64_t)ANOMALY_SLOTS * watch->window_s, signal_load,
                                      watch, note);
}

/* --- windows --- */

/* What the window's row says of a signal: how many there were, and the measure. */
static double measure_of(enum anomaly_signal signal, const struct history_row *row, double *count)
{
    const double *values = row->values;

    switch (signal) {
    case ANOMALY_TTFT:
        *count = (double)latency_histogram_count(&row->first_token);
        return latency_histogram_quantile(&row->first_token, 0.5);
    case ANOMALY_INTER_TOKEN:
        *count = (double)latency_histogram_count(&row->inter_token);
        return latency_histogram_quantile(&row->inter_token, 0.5);
    case ANOMALY_ERROR_RATE:
        *count = values[HISTORY_REQUESTS];
        return *count > 0 ? values[HISTORY_ERRORS] / *count : 0;
    case ANOMALY_ACCEPTANCE:
        *count = values[HISTORY_DRAFTED_TOKENS];
        return *count > 0 ? values[HISTORY_ACCEPTED_TOKENS] / *count : 0;
    case ANOMALY_SIGNAL_COUNT:
        break;
    }
    CHECK(false);
}

static void change_log(const struct anomaly_model *model, const struct anomaly_series *series)
{
    const char *name = anomaly_signal_name(series->signal);

    if (series->is_anomalous)
        log_warn("gateway/observe",
                 "model %s: %s is unusual: %g where %g was expected (score %.1f)", model->name,
                 name, series->value, series->expected, series->score);
    else
        log_info("gateway/observe", "model %s: %s is as usual again", model->name, name);
}

static status signal_judge(const struct anomaly_watch *watch, struct anomaly_model *model,
                           enum anomaly_signal signal, history_store *store,
                           struct error_note *note)
{
    int64_t start_s = watch->window * watch->window_s;
    double count, measure = measure_of(signal, &model->row, &count), value = NAN;
    bool is_enough = count >= (double)watch->settings.requests_min, was_anomalous;
    struct anomaly_series *series = model->series[signal];

    if (series == NULL && is_enough)
        series = series_of(watch, model, signal);
    if (series == NULL)
        return STATUS_OK;
    if (is_enough)
        value = anomaly_from_measure(signal, measure);
    was_anomalous = series->is_anomalous;
    anomaly_series_note(series, start_s, value, anomaly_noise(signal, count),
                        watch->settings.threshold);
    if (series->is_anomalous != was_anomalous)
        change_log(model, series);
    metrics_set(model->score[signal], series->score);
    metrics_set(model->is_anomalous[signal], series->is_anomalous);
    if (!is_enough)
        return STATUS_OK;
    return history_store_note_signal(store, model->name, anomaly_signal_name(signal),
                                     watch->window_s, start_s, value, note);
}

static status window_end(struct anomaly_watch *watch, history_store *store, struct error_note *note)
{
    status result = STATUS_OK;

    for (uint32_t i = 0; i < watch->model_count; i++) {
        for (int j = 0; j < ANOMALY_SIGNAL_COUNT && result == STATUS_OK; j++)
            result = signal_judge(watch, &watch->models[i], (enum anomaly_signal)j, store, note);
        watch->models[i].row = (struct history_row){.values = {0}};
    }
    return result;
}

status anomaly_watch_add(struct anomaly_watch *watch, history_store *store, int64_t at_s,
                         const struct history_row *rows, struct error_note *note)
{
    int64_t window = at_s / watch->window_s;
    status result = STATUS_OK;

    if (watch->window != 0 && window != watch->window)
        result = window_end(watch, store, note);
    watch->window = window;
    for (uint32_t i = 0; i < watch->model_count; i++)
        history_row_add(&watch->models[i].row, &rows[i]);
    return result;
}

/* --- telling --- */

static void number_or_null(const char *name, double value, struct buffer *out)
{
    json_write_key(out, name);
    json_write_double(out, value); /* NAN is null */
}

static void series_write(const struct anomaly_model *model, const struct anomaly_series *series,
                         struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "model");
    json_write_text(out, model->name);
    json_write_key(out, "signal");
    json_write_text(out, anomaly_signal_name(series->signal));
    number_or_null("score", series->score, out);
    number_or_null("value", series->value, out);
    number_or_null("expected", series->expected, out);
    json_write_key(out, "anomalous");
    json_write_bool(out, series->is_anomalous);
    json_write_key(out, "since");
    if (series->is_anomalous)
        buffer_append_i64(out, series->since_s);
    else
        json_write_text(out, NULL);
    json_write_key(out, "learning");
    json_write_bool(out, series->is_learning);
    buffer_append_byte(out, '}');
}

void anomaly_watch_write(const struct anomaly_watch *watch, struct buffer *out)
{
    buffer_append_byte(out, '{');
    json_write_key(out, "window_seconds");
    buffer_append_i64(out, watch->window_s);
    json_write_key(out, "threshold");
    json_write_double(out, watch->settings.threshold);
    json_write_key(out, "anomalies");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < watch->model_count; i++) {
        for (int j = 0; j < ANOMALY_SIGNAL_COUNT; j++) {
            if (watch->models[i].series[j] != NULL)
                series_write(&watch->models[i], watch->models[i].series[j], out);
        }
    }
    buffer_append_text(out, "]}");
}
