/* Tables of rows as the admin API gives them: the selected model's replicas and the slices they are on, the requests under way. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "frame_parts.h"

#define HEAD 2u /* an empty line and the titles */

struct list {
    struct frame_table table;
    enum fact fact;
    const char *key;
    bool (*is_shown)(const struct frame *frame, const json_t *row);
    const char *
        none; /* what stands there where there is nothing; NULL: then the whole table is left out */
};

static uint32_t rows_count(const struct frame *frame, const struct list *list)
{
    json_t *rows = top_facts_rows(frame->facts, list->fact, list->key), *row;
    uint32_t count = 0;
    size_t i;

    json_array_foreach(rows, i, row) count += list->is_shown(frame, row);
    return count;
}

static uint32_t list_lines(const struct frame *frame, const struct list *list)
{
    uint32_t count = rows_count(frame, list);

    return count > 0 ? HEAD + count : list->none != NULL ? HEAD + 1 : 0;
}

static void list_write(const struct frame *frame, const struct list *list, uint32_t given)
{
    json_t *rows = top_facts_rows(frame->facts, list->fact, list->key), *row;
    uint32_t count = rows_count(frame, list), room = given - HEAD, shown = 0;
    struct line line = frame_line(frame);
    size_t i;

    line_end(&line);
    frame_table_head_write(frame, &list->table, frame->view->width, NULL);
    if (count == 0) {
        line = frame_line(frame);
        line_text(&line, STYLE_QUIET, list->none);
        line_end(&line);
        return;
    }
    if (count > room)
        room--;
    json_array_foreach(rows, i, row)
    {
        if (shown == room || !list->is_shown(frame, row))
            continue;
        line = frame_table_row(frame, &list->table, frame->view->width, row, false);
        line_end(&line);
        shown++;
    }
    if (count > shown)
        frame_more_write(frame, count - shown);
}

/* --- cells --- */

static enum style text_cell(const void *row, const char *key, char out[CELL_BYTES])
{
    const char *text = fact_text(row, key);

    (void)snprintf(out, CELL_BYTES, "%s", text[0] != '\0' ? text : "\xE2\x80\x93");
    return STYLE_PLAIN;
}

/* The names of states and phases are words with '_'. */
static enum style state_cell(const void *row, const char *key, char out[CELL_BYTES])
{
    static const char *const good[] = {"ready", "ok", "closed", "committed", "synced"};
    static const char *const bad[] = {"failed", "backing_off", "bad", "lost", "open", "gone"};
    enum style style = STYLE_WARN;
    const char *text = fact_text(row, key);

    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        style = strcmp(text, good[i]) == 0 ? STYLE_GOOD : style;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        style = strcmp(text, bad[i]) == 0 ? STYLE_BAD : style;
    (void)text_cell(row, key, out);
    for (char *at = out; *at != '\0'; at++) {
        if (*at == '_')
            *at = ' ';
    }
    return style;
}

static enum style figure_cell(struct figure figure, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%s", figure.text);
    return STYLE_PLAIN;
}

static enum style number_cell(const void *row, const char *key, char out[CELL_BYTES])
{
    return figure_cell(figure_short(fact_number(row, key)), out);
}

/* --- replicas --- */

static enum style replica_cell(const void *row, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "#%s", figure_short(fact_number(row, "index")).text);
    return STYLE_PLAIN;
}

static enum style replica_state_cell(const void *row, char out[CELL_BYTES])
{
    return state_cell(row, "state", out);
}

static enum style replica_for_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_seconds(floor(fact_number(row, "seconds_in_state"))), out);
}

static enum style replica_requests_cell(const void *row, char out[CELL_BYTES])
{
    return number_cell(row, "outstanding", out);
}

static enum style replica_breaker_cell(const void *row, char out[CELL_BYTES])
{
    if (!json_is_true(json_object_get(row, "stalled")))
        return state_cell(row, "breaker", out);
    (void)snprintf(out, CELL_BYTES, "stalled");
    return STYLE_BAD;
}

static enum style replica_version_cell(const void *row, char out[CELL_BYTES])
{
    return number_cell(row, "version", out);
}

static enum style replica_restarts_cell(const void *row, char out[CELL_BYTES])
{
    return number_cell(row, "restarts", out);
}

static enum style replica_place_cell(const void *row, char out[CELL_BYTES])
{
    bool has_failed = fact_text(row, "last_failure")[0] != '\0';

    (void)text_cell(row, has_failed ? "last_failure" : "address", out);
    return has_failed ? STYLE_BAD : STYLE_QUIET;
}

static bool is_of_selected(const struct frame *frame, const json_t *row)
{
    return frame->minutes->count > 0 &&
           strcmp(fact_text(row, "model"), frame->minutes->models[frame->selected].name) == 0;
}

static const struct frame_column replica_columns[] = {
    {"REPLICA", -7, 0, replica_cell},
    {"STATE", -11, 0, replica_state_cell},
    {"FOR", 7, 0, replica_for_cell},
    {"REQUESTS", 8, 0, replica_requests_cell},
    {"BREAKER", -9, 0, replica_breaker_cell},
    {"VERSION", 7, 100, replica_version_cell},
    {"RESTARTS", 8, 100, replica_restarts_cell},
    {"WHERE, OR WHY NOT", 0, 60, replica_place_cell},
};
static const struct list replicas = {{replica_columns, ARRAY_COUNT(replica_columns)},
                                     FACT_REPLICAS,
                                     "replicas",
                                     is_of_selected,
                                     NULL};

