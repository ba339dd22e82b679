#ifndef PENSTOCK_BASE_TEXT_TABLE_H
#define PENSTOCK_BASE_TEXT_TABLE_H

#include "buffer.h"

/* Tables for people: lines are written with a tab behind each cell, and lined up when all cells are known. Any thread. */

/* Text of others in a cell: control characters are shown as "?". */
void text_table_text(struct buffer *out, const char *text);

/* Lines up the lines; they end in '\0'. Columns beyond the 16th are not lined up. A buffer that has failed makes `out` fail. */
void text_table_write(const struct buffer *lines, struct buffer *out);

#endif
