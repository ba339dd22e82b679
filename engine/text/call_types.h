#ifndef PENSTOCK_ENGINE_TEXT_CALL_TYPES_H
#define PENSTOCK_ENGINE_TEXT_CALL_TYPES_H

#include <stdbool.h>

#include "buffer.h"
#include "json.h"
#include "status.h"
#include "text_slice.h"

/* The names of a request's tools and the types of their arguments, for forms that write arguments without quotes. */
struct call_type {
    struct text_slice tool, argument; /* in `texts` */
    bool is_text;                     /* a string, or nothing where is_nullable */
    bool is_nullable;
};

struct call_types {
    struct buffer texts; /* owned */
    struct call_type
        *types; /* owned; an entry without argument for each tool, then its arguments */
    size_t count;
};

/* `tools`: as struct output_parser_options says. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status call_types_init(struct call_types *types, const json_t *tools);
void call_types_deinit(struct call_types *types);

bool call_types_has_tools(const struct call_types *types);
bool call_types_has_tool(const struct call_types *types, struct text_slice tool);

/* Appends the argument's value as JSON: text that the schema calls a string, or that is no JSON, as a string. Python's
 * True, False and None are what they mean, and so are its lists and dicts where the schema wants something else than a
 * string. */
void call_types_write_value(const struct call_types *types, struct text_slice tool,
                            struct text_slice argument, struct text_slice value,
                            struct buffer *out);

#endif
