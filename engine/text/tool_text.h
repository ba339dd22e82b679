#ifndef PENSTOCK_ENGINE_TEXT_TOOL_TEXT_H
#define PENSTOCK_ENGINE_TEXT_TOOL_TEXT_H

#include "buffer.h"
#include "tool_grammar.h"

/* Appends the rules `name`: text up to and with the first `mark`, and `name`-none: text in which there is none. The mark has two
 * characters or more, and its first one stands in it once. */
void tool_text_write(struct buffer *out, const char *name, const char *mark);

#endif
