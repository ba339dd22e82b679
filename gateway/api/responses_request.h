#ifndef PENSTOCK_GATEWAY_API_RESPONSES_REQUEST_H
#define PENSTOCK_GATEWAY_API_RESPONSES_REQUEST_H

#include "dialect.h"

/* Bodies of OpenAI's responses API. */
NODISCARD status responses_parse(const struct wire_request *source,
                                 struct api_completion_request *out, struct api_error *error);

/* `input` -> chat's messages (responses_items.c). Appends the items in their full form to `items`,
 * so that they can be listed and continued. */
NODISCARD status responses_read_items(struct request_parse *parse, const char *name,
                                      const json_t *items_in, json_t *chat, json_t *items);
/* The item that a text alone stands for. */
json_t *responses_text_item(const char *text, size_t bytes);

#endif
