/* The table of models, each with the bar of where its time went: beside it in a wide frame, below it in a narrow one, and, where there is no
 * room for that, below the selected one alone. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bar.h"
#include "cells.h"
#include "check.h"
#include "frame_parts.h"

#define WIDE     120u /* from here on the bar stands beside */
#define FIGURES  82u  /* columns that the figures take in a wide frame, with all gaps */
#define BAR_MOST 100u
#define HEAD     2u /* an empty line and the titles */

static enum style figure_cell(struct figure figure, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%s", figure.text);
    return STYLE_PLAIN;
}

static enum style name_cell(const void *row, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%s", ((const struct minute *)row)->name);
    return STYLE_PLAIN;
}

static enum style ready_cell(const void *row, char out[CELL_BYTES])
{
    const struct minute *minute = row;

    (void)snprintf(out, CELL_BYTES, "%u/%u", minute->ready, minute->replicas);
    return minute->ready == minute->replicas ? STYLE_GOOD
           : minute->ready > 0               ? STYLE_WARN
                                             : STYLE_BAD;
}

static enum style requests_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_short(((const struct minute *)row)->requests), out);
}

static enum style failed_cell(const void *row, char out[CELL_BYTES])
{
    const struct minute *minute = row;
    double share = minute->requests > 0 ? minute->failed / minute->requests : 0;

    (void)figure_cell(figure_percent(share), out);
    return share > 0 ? STYLE_BAD : STYLE_PLAIN;
}

static enum style tokens_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_short(((const struct minute *)row)->output_tokens), out);
}

static enum style first_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_seconds(((const struct minute *)row)->first_p50), out);
}

static enum style first_p99_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_seconds(((const struct minute *)row)->first_p99), out);
}

static enum style between_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_seconds(((const struct minute *)row)->between_p50), out);
}

static enum style waiting_cell(const void *row, char out[CELL_BYTES])
{
    const struct minute *minute = row;

    (void)figure_cell(figure_short(minute->waiting), out);
    return minute->waiting >= 1 ? STYLE_WARN : STYLE_PLAIN;
}

static enum style kv_cell(const void *row, char out[CELL_BYTES])
{
    const struct minute *minute = row;

    (void)figure_cell(figure_percent(minute->kv_usage), out);
    return minute->kv_usage >= 0.9 ? STYLE_WARN : STYLE_PLAIN;
}

static enum style cost_cell(const void *row, char out[CELL_BYTES])
{
    return figure_cell(figure_short(((const struct minute *)row)->cost * 3600), out);
}

static const struct frame_column columns[] = {
    {"MODEL", 0, 0, name_cell},    {"READY", 5, 0, ready_cell},   {"REQ/s", 6, 0, requests_cell},
    {"FAIL", 5, 100, failed_cell}, {"TOK/s", 6, 0, tokens_cell},  {"TTFT", 7, 0, first_cell},
    {"p99", 7, 0, first_p99_cell}, {"INTER", 7, 0, between_cell}, {"QUEUE", 5, 0, waiting_cell},
    {"KV", 5, 0, kv_cell},         {"COST/h", 6, 0, cost_cell},
};
static const struct frame_table table = {columns, ARRAY_COUNT(columns)};

static bool is_wide(const struct frame *frame)
{
    return frame->view->width >= WIDE;
}

/* Beside the table, names that are short leave more of the line to it. */
static uint32_t bar_width(const struct frame *frame)
{
    uint32_t width = frame->view->width, room = width - FIGURES, name = 0, bar;

    if (!is_wide(frame))
        return width - 3;
    for (uint32_t i = 0; i < frame->minutes->count; i++) {
        uint32_t one = cells_width(frame->minutes->models[i].name);

        name = one > name ? one : name;
    }
    bar = room - (name < room / 2 ? name : room / 2);
    return bar < BAR_MOST ? bar : BAR_MOST;
}

/* Columns of the table. */
static uint32_t table_width(const struct frame *frame)
{
    return frame->view->width - (is_wide(frame) ? bar_width(frame) + 2 : 0);
}

static uint32_t lines(const struct frame *frame)
{
    return HEAD + frame->minutes->count * (is_wide(frame) ? 1 : 2);
}

static void model_write(const struct frame *frame, uint32_t index, bool has_bar_below)
{
    const struct minute *minute = &frame->minutes->models[index];
    struct line line =
        frame_table_row(frame, &table, table_width(frame), minute, index == frame->selected);

    if (is_wide(frame)) {
        line_gap(&line, 2);
        bar_write(&line, minute->shares, bar_width(frame));
    }
    line_end(&line);
    if (!has_bar_below)
        return;
    line = frame_line(frame);
    line_gap(&line, 1);
    bar_write(&line, minute->shares, bar_width(frame));
    line_end(&line);
}

static void write(const struct frame *frame, uint32_t given)
{
    uint32_t count = frame->minutes->count, room = given - HEAD, first = 0, shown = count;
    bool has_bars = !is_wide(frame) && 2 * count <= room, has_bar = !is_wide(frame) && room > 1;
    char title[64];
    struct line line = frame_line(frame);

    if (!has_bars && room - has_bar < count) {
        shown = room - has_bar;
        first = frame->selected > shown / 2 ? frame->selected - shown / 2 : 0;
        first = first + shown > count ? count - shown : first;
    }
    (void)snprintf(title, sizeof(title), shown < count ? "MODEL %u-%u of %u" : "MODEL", first + 1,
                   first + shown, count);
    line_end(&line);
    frame_table_head_write(frame, &table, table_width(frame), title);
    for (uint32_t i = first; i < first + shown; i++)
        model_write(frame, i, has_bars || (has_bar && i == frame->selected));
}

const struct frame_part frame_models = {lines, write, HEAD + 1};
