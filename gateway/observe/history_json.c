/* Rows come in the order of their times, so that those of one step can be gathered, a sum for each model and one of all, and written
 * when the next step's first row comes. */
#include "history_json.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "memory.h"

#define MODELS_MAX     256u /* within one step; those beyond are in the total alone */
#define LIST_BYTES_MAX (64u << 20)

struct gathered {
    const struct history_query *query;
    int64_t start_s; /* of the step; negative: none yet */
    struct history_row total, free_slices;
    bool has_free_slices;
    uint32_t model_count, row_count;
    struct gathered_model {
        char name[HISTORY_MODEL_BYTES];
        struct history_row row;
    } * models; /* owned; [MODELS_MAX] */
    struct buffer totals, rows, free_rows;
    bool is_too_large;
};

/* --- one row --- */

static void states_write(const struct history_row *row, struct buffer *out)
{
    json_write_key(out, "states");
    buffer_append_byte(out, '{');
    for (int i = 0; i < TIME_COUNT; i++) {
        json_write_key(out, replica_time_name((enum replica_time)i));
        json_write_double(out, row->values[i]);
    }
    buffer_append_byte(out, '}');
}

static void quantiles_write(const char *name, const struct latency_histogram *histogram,
                            struct buffer *out)
{
    static const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};

    json_write_key(out, name);
    if (latency_histogram_count(histogram) == 0) {
        json_write_text(out, NULL);
        return;
    }
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        json_write_key(out, quantiles[i].name);
        json_write_double(out, latency_histogram_quantile(histogram, quantiles[i].share));
    }
    buffer_append_byte(out, '}');
}

static void number_write(const char *name, double value, struct buffer *out)
{
    json_write_key(out, name);
    json_write_double(out, value);
}

static void words_write(const struct history_row *row, double seconds, struct buffer *out)
{
    struct buffer words;

    buffer_init(&words, 4096);
    history_words_write(row, seconds, &words);
    json_write_key(out, "words");
    json_write_string(out, buffer_slice(&words));
    buffer_deinit(&words);
}

static void row_write(const char *model, int64_t start_s, double seconds,
                      const struct history_row *row, struct buffer *out)
{
    double up = row->values[HISTORY_UP_SECONDS];

    json_write_comma(out);
    buffer_append_byte(out, '{');
    if (model != NULL) {
        json_write_key(out, "model");
        json_write_text(out, model);
    }
    json_write_key(out, "start");
    buffer_append_i64(out, start_s);
    number_write("seconds", seconds, out);
    number_write("replica_seconds", history_row_replica_seconds(row), out);
    states_write(row, out);
    for (int i = HISTORY_REQUESTS; i <= HISTORY_ACCEPTED_TOKENS; i++)
        number_write(history_value_name((enum history_value)i), row->values[i], out);
    number_write("waiting", row->values[HISTORY_WAITING_SECONDS] / seconds, out);
    number_write("running", row->values[HISTORY_RUNNING_SECONDS] / seconds, out);
    json_write_key(out, "kv_usage");
    if (up > 0)
        json_write_double(out, row->values[HISTORY_KV_SECONDS] / up);
    else
        json_write_text(out, NULL);
    quantiles_write("ttft", &row->first_token, out);
    quantiles_write("inter_token", &row->inter_token, out);
    words_write(row, seconds, out);
    buffer_append_byte(out, '}');
}

/* --- a step --- */

/* So much of it is over: the newest step has just begun. */
static double seconds_of(const struct gathered *all)
{
    int64_t end_s = all->start_s + all->query->step_s;

    if (all->query->to_s > all->start_s && all->query->to_s < end_s)
        return (double)(all->query->to_s - all->start_s);
    return (double)all->query->step_s;
}

static void step_write(struct gathered *all)
{
    double seconds = seconds_of(all);

    if (all->start_s < 0)
        return;
    all->row_count += all->model_count + 1;
    all->is_too_large = all->row_count > HISTORY_ANSWER_ROWS_MAX;
    if (all->model_count > 0)
        row_write(NULL, all->start_s, seconds, &all->total, &all->totals);
    for (uint32_t i = 0; i < all->model_count; i++)
        row_write(all->models[i].name, all->start_s, seconds, &all->models[i].row, &all->rows);
    if (!all->has_free_slices)
        return;
    json_write_comma(&all->free_rows);
    buffer_append_text(&all->free_rows, "{\"start\":");
    buffer_append_i64(&all->free_rows, all->start_s);
    states_write(&all->free_slices, &all->free_rows);
    buffer_append_byte(&all->free_rows, '}');
}

