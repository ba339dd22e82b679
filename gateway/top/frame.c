/* The head, then the parts with the lines that there are for them, then the keys. Lines are dealt out twice: every part gets the fewest that
 * it makes sense with, the most important first; what is left goes round, a line at a time, to those that have more to show. */
#include "frame.h"

#include <stdio.h>
#include <string.h>

#include "cells.h"
#include "check.h"
#include "frame_parts.h"

#define TOTALS_MAX      12u
#define TOTAL_LINES_MAX 2u
#define HEIGHT_LEAST    6u  /* lines; with fewer only the title is written */
#define WIDTH_LEAST     20u /* columns; with fewer only the title is written */

/* From above to below, and the order in which they get lines. */
static const struct frame_part *const parts[] = {&frame_anomalies, &frame_models, &frame_time,
                                                 &frame_replicas,  &frame_slices, &frame_requests};
static const uint8_t importance[] = {1, 0, 5, 2, 3, 4};
#define PARTS ARRAY_COUNT(parts)
_Static_assert(ARRAY_COUNT(importance) == PARTS, "every part has its place");

/* --- the head --- */

static void health_write(const struct frame *frame, struct line *line)
{
    uint32_t without = 0, count = frame->minutes->count;
    char text[64];

    for (uint32_t i = 0; i < count; i++)
        without += frame->minutes->models[i].ready == 0;
    if (frame->view->trouble[0] != '\0' || frame->facts == NULL || count == 0)
        line_text(line, frame->view->trouble[0] != '\0' ? STYLE_BAD : STYLE_QUIET,
                  frame->view->trouble[0] != '\0' ? "no answer"
                  : frame->facts == NULL          ? "asking"
                                                  : "no models");
    else if (without == 0)
        line_text(line, STYLE_GOOD, count == 1 ? "the model is ready" : "every model is ready");
    else {
        (void)snprintf(text, sizeof(text), "%u of %u models not ready", without, count);
        line_text(line, STYLE_BAD, text);
    }
}

static void title_write(const struct frame *frame)
{
    const struct frame_view *view = frame->view;
    char right[64];
    struct line line = frame_line(frame);
    uint32_t room, taken;

    (void)snprintf(right, sizeof(right), "%s%s", view->is_paused ? "paused  " : "", view->clock);
    taken = cells_width(right) + 2;
    room = line.left > taken ? taken : 0;
    line.left -= room;
    line_text(&line, STYLE_TITLE, "Penstock");
    line_gap(&line, 2);
    line_text(&line, STYLE_PLAIN, view->where);
    line_gap(&line, 2);
    health_write(frame, &line);
    if (room > 0) {
        line_gap(&line, line.left);
        line.left = room;
        line_field(&line, view->is_paused ? STYLE_WARN : STYLE_QUIET, right, (int)room);
    }
    line_end(&line);
}

/* "1/2" of two numbers of the pool's. */
static struct figure part_of(double part, double whole)
{
    struct figure out = figure_short(part);
    size_t bytes = strlen(out.text);

    (void)snprintf(out.text + bytes, sizeof(out.text) - bytes, "/%.10s", figure_short(whole).text);
    return out;
}

static uint32_t totals_find(const struct frame *frame, struct frame_item items[TOTALS_MAX])
{
    const struct minute *total = &frame->minutes->total;
    json_t *ok = json_object_get(top_facts_rows(frame->facts, FACT_POOL, "slices"), "ok");
    double failed = total->requests > 0 ? total->failed / total->requests : 0;
    uint32_t count = 0;

    const struct frame_item all[] = {
        {NULL, "Requests/s", figure_short(total->requests), STYLE_STRONG},
        {NULL, "failed", figure_percent(failed), failed > 0 ? STYLE_BAD : STYLE_STRONG},
        {NULL, "Tokens/s", figure_short(total->output_tokens), STYLE_STRONG},
        {NULL, "Prompts/s", figure_short(total->prompt_tokens), STYLE_STRONG},
        {NULL, "Busy", figure_percent(total->shares[0] + total->shares[1]), STYLE_STRONG},
        {NULL, "Cost/h", figure_short(total->cost * 3600), STYLE_STRONG},
        {NULL, "Replicas ready", part_of(total->ready, total->replicas),
         total->ready < total->replicas ? STYLE_WARN : STYLE_STRONG},
        {NULL, "Waiting", figure_short(total->waiting), STYLE_STRONG},
        {NULL, "Under way", figure_short(total->under_way), STYLE_STRONG},
    };

    for (; count < ARRAY_COUNT(all); count++)
        items[count] = all[count];
    if (ok != NULL)
        items[count++] = (struct frame_item){
            NULL, "Devices booked",
            part_of(fact_number(ok, "devices_booked"), fact_number(ok, "devices")), STYLE_STRONG};
    return count;
}

