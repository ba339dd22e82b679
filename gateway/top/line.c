#include "line.h"

#include "cells.h"

/* SGR (ECMA-48, 8.3.117). Grey is one of the 256, as "faint" is not known everywhere. */
static const char *const sgr[STYLE_COUNT] = {
    [STYLE_STRONG] = "\033[1m",        [STYLE_QUIET] = "\033[38;5;245m",
    [STYLE_TITLE] = "\033[1;38;5;74m", [STYLE_HEADING] = "\033[4;38;5;245m",
    [STYLE_SELECTED] = "\033[1;7m",    [STYLE_GOOD] = "\033[38;5;78m",
    [STYLE_WARN] = "\033[38;5;214m",   [STYLE_BAD] = "\033[1;38;5;203m",
};
#define SGR_END "\033[0m"

void line_begin(struct line *line, struct buffer *out, uint32_t width, bool has_colours)
{
    *line = (struct line){.out = out, .left = width, .has_colours = has_colours};
}

void line_gap(struct line *line, uint32_t columns)
{
    uint32_t taken = columns < line->left ? columns : line->left;

    line->owed += taken;
    line->left -= taken;
}

static void owed_write(struct line *line)
{
    buffer_append_format(line->out, "%*s", (int)line->owed, "");
    line->owed = 0;
}

/* At most `columns`. Returns those taken. */
static uint32_t styled_write(struct line *line, enum style style, const char *text,
                             uint32_t columns)
{
    bool has_style = line->has_colours && sgr[style] != NULL;
    uint32_t taken;

    if (columns > line->left)
        columns = line->left;
    if (columns == 0 || text[0] == '\0')
        return 0;
    owed_write(line);
    if (has_style)
        buffer_append_text(line->out, sgr[style]);
    taken = cells_write(line->out, text, columns);
    if (has_style)
        buffer_append_text(line->out, SGR_END);
    line->left -= taken;
    return taken;
}

void line_text(struct line *line, enum style style, const char *text)
{
    (void)styled_write(line, style, text, line->left);
}

void line_field(struct line *line, enum style style, const char *text, int columns)
{
    uint32_t field = (uint32_t)(columns < 0 ? -columns : columns), width = cells_width(text);
    uint32_t space = width < field ? field - width : 0;

    if (columns > 0)
        line_gap(line, space);
    (void)styled_write(line, style, text, field);
    if (columns < 0)
        line_gap(line, space);
}

void line_painted(struct line *line, int foreground, int background, const char *text)
{
    owed_write(line);
    if (line->has_colours)
        buffer_append_format(line->out, "\033[38;5;%d;48;5;%dm", foreground, background);
    line->left -= cells_write(line->out, text, line->left);
    if (line->has_colours)
        buffer_append_text(line->out, SGR_END);
}

void line_end(struct line *line)
{
    buffer_append_byte(line->out, '\n');
}
