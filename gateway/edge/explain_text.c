#include "explain_text.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "text_table.h"

#define TABLE_BYTES_MAX (16u << 20)

/* --- cells --- */

static void cell_text(struct buffer *out, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    text_table_text(out, text != NULL && text[0] != '\0' ? text : "-");
    buffer_append_byte(out, '\t');
}

static void cell_number(struct buffer *out, const json_t *object, const char *key, int decimals)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_number(value))
        buffer_append_format(out, "%.*f\t", decimals, json_number_value(value));
    else
        buffer_append_text(out, "-\t");
}

/* "12 s", "3 min", "2 h", "4 d" */
static void cell_time(struct buffer *out, const json_t *object, const char *key)
{
    static const struct {
        const char *unit;
        double seconds, until;
    } units[] = {{"s", 1, 120}, {"min", 60, 7200}, {"h", 3600, 172800}, {"d", 86400, INFINITY}};
    const json_t *value = json_object_get(object, key);
    size_t i = 0;

    if (!json_is_number(value)) {
        buffer_append_text(out, "-\t");
        return;
    }
    while (i + 1 < ARRAY_COUNT(units) && json_number_value(value) >= units[i].until)
        i++;
    buffer_append_format(out, "%.0f %s\t", json_number_value(value) / units[i].seconds,
                         units[i].unit);
}

/* "no_room 3, region 12" of an object of numbers. */
static void counts_add(struct buffer *out, json_t *counts, int decimals)
{
    const char *key, *before = "";
    json_t *value;

    json_object_foreach(counts, key, value)
    {
        buffer_append_text(out, before);
        text_table_text(out, key);
        buffer_append_format(out, " %.*f", decimals, json_number_value(value));
        before = ", ";
    }
}

/* --- the pool --- */

static void member_rows(const json_t *member, struct buffer *lines)
{
    json_t *slices = json_object_get(member, "slices"), *tally;
    const char *state;

    cell_text(lines, member, "name");
    cell_text(lines, member, "state");
    cell_time(lines, member, "heard_seconds");
    cell_number(lines, member, "backlog", 0);
    json_object_foreach(slices, state, tally)
    {
        text_table_text(lines, state);
        buffer_append_format(lines, " %.0f", json_number_value(json_object_get(tally, "count")));
        buffer_append_byte(lines, ' ');
    }
    if (json_object_size(slices) == 0)
        buffer_append_text(lines, "-");
    buffer_append_byte(lines, '\t');
    cell_text(lines, member, "trouble");
    buffer_append_byte(lines, '\n');
}

static void state_rows(json_t *slices, struct buffer *lines)
{
    const char *state;
    json_t *tally;

    json_object_foreach(slices, state, tally)
    {
        text_table_text(lines, state);
        buffer_append_byte(lines, '\t');
        cell_number(lines, tally, "count", 0);
        cell_number(lines, tally, "replicas", 0);
        cell_number(lines, tally, "devices", 2);
        cell_number(lines, tally, "devices_booked", 2);
        buffer_append_byte(lines, '\n');
    }
}

static void quota_row(const json_t *quota, struct buffer *lines)
{
    cell_text(lines, quota, "name");
    cell_number(lines, json_object_get(quota, "guaranteed"), "devices", 2);
    cell_number(lines, json_object_get(quota, "limit"), "devices", 2);
    cell_number(lines, json_object_get(quota, "used"), "devices", 2);
    cell_number(lines, json_object_get(quota, "fair"), "devices", 2);
    cell_number(lines, json_object_get(quota, "borrowed"), "devices", 2);
    cell_number(lines, json_object_get(quota, "used"), "price_hour", 4);
    buffer_append_byte(lines, '\n');
}

/* A table of an array; nothing for one that is empty. */
static void array_add(const json_t *array, const char *heading,
                      void (*row)(const json_t *, struct buffer *), struct buffer *out)
{
    struct buffer lines;

    if (json_array_size(array) == 0)
        return;
    buffer_init(&lines, TABLE_BYTES_MAX);
    buffer_append_text(&lines, heading);
    for (size_t i = 0; i < json_array_size(array); i++)
        row(json_array_get(array, i), &lines);
    if (out->bytes > 0)
        buffer_append_byte(out, '\n');
    text_table_write(&lines, out);
    buffer_deinit(&lines);
}

void explain_pool_write(const json_t *pool, struct buffer *out)
{
    const json_t *stranded = json_object_get(pool, "stranded_share");
    struct buffer lines;

    array_add(json_object_get(pool, "members"), "member\tstate\theard\tbacklog\tslices\ttrouble\n",
              member_rows, out);
    buffer_init(&lines, TABLE_BYTES_MAX);
    buffer_append_text(&lines, "slices\tcount\treplicas\tdevices\tbooked\n");
    state_rows(json_object_get(pool, "slices"), &lines);
    buffer_append_byte(out, '\n');
    text_table_write(&lines, out);
    buffer_deinit(&lines);
    array_add(json_object_get(pool, "quotas"),
              "quota\tguaranteed\tlimit\tused\tfair\tborrowed\tprice/h\n", quota_row, out);
    buffer_append_format(out, "\n%.0f replicas wait for a slice",
                         json_number_value(json_object_get(pool, "waiting")));
    if (json_is_number(stranded))
        buffer_append_format(out, "; %.1f %% of the capacity is stranded",
                             100 * json_number_value(stranded));
    buffer_append_byte(out, '\n');
}