static uint32_t head_write(const struct frame *frame)
{
    struct frame_item items[TOTALS_MAX];
    uint32_t taken = 1, totals;

    title_write(frame);
    if (frame->view->trouble[0] != '\0') {
        struct line line = frame_line(frame);

        line_text(&line, STYLE_BAD, frame->view->trouble);
        line_end(&line);
        taken++;
    }
    if (frame->facts == NULL)
        return taken;
    totals = frame_items_write(frame, items, totals_find(frame, items), TOTAL_LINES_MAX);
    return taken + (totals < TOTAL_LINES_MAX ? totals : TOTAL_LINES_MAX);
}

/* --- the parts --- */

/* What is left. */
static uint32_t lines_deal(const struct frame *frame, uint32_t lines, uint32_t given[PARTS])
{
    uint32_t wanted[PARTS];
    bool is_over = false;

    for (size_t i = 0; i < PARTS; i++) {
        uint32_t part = importance[i], least = parts[part]->lines_min;

        wanted[part] = parts[part]->lines(frame);
        given[part] = wanted[part] >= least && least <= lines ? least : 0;
        lines -= given[part];
    }
    while (lines > 0 && !is_over) {
        is_over = true;
        for (size_t i = 0; i < PARTS && lines > 0; i++) {
            uint32_t part = importance[i];

            if (given[part] == 0 || given[part] == wanted[part])
                continue;
            given[part]++;
            lines--;
            is_over = false;
        }
    }
    return lines;
}

static void body_write(const struct frame *frame, uint32_t lines)
{
    uint32_t given[PARTS];

    if (frame->facts == NULL)
        return;
    (void)lines_deal(frame, lines, given);
    for (size_t i = 0; i < PARTS; i++) {
        if (given[i] > 0)
            parts[i]->write(frame, given[i]);
    }
}

/* So that the frame has lines enough, and the keys stand below. */
static void foot_write(const struct frame *frame, size_t from)
{
    uint32_t written = 0;
    struct line line;

    for (size_t i = from; i < frame->out->bytes; i++)
        written += frame->out->data[i] == '\n';
    for (; frame->view->height > 0 && written + 1 < frame->view->height; written++)
        buffer_append_byte(frame->out, '\n');
    if (frame->view->height == 0 || written == frame->view->height)
        return;
    line = frame_line(frame);
    line_text(&line, STYLE_QUIET, frame->view->keys);
    line_end(&line);
}

void frame_write(const struct top_facts *facts, const struct frame_view *view, struct buffer *out)
{
    struct minutes minutes = {.count = 0};
    struct frame frame = {
        .facts = facts, .view = view, .minutes = &minutes, .selected = 0, .out = out};
    size_t from = out->bytes;

    if (facts != NULL && !minutes_init(&minutes, facts)) {
        out->failed = STATUS_NO_MEMORY;
        return;
    }
    frame.selected = minutes_find(&minutes, view->selected);
    if ((view->height > 0 && view->height < HEIGHT_LEAST) || view->width < WIDTH_LEAST) {
        title_write(&frame);
    } else {
        uint32_t taken = head_write(&frame);

        body_write(&frame, view->height > 0 ? view->height - taken - 1 : UINT32_MAX);
    }
    foot_write(&frame, from);
    minutes_deinit(&minutes);
}
