#ifndef PENSTOCK_EDGE_EXPLAIN_REQUEST_TEXT_H
#define PENSTOCK_EDGE_EXPLAIN_REQUEST_TEXT_H

#include <jansson.h>

#include "buffer.h"

/* The admin API's answer about one request (story_json.h) as text for people, as explain_text.h does it. Pure; any thread. */
void explain_request_write(const json_t *request, struct buffer *out);

#endif
