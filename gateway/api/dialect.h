#ifndef PENSTOCK_GATEWAY_API_DIALECT_H
#define PENSTOCK_GATEWAY_API_DIALECT_H

#include "request_parse.h"

/* Other APIs' requests. A dialect rebuilds its body's tree as that of a chat completion request,
 * sharing the values that mean the same; the one table of fields then checks and reads it. So there
 * is one place that knows what a field may be, and whatever chat completions can do, a dialect can.
 *
 * What chat says about a field that the client knows by another name is said with the client's name
 * (aliases). Members that a dialect does not know are taken over as they are: chat's extensions
 * (min_p, ignore_eos, ...) work in every dialect. */

/* Adds to `chat`; `value` is not null. */
typedef status dialect_reader(struct request_parse *parse, const char *name, json_t *value,
                              json_t *chat);

struct dialect_field {
    const char *name;
    dialect_reader *read; /* NULL: taken over as it is */
};

/* What is left to the dialect's `finish`; what is known and not honoured; what this API does not
 * have, though chat does. */
dialect_reader dialect_read_later, dialect_read_ignored, dialect_read_unknown;

struct dialect {
    const struct dialect_field *fields;  /* ends with a NULL name */
    const struct request_alias *aliases; /* ends with a NULL name */
    /* Before the fields; NULL: nothing is to be done. */
    status (*begin)(struct request_parse *parse);
    /* After the fields: what several of them say together. */
    status (*finish)(struct request_parse *parse, json_t *body, json_t *chat);
};

/* A dialect's body -> request; results and errors as for api_chat_request_parse. */
NODISCARD status dialect_parse(const struct wire_request *source, const struct dialect *dialect,
                               struct api_completion_request *out, struct api_error *error);

/* Puts the tree of a chat completion in the place of the dialect's (parse->out->body). */
NODISCARD status dialect_translate(struct request_parse *parse, const struct dialect *dialect);

/* Steps of a dialect. Each takes over the reference to `value`; NULL counts as out of memory. */
status tree_set(struct request_parse *parse, json_t *object, const char *name, json_t *value);
status tree_append(struct request_parse *parse, json_t *array, json_t *value);
/* The array member of this name, made where it is missing; borrowed. NULL: no memory. */
json_t *tree_array(struct request_parse *parse, json_t *object, const char *name);

/* A value of "type" that is none of those we know, or missing. */
status dialect_fail_type(struct request_parse *parse, const char *path, const json_t *object,
                         const char *known);

#endif
