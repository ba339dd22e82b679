#ifndef PENSTOCK_BASE_ROFF_H
#define PENSTOCK_BASE_ROFF_H

#include "buffer.h"

/* Text for pages of troff's man macros. */

/* Appends `text` as it is to be read: what troff would take for a request or an escape is masked, and hyphens stay hyphens.
 * Newlines stay. */
void roff_append(struct buffer *out, const char *text);

#endif
