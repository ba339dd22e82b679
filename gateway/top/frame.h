#ifndef PENSTOCK_TOP_FRAME_H
#define PENSTOCK_TOP_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "facts.h"

/* What is shown: facts as lines of text. Pure. */

struct frame_view {
    uint32_t width;   /* columns */
    uint32_t height;  /* lines; 0: as many as there is to show */
    bool has_colours; /* else there is no escape sequence in it */
    bool is_paused;
    const char *where;    /* the gateway's address */
    const char *clock;    /* the time of the day, as it is shown */
    const char *selected; /* the model that is shown in full; NULL or unknown: the first */
    const char *trouble;  /* why there is nothing new; "": there is none */
    const char *keys;     /* the last line: what keys do; "": none */
};

/* Exactly `height` lines, or, where that is 0, as many as it takes; each at most `width` columns and ended by '\n'. `facts` NULL: nothing
 * is known yet. */
void frame_write(const struct top_facts *facts, const struct frame_view *view, struct buffer *out);

#endif
