#ifndef PENSTOCK_EDGE_SHADOW_TEXT_H
#define PENSTOCK_EDGE_SHADOW_TEXT_H

#include "buffer.h"

/* What two answers to one request have in common. Pure; any thread. */

/* Appends the text of the first choice of an answer of chat or text completions: a JSON object, or an event stream. False: it
 * is neither, or says an error. */
bool shadow_text_read(struct text_slice answer, struct buffer *out);

struct shadow_difference {
    uint32_t tokens[2];    /* of each text */
    uint32_t equal_tokens; /* before the first difference */
};
/* Tokens here are words with the white space before them, and single signs: not those of a model, since the two may have
 * different ones. */
struct shadow_difference shadow_text_compare(struct text_slice a, struct text_slice b);

#endif
