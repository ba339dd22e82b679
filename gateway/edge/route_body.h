#ifndef PENSTOCK_EDGE_ROUTE_BODY_H
#define PENSTOCK_EDGE_ROUTE_BODY_H

#include "config.h"
#include "openai.h"
#include "prompt_chunks.h"

/* All that the gateway role reads of a body it only passes on: which model it is for, which stored
 * response it continues, how much it may make, and which requests it has the beginning of its prompt in common with. The body is scanned once against the limits, no tree is built, and
 * no byte is changed. Without a model field the only model is meant, if there is only one. */
struct route_target {
    uint32_t model; /* index in the config */
    bool has_name;
    bool wants_stream;          /* "stream": true */
    uint64_t output_tokens_max; /* of a choice, where the body says so */
    uint32_t choice_count;
    bool has_output_tokens_max;
    struct text_slice name; /* in the body, without quotes; data NULL: it has none */
    /* In the body, as they are escaped there; empty: none */
    struct text_slice previous_response_id, prompt_cache_key, user;
    struct text_slice cache_salt, stream_options; /* raw */
    struct prompt_text prompt;                    /* what the prompt is made of */
    int32_t priority;                             /* lower is served first; 0: it says nothing */
};
/* STATUS_OK, or STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NOT_FOUND with the error complete. Any
 * thread. */
NODISCARD status route_body(const struct config *config, struct text_slice body,
                            struct route_target *out, struct api_error *error);

/* The body with another model's name in place of its own, which stood at `old` (route_target.name); `out` has
 * body.bytes + strlen(name). Returns the bytes written. */
size_t route_body_rename(struct text_slice body, struct text_slice old, const char *name,
                         char *out);

/* The body (a valid object without a model field) with `"model":"NAME"` put first, for replicas and
 * other servers that insist on it. `out` has route_body_named_bytes; returns the bytes written. */
size_t route_body_named_bytes(struct text_slice body, const char *name);
size_t route_body_name(struct text_slice body, const char *name, char *out);

#endif
