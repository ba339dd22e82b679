#ifndef PENSTOCK_GATEWAY_API_REQUEST_CACHE_H
#define PENSTOCK_GATEWAY_API_REQUEST_CACHE_H

#include "request_parse.h"

/* Marks in a request's prompt: up to here it is to stay in the prefix cache for so long. */

/* The name of the member that marks a part of a message, or the end of a message's text. */
#define CACHE_BREAKPOINT "prompt_cache_breakpoint"

/* Notes a mark, unless the request has a deeper one for as long. */
void request_cache_mark(struct api_completion_request *out, enum api_cache_ttl ttl,
                        struct api_cache_mark mark);
/* Reads {"mode":"explicit","ttl":...}, which stands at `mark`. STATUS_OK or STATUS_INVALID. */
NODISCARD status request_breakpoint_read(const json_t *value, const char *path,
                                         struct api_cache_mark mark,
                                         struct api_completion_request *out,
                                         struct api_error *error);

#endif
