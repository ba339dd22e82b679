#ifndef PENSTOCK_GATEWAY_API_RESPONSES_H
#define PENSTOCK_GATEWAY_API_RESPONSES_H

#include "wire_format.h"

/* What OpenAI's responses API has beyond an answer: what it says again of the request, and items
 * that can be listed and continued. */

/* Beside a request (api_completion_request.responses). Texts are JSON. */
struct api_responses {
    bool is_stored;
    struct buffer echo;    /* members of the response that repeat the request, each after a comma */
    struct buffer context; /* items of the conversation before, comma-separated */
    struct buffer input;   /* items of this request, comma-separated, each with an id */
};
/* NULL: no memory. */
struct api_responses *api_responses_create(void);
void api_responses_destroy(struct api_responses *responses); /* accepts NULL */

/* What a finished answer leaves to be kept: the response as an object, and its items,
 * comma-separated. `choice`: all of it. */
void api_responses_write_record(struct api_answer *answer, const struct api_choice *choice,
                                const struct api_usage *usage, struct buffer *response,
                                struct buffer *output);

/* GET /v1/responses/{id}/input_items: a page of `items`. `query`: the URL's; its after, limit and
 * order are honoured. STATUS_INVALID with the error set. */
NODISCARD status api_responses_write_items(struct buffer *out, struct text_slice items,
                                           struct text_slice query, struct api_error *error);

#endif
