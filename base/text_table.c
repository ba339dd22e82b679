#include "text_table.h"

#include <string.h>

#define COLUMNS_MAX 16u
#define GAP         2u

void text_table_text(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++)
        buffer_append_byte(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

/* Bytes that begin a character of UTF-8 count; wide ones are not known. */
static size_t width_of(const char *cell, size_t bytes)
{
    size_t width = 0;

    for (size_t i = 0; i < bytes; i++)
        width += ((unsigned char)cell[i] & 0xc0) != 0x80;
    return width;
}

static void widths_find(const char *lines, size_t widths[COLUMNS_MAX])
{
    size_t column = 0;

    while (*lines != '\0') {
        size_t bytes = strcspn(lines, "\t\n"), width = width_of(lines, bytes);

        if (column < COLUMNS_MAX && width > widths[column])
            widths[column] = width;
        lines += bytes;
        column = *lines == '\n' ? 0 : column + 1;
        lines += *lines != '\0';
    }
}

void text_table_write(const struct buffer *lines, struct buffer *out)
{
    size_t widths[COLUMNS_MAX] = {0}, column = 0, owed = 0;
    const char *at = lines->data;

    if (lines->failed != STATUS_OK || lines->data == NULL) {
        out->failed = lines->failed != STATUS_OK ? lines->failed : out->failed;
        return;
    }
    widths_find(at, widths);
    while (*at != '\0') {
        size_t bytes = strcspn(at, "\t\n");

        if (bytes > 0) { /* spaces only before what follows: no line ends in them */
            buffer_append_format(out, "%*s", (int)owed, "");
            buffer_append(out, at, bytes);
            owed = column < COLUMNS_MAX ? widths[column] - width_of(at, bytes) + GAP : GAP;
        }
        at += bytes;
        column++;
        if (*at == '\n') {
            buffer_append_byte(out, '\n');
            column = owed = 0;
        }
        at += *at != '\0';
    }
}