/* --- a placement --- */

static const char *const TERMS[] = {"cost",     "latency", "warm", "pack",
                                    "topology", "spread",  "risk"};

static void terms_cells(const json_t *terms, struct buffer *lines)
{
    for (size_t i = 0; i < ARRAY_COUNT(TERMS); i++)
        cell_number(lines, terms, TERMS[i], 3);
}

static void slice_row(const json_t *slice, struct buffer *lines)
{
    cell_text(lines, slice, "slice");
    if (json_is_null(json_object_get(slice, "reason")))
        buffer_append_text(lines, "fits\t");
    else
        cell_text(lines, slice, "reason");
    cell_number(lines, slice, "score", 3);
    cell_number(lines, slice, "price_hour", 4);
    buffer_append_text(lines,
                       json_is_true(json_object_get(slice, "preemptible")) ? "spot\t" : "-\t");
    if (json_is_object(json_object_get(slice, "terms")))
        terms_cells(json_object_get(slice, "terms"), lines);
    buffer_append_byte(lines, '\n');
}

static void waiting_row(const json_t *waiting, struct buffer *lines)
{
    cell_text(lines, waiting, "uid");
    cell_text(lines, waiting, "model");
    cell_number(lines, waiting, "priority", 0);
    cell_number(lines, waiting, "parts", 0);
    cell_time(lines, waiting, "waited_seconds");
    cell_text(lines, waiting, "reason");
    buffer_append_text(lines, json_is_true(json_object_get(waiting, "hold")) ? "yes\t" : "-\t");
    cell_time(lines, waiting, "starts_seconds");
    buffer_append_byte(lines, '\n');
}

static void decision_row(const json_t *decision, struct buffer *lines)
{
    cell_time(lines, decision, "seconds_ago");
    cell_text(lines, decision, "uid");
    cell_text(lines, decision, "model");
    cell_text(lines, decision, "slice");
    cell_number(lines, decision, "parts", 0);
    cell_number(lines, decision, "score", 3);
    cell_text(lines, decision, "outcome");
    counts_add(lines, json_object_get(decision, "passed_over"), 0);
    if (json_object_size(json_object_get(decision, "passed_over")) == 0)
        buffer_append_byte(lines, '-');
    buffer_append_byte(lines, '\t');
    cell_text(lines, decision, "why");
    buffer_append_byte(lines, '\n');
}

/* Where it would go, in a sentence. */
static void answer_add(const json_t *placement, struct buffer *out)
{
    const json_t *chosen = json_object_get(placement, "chosen");
    const char *model = json_string_value(json_object_get(placement, "model")),
               *reason = json_string_value(json_object_get(placement, "reason")),
               *quota = json_string_value(json_object_get(placement, "quota"));

    buffer_append_text(out, "One more replica of ");
    text_table_text(out, model != NULL ? model : "-");
    if (json_is_true(json_object_get(placement, "fits"))) {
        buffer_append_text(out, " would go to");
        for (size_t i = 0; i < json_array_size(chosen); i++) {
            const char *slice =
                json_string_value(json_object_get(json_array_get(chosen, i), "slice"));

            buffer_append_text(out, i > 0 ? ", " : " ");
            text_table_text(out, slice != NULL ? slice : "-");
        }
    } else {
        buffer_append_text(out, " fits nowhere now: ");
        text_table_text(out, reason != NULL ? reason : "-");
        if (quota != NULL) {
            buffer_append_text(out, " of ");
            text_table_text(out, quota);
        }
    }
    buffer_append_format(out, " (entry %.0f of its list of members; weights: ",
                         1 + json_number_value(json_object_get(placement, "tier")));
    counts_add(out, json_object_get(placement, "weights"), 2);
    buffer_append_text(out, ")\n");
}

void explain_placement_write(const json_t *placement, struct buffer *out)
{
    json_t *passed_over = json_object_get(placement, "passed_over");
    const json_t *slices = json_object_get(placement, "slices");
    double shown = json_number_value(json_object_get(placement, "from")) +
                   (double)json_array_size(slices),
           all = json_number_value(json_object_get(placement, "slice_count"));

    answer_add(placement, out);
    array_add(slices,
              "slice\tverdict\tscore\tprice/h\tspot\tcost\tlatency\twarm\tpack\ttopology\tspread\t"
              "risk\n",
              slice_row, out);
    if (all > shown)
        buffer_append_format(out, "and %.0f more\n", all - shown);
    if (json_object_size(passed_over) > 0) {
        buffer_append_text(out, "\npassed over: ");
        counts_add(out, passed_over, 0);
        buffer_append_byte(out, '\n');
    }
    array_add(json_object_get(placement, "waiting"),
              "waits\tmodel\tpriority\tparts\tsince\treason\thold\tstarts in\n", waiting_row, out);
    array_add(json_object_get(placement, "decisions"),
              "decided\treplica\tmodel\tslice\tparts\tscore\toutcome\tpassed over\twhy\n",
              decision_row, out);
}
