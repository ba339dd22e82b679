#ifndef PENSTOCK_TOP_FRAME_PARTS_H
#define PENSTOCK_TOP_FRAME_PARTS_H

#include "figures.h"
#include "frame.h"
#include "line.h"
#include "minute.h"

/* The parts that a frame is put together of, from above to below. Each says how many lines it would take, and then writes at
 * most those that it is given. */

struct frame {
    const struct top_facts *facts; /* borrowed, as all else */
    const struct frame_view *view;
    const struct minutes *minutes;
    uint32_t selected; /* of minutes->models, where there are any */
    struct buffer *out;
};

struct frame_part {
    uint32_t (*lines)(const struct frame *frame);
    void (*write)(const struct frame *frame, uint32_t lines);
    uint32_t lines_min; /* with fewer it is left out */
};
extern const struct frame_part frame_anomalies, frame_models, frame_time, frame_replicas,
    frame_slices, frame_requests;

/* A line of the frame, which begins one column in. */
struct line frame_line(const struct frame *frame);
/* "… 5 more" */
void frame_more_write(const struct frame *frame, uint32_t count);

/* --- things of a name and a value, in as many lines as they take --- */

struct frame_item {
    const struct time_state *state; /* its letter stands before it; NULL: none */
    const char *label;
    struct figure value;
    enum style style; /* of the value */
};
/* Returns the lines they take; `lines` of them are written. */
uint32_t frame_items_write(const struct frame *frame, const struct frame_item *items,
                           uint32_t count, uint32_t lines);

/* --- tables --- */

#define CELL_BYTES 1024u

struct frame_column {
    const char *title;
    int width; /* to the right; negative: to the left; 0: what the others leave, in equal shares */
    uint32_t from_width; /* of the frame; it is left out of narrower ones */
    enum style (*cell)(const void *row, char out[CELL_BYTES]);
};
struct frame_table {
    const struct frame_column *columns;
    uint32_t count;
};
/* `title` stands for the first column's, where it is not NULL. Tables take `width` columns. */
void frame_table_head_write(const struct frame *frame, const struct frame_table *table,
                            uint32_t width, const char *title);
/* All but the line's end. */
struct line frame_table_row(const struct frame *frame, const struct frame_table *table,
                            uint32_t width, const void *row, bool is_selected);

#endif