static void step_begin(struct gathered *all, int64_t start_s)
{
    all->start_s = start_s;
    all->total = all->free_slices = (struct history_row){.values = {0}};
    all->has_free_slices = false;
    all->model_count = 0;
}

static void model_add(struct gathered *all, const char *model, const struct history_row *row)
{
    uint32_t i = 0;

    while (i < all->model_count && strcmp(all->models[i].name, model) != 0)
        i++;
    if (i == MODELS_MAX)
        return;
    if (i == all->model_count) {
        all->models[all->model_count++].row = (struct history_row){.values = {0}};
        (void)snprintf(all->models[i].name, sizeof(all->models[i].name), "%s", model);
    }
    history_row_add(&all->models[i].row, row);
}

static bool row_take(void *context, const char *model, int64_t start_s,
                     const struct history_row *row)
{
    struct gathered *all = context;
    int64_t step_start_s = start_s - start_s % all->query->step_s;

    if (step_start_s != all->start_s) {
        step_write(all);
        step_begin(all, step_start_s);
    }
    if (strcmp(model, HISTORY_FREE_SLICES) == 0) {
        all->has_free_slices = true;
        history_row_add(&all->free_slices, row);
        return !all->is_too_large;
    }
    model_add(all, model, row);
    history_row_add(&all->total, row);
    return !all->is_too_large;
}

/* --- the whole --- */

static void list_write(const char *name, const struct buffer *list, struct buffer *out)
{
    json_write_key(out, name);
    buffer_append_slice(out, buffer_slice(list));
    buffer_append_byte(out, ']');
}

static status gather(history_store *store, struct gathered *all, struct error_note *note)
{
    const struct history_query *query = all->query;
    int step_s = query->step_s == HISTORY_MINUTE_S ? HISTORY_MINUTE_S : HISTORY_HOUR_S;
    status result =
        history_store_read(store, step_s, query->from_s, query->to_s,
                           query->model[0] != '\0' ? query->model : NULL, row_take, all, note);

    if (result != STATUS_OK)
        return result;
    step_write(all);
    if (all->is_too_large)
        return STATUS_TOO_LARGE;
    if (all->totals.failed != STATUS_OK || all->free_rows.failed != STATUS_OK)
        return STATUS_NO_MEMORY;
    return all->rows.failed;
}

static const char *step_name(int64_t step_s)
{
    if (step_s == HISTORY_MINUTE_S)
        return "minute";
    return step_s == HISTORY_HOUR_S ? "hour" : "day";
}

status history_rows_write(history_store *store, const struct history_query *query,
                          struct buffer *out, struct error_note *note)
{
    struct gathered *all = memory_allocate_array(1, sizeof(*all));
    status result = STATUS_NO_MEMORY;

    if (all == NULL)
        return STATUS_NO_MEMORY;
    all->query = query;
    all->start_s = -1;
    buffer_init(&all->totals, LIST_BYTES_MAX);
    buffer_init(&all->rows, LIST_BYTES_MAX);
    buffer_init(&all->free_rows, LIST_BYTES_MAX);
    /* Each begins a list, so that the writers know the first item. */
    buffer_append_byte(&all->totals, '[');
    buffer_append_byte(&all->rows, '[');
    buffer_append_byte(&all->free_rows, '[');
    all->models = memory_allocate_array(MODELS_MAX, sizeof(all->models[0]));
    if (all->models != NULL)
        result = gather(store, all, note);
    if (result == STATUS_OK) {
        buffer_append_byte(out, '{');
        json_write_key(out, "step");
        json_write_text(out, step_name(query->step_s));
        json_write_key(out, "from");
        buffer_append_i64(out, query->from_s);
        json_write_key(out, "to");
        buffer_append_i64(out, query->to_s);
        list_write("total", &all->totals, out);
        list_write("rows", &all->rows, out);
        list_write("free_slices", &all->free_rows, out);
        buffer_append_byte(out, '}');
        result = out->failed;
    }
    buffer_deinit(&all->totals);
    buffer_deinit(&all->rows);
    buffer_deinit(&all->free_rows);
    memory_release(all->models);
    memory_release(all);
    return result;
}
