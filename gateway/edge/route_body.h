#ifndef PENSTOCK_EDGE_ROUTE_BODY_H
#define PENSTOCK_EDGE_ROUTE_BODY_H

#include "config.h"
#include "openai.h"

/* All that the gateway role reads of a body it only passes on: which model it is for. The body is
 * scanned once against the limits, no tree is built, and no byte is changed. Without a model field
 * the only model is meant, if there is only one. STATUS_OK with the model's index in the config, or
 * STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NOT_FOUND with the error complete. Any thread. */
NODISCARD status route_body(const struct config *config, struct text_slice body, uint32_t *model,
                            bool *has_name, struct api_error *error);

/* The body (a valid object without a model field) with `"model":"NAME"` put first, for replicas and
 * other servers that insist on it. `out` has route_body_named_bytes; returns the bytes written. */
size_t route_body_named_bytes(struct text_slice body, const char *name);
size_t route_body_name(struct text_slice body, const char *name, char *out);

#endif
