#include "frame_parts.h"

#include <stdio.h>

#include "cells.h"

#define WIDE 100u /* columns from which on there is more space between the cells */

struct line frame_line(const struct frame *frame)
{
    struct line line;

    line_begin(&line, frame->out, frame->view->width, frame->view->has_colours);
    line_gap(&line, 1);
    return line;
}

void frame_more_write(const struct frame *frame, uint32_t count)
{
    struct line line = frame_line(frame);
    char text[48];

    (void)snprintf(text, sizeof(text), "\xE2\x80\xA6 %u more", count);
    line_text(&line, STYLE_QUIET, text);
    line_end(&line);
}

/* --- items --- */

static uint32_t item_width(const struct frame_item *item)
{
    uint32_t value = cells_width(item->value.text);

    return (item->state != NULL ? 2 : 0) + cells_width(item->label) + (value > 0 ? value + 1 : 0);
}

static void item_write(struct line *line, const struct frame_item *item)
{
    if (item->state != NULL) {
        const char letter[] = {item->state->letter, '\0'};

        line_painted(line, item->state->foreground, item->state->background, letter);
        line_gap(line, 1);
    }
    line_text(line, item->value.text[0] != '\0' ? STYLE_QUIET : item->style, item->label);
    line_gap(line, item->value.text[0] != '\0');
    line_text(line, item->style, item->value.text);
}

uint32_t frame_items_write(const struct frame *frame, const struct frame_item *items,
                           uint32_t count, uint32_t lines)
{
    uint32_t taken = 0, i = 0;

    while (i < count) {
        struct line line = frame_line(frame);
        uint32_t left = frame->view->width - 1, first = i;

        for (; i < count && (i == first || item_width(&items[i]) + 3 <= left); i++) {
            uint32_t width = item_width(&items[i]) + (i > first ? 3 : 0);

            left -= width < left ? width : left;
            if (taken < lines) {
                line_gap(&line, i > first ? 3 : 0);
                item_write(&line, &items[i]);
            }
        }
        if (taken < lines)
            line_end(&line);
        taken++;
    }
    return taken;
}

/* --- tables --- */

static bool is_there(const struct frame *frame, const struct frame_column *column)
{
    return frame->view->width >= column->from_width;
}

static uint32_t gap_of(const struct frame *frame)
{
    return frame->view->width >= WIDE ? 2 : 1;
}

/* The columns of each cell whose width is what the others leave. */
static int flexible_width(const struct frame *frame, const struct frame_table *table,
                          uint32_t width)
{
    uint32_t taken = 1, flexible = 0;

    for (uint32_t i = 0; i < table->count; i++) {
        const struct frame_column *column = &table->columns[i];

        if (!is_there(frame, column))
            continue;
        taken += (uint32_t)(column->width < 0 ? -column->width : column->width) +
                 (i > 0 ? gap_of(frame) : 0);
        flexible += column->width == 0;
    }
    return flexible > 0 && taken < width ? -(int)((width - taken) / flexible) : 0;
}

void frame_table_head_write(const struct frame *frame, const struct frame_table *table,
                            uint32_t width, const char *title)
{
    struct line line = frame_line(frame);
    int flexible = flexible_width(frame, table, width);

    for (uint32_t i = 0; i < table->count; i++) {
        const struct frame_column *column = &table->columns[i];

        if (!is_there(frame, column))
            continue;
        line_gap(&line, i > 0 ? gap_of(frame) : 0);
        line_field(&line, i > 0 ? STYLE_QUIET : STYLE_TITLE,
                   i == 0 && title != NULL ? title : column->title,
                   column->width != 0 ? column->width : flexible);
    }
    line_end(&line);
}

struct line frame_table_row(const struct frame *frame, const struct frame_table *table,
                            uint32_t width, const void *row, bool is_selected)
{
    struct line line;
    int flexible = flexible_width(frame, table, width);

    line_begin(&line, frame->out, frame->view->width, frame->view->has_colours);
    line_field(&line, STYLE_TITLE, is_selected ? ">" : "", -1);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct frame_column *column = &table->columns[i];
        char text[CELL_BYTES] = "";
        enum style style;

        if (!is_there(frame, column))
            continue;
        style = column->cell(row, text);
        line_gap(&line, i > 0 ? gap_of(frame) : 0);
        line_field(&line, i == 0 && is_selected ? STYLE_STRONG : style, text,
                   column->width != 0 ? column->width : flexible);
    }
    return line;
}
