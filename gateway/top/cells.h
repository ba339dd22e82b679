#ifndef PENSTOCK_TOP_CELLS_H
#define PENSTOCK_TOP_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

/* Text of others in a terminal's columns. Names come from tenants: what could move the cursor, hide or turn round text (control
 * characters, marks of direction, broken UTF-8) is shown as U+FFFD. Wide characters take two columns. Pure, but that widths are those of the
 * process's LC_CTYPE. */

/* Widths need a UTF-8 locale, whichever the user has. Once, before other threads. False: there is none, and all but ASCII is
 * shown as U+FFFD. */
bool cells_locale_set(void);

/* Columns that the text takes. */
uint32_t cells_width(const char *text);

/* Writes so much of it as fits into `columns`; what was cut ends in an ellipsis. Returns the columns taken. */
uint32_t cells_write(struct buffer *out, const char *text, uint32_t columns);

#endif
