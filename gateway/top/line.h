#ifndef PENSTOCK_TOP_LINE_H
#define PENSTOCK_TOP_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

/* One line of a frame, written from left to right. It never takes more columns than there are, and never ends in spaces. */

enum style {
    STYLE_PLAIN,
    STYLE_STRONG,
    STYLE_QUIET,
    STYLE_TITLE,
    STYLE_HEADING,
    STYLE_SELECTED,
    STYLE_GOOD,
    STYLE_WARN,
    STYLE_BAD,
    STYLE_COUNT
};

struct line {
    struct buffer *out; /* borrowed */
    uint32_t left;      /* columns */
    uint32_t owed;      /* spaces that stand before what comes next */
    bool has_colours;
};

void line_begin(struct line *line, struct buffer *out, uint32_t width, bool has_colours);
void line_gap(struct line *line, uint32_t columns);
/* So much as fits. */
void line_text(struct line *line, enum style style, const char *text);
/* In a field of |columns|: to the right of it where they are positive, to the left where negative. */
void line_field(struct line *line, enum style style, const char *text, int columns);
/* Text without colours of its own in these, of the terminal's 256; it must fit. */
void line_painted(struct line *line, int foreground, int background, const char *text);
void line_end(struct line *line);

#endif
