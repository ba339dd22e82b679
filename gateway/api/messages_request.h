#ifndef PENSTOCK_GATEWAY_API_MESSAGES_REQUEST_H
#define PENSTOCK_GATEWAY_API_MESSAGES_REQUEST_H

#include "dialect.h"

/* Bodies of Anthropic's messages API. */
NODISCARD status messages_parse(const struct wire_request *source,
                                struct api_completion_request *out, struct api_error *error);
NODISCARD status messages_parse_count(const struct wire_request *source,
                                      struct api_completion_request *out, struct api_error *error);

/* `system` and `messages` -> chat's messages (messages_content.c). */
NODISCARD status messages_read_system(struct request_parse *parse, const char *name, json_t *value,
                                      json_t *chat);
NODISCARD status messages_read_messages(struct request_parse *parse, const char *name,
                                        json_t *value, json_t *chat);
/* The marker of an object that may have one, as chat's breakpoint: a reference, the caller's; NULL: it has none. */
NODISCARD status messages_read_cache_control(struct request_parse *parse, const char *path,
                                             const json_t *object, json_t **out);

#endif
