#ifndef PENSTOCK_IDENTITY_SCOPE_H
#define PENSTOCK_IDENTITY_SCOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* What a caller may ask for, as bits. Without any scope named a key has SCOPE_DEFAULT. Pure: any thread. */
enum scope {
    SCOPE_NONE = 0,       /* of routes that every caller may use */
    SCOPE_INFERENCE = 1,  /* text: chat, completions, messages, responses, tokens */
    SCOPE_EMBEDDINGS = 2, /* embeddings, rerank, score */
    SCOPE_ADMIN = 4,      /* the admin listener */
};
#define SCOPE_DEFAULT (SCOPE_INFERENCE | SCOPE_EMBEDDINGS)

/* "inference"; for one bit. */
const char *scope_name(enum scope scope);

/* Adds the scope of this name. STATUS_OK, STATUS_NOT_FOUND. */
NODISCARD status scope_add(struct text_slice name, uint32_t *scopes);

/* Names separated by blanks or commas, as OAuth's `scope` (RFC 6749, section 3.3) and people write them. STATUS_OK,
 * STATUS_NOT_FOUND (`unknown` is the first that is none; scopes untouched). An empty text gives 0. */
NODISCARD status scopes_parse(const char *text, uint32_t *scopes, struct text_slice *unknown);

/* Whether `name` matches one of the blank- or comma-separated shell patterns (fnmatch(3): * ? []); an empty list
 * matches all. */
bool patterns_match(const char *patterns, const char *name);

/* Takes the next word of such a list away; data NULL at its end. */
struct text_slice list_next(const char **list);

#endif
