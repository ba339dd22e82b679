#include "cells.h"

#include <locale.h>
#include <string.h>
#include <wchar.h>

#include "utf8.h"

#define MARKS_MAX                                                                                  \
    2u /* combining marks on one character; a heap of them would reach into other lines */

static const char replacement[] = "\xEF\xBF\xBD", ellipsis[] = "\xE2\x80\xA6";

struct cell {
    const char *text; /* what is shown for it */
    size_t bytes;     /* of text; 0: it is not shown */
    size_t taken;     /* bytes of the source */
    uint32_t columns;
};

bool cells_locale_set(void)
{
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL; // NOLINT: before other threads
}

/* Format characters of no width: they join, hide or turn round what is beside them. */
static bool is_format(uint32_t c)
{
    return c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

/* They choose between a narrow and a wide picture, which terminals disagree on. */
static bool is_variation_selector(uint32_t c)
{
    return c >= 0xfe00 && c <= 0xfe0f;
}

static struct cell cell_at(const char *text, size_t bytes, uint32_t marks)
{
    uint32_t code_point = 0;
    size_t taken = utf8_decode(text, bytes, &code_point);
    struct cell cell = {replacement, sizeof(replacement) - 1, taken, 1};
    int width;

    if (taken == 0) {
        cell.taken = utf8_broken_length(text, bytes);
        return cell;
    }
    width = wcwidth((wchar_t)code_point);
    if (is_variation_selector(code_point) || (width == 0 && marks >= MARKS_MAX)) {
        cell.bytes = cell.columns = 0;
    } else if (width >= 0 && !is_format(code_point)) {
        cell.text = text;
        cell.bytes = taken;
        cell.columns = (uint32_t)width;
    }
    return cell;
}

/* The columns of so much as fits into `columns`, which is written where `out` is there. */
static uint32_t cells_pass(struct buffer *out, const char *text, uint32_t columns)
{
    size_t left = strlen(text);
    uint32_t width = 0, marks = 0;

    while (left > 0) {
        struct cell cell = cell_at(text, left, marks);

        if (cell.columns > columns - width)
            break;
        marks = cell.columns > 0 ? 0 : marks + 1;
        width += cell.columns;
        if (out != NULL)
            buffer_append(out, cell.text, cell.bytes);
        text += cell.taken;
        left -= cell.taken;
    }
    return width;
}

uint32_t cells_width(const char *text)
{
    return cells_pass(NULL, text, UINT32_MAX);
}

uint32_t cells_write(struct buffer *out, const char *text, uint32_t columns)
{
    uint32_t width;

    if (columns == 0)
        return 0;
    if (cells_width(text) <= columns)
        return cells_pass(out, text, columns);
    width = cells_pass(out, text, columns - 1);
    buffer_append_text(out, ellipsis);
    return width + 1;
}