/* --- slices --- */

static bool has_selected(const struct frame *frame, const json_t *row)
{
    json_t *on_it = json_object_get(row, "replicas"), *replica;
    size_t i;

    json_array_foreach(on_it, i, replica)
    {
        if (is_of_selected(frame, replica))
            return true;
    }
    return false;
}

static enum style slice_cell(const void *row, char out[CELL_BYTES])
{
    return text_cell(row, "slice", out);
}

static enum style slice_state_cell(const void *row, char out[CELL_BYTES])
{
    return state_cell(row, "state", out);
}

static enum style slice_devices_cell(const void *row, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%s of %s",
                   figure_short(fact_number(row, "devices_booked")).text,
                   figure_short(fact_number(row, "devices")).text);
    return STYLE_PLAIN;
}

static enum style slice_memory_cell(const void *row, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%sB",
                   figure_short(fact_number(row, "memory_free_bytes")).text);
    return STYLE_PLAIN;
}

static enum style slice_replicas_cell(const void *row, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%zu", json_array_size(json_object_get(row, "replicas")));
    return STYLE_PLAIN;
}

static enum style slice_what_cell(const void *row, char out[CELL_BYTES])
{
    const char *product = fact_text(row, "product"), *zone = fact_text(row, "zone"),
               *reason = fact_text(row, "reason");

    (void)snprintf(out, CELL_BYTES, "%s%s%s%s%s",
                   product[0] != '\0' ? product : fact_text(row, "kind"),
                   zone[0] != '\0' ? ", " : "", zone, reason[0] != '\0' ? ": " : "", reason);
    return STYLE_QUIET;
}

static const struct frame_column slice_columns[] = {
    {"SLICE", 0, 0, slice_cell},
    {"STATE", -11, 0, slice_state_cell},
    {"BOOKED", 10, 0, slice_devices_cell},
    {"FREE", 7, 60, slice_memory_cell},
    {"REPLICAS", 8, 60, slice_replicas_cell},
    {"WHAT", 0, 80, slice_what_cell},
};
static const struct list slices = {
    {slice_columns, ARRAY_COUNT(slice_columns)}, FACT_SLICES, "slices", has_selected, NULL};

/* --- requests --- */

static bool is_live(const struct frame *frame, const json_t *row)
{
    (void)frame;
    return strcmp(fact_text(row, "state"), "live") == 0;
}

static enum style request_phase_cell(const void *row, char out[CELL_BYTES])
{
    (void)state_cell(row, "phase", out);
    return STYLE_PLAIN;
}

static enum style request_for_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_seconds(fact_number(row, "seconds")), out);
}

static enum style request_model_cell(const void *row, char out[CELL_BYTES])
{
    return text_cell(row, "model", out);
}

static enum style request_tenant_cell(const void *row, char out[CELL_BYTES])
{
    static const char *const keys[] = {"organisation", "team", "key"};
    size_t bytes = 0;

    for (size_t i = 0; i < ARRAY_COUNT(keys) && bytes < CELL_BYTES; i++) {
        const char *name = fact_text(row, keys[i]);

        if (name[0] != '\0')
            bytes += (size_t)snprintf(out + bytes, CELL_BYTES - bytes, "%s%s",
                                      bytes > 0 ? " / " : "", name);
    }
    if (bytes == 0)
        (void)snprintf(out, CELL_BYTES, "\xE2\x80\x93");
    return STYLE_QUIET;
}

static enum style request_route_cell(const void *row, char out[CELL_BYTES])
{
    (void)text_cell(row, "route", out);
    return STYLE_QUIET;
}

static enum style request_id_cell(const void *row, char out[CELL_BYTES])
{
    (void)text_cell(row, "id", out);
    return STYLE_QUIET;
}

static const struct frame_column request_columns[] = {
    {"REQUESTS NOW", -22, 0, request_phase_cell}, {"FOR", 7, 0, request_for_cell},
    {"MODEL", 0, 0, request_model_cell},          {"TENANT", 0, 60, request_tenant_cell},
    {"ROUTE", -20, 100, request_route_cell},      {"ID", -32, 120, request_id_cell},
};
static const struct list requests = {{request_columns, ARRAY_COUNT(request_columns)},
                                     FACT_REQUESTS,
                                     "requests",
                                     is_live,
                                     "none under way"};

/* --- the parts --- */

static uint32_t replicas_lines(const struct frame *frame)
{
    return list_lines(frame, &replicas);
}

static void replicas_write(const struct frame *frame, uint32_t given)
{
    list_write(frame, &replicas, given);
}

static uint32_t slices_lines(const struct frame *frame)
{
    return list_lines(frame, &slices);
}

static void slices_write(const struct frame *frame, uint32_t given)
{
    list_write(frame, &slices, given);
}

static uint32_t requests_lines(const struct frame *frame)
{
    return list_lines(frame, &requests);
}

static void requests_write(const struct frame *frame, uint32_t given)
{
    list_write(frame, &requests, given);
}

const struct frame_part frame_replicas = {replicas_lines, replicas_write, HEAD + 1};
const struct frame_part frame_slices = {slices_lines, slices_write, HEAD + 1};
const struct frame_part frame_requests = {requests_lines, requests_write, HEAD + 1};
