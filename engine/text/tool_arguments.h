#ifndef PENSTOCK_ENGINE_TEXT_TOOL_ARGUMENTS_H
#define PENSTOCK_ENGINE_TEXT_TOOL_ARGUMENTS_H

#include "buffer.h"
#include "json.h"
#include "tool_grammar.h"

/* The arguments of a call, between its name and its end, as rules of EBNF. */
enum tool_arguments {
    TOOL_ARGUMENTS_JSON,
    TOOL_ARGUMENTS_PYTHON, /* a=1, b="x" */
    TOOL_ARGUMENTS_QWEN,   /* <parameter=a>\n1\n</parameter>\n */
    TOOL_ARGUMENTS_GLM     /* <arg_key>a</arg_key>\n<arg_value>1</arg_value>\n */
};

/* Appends the rule `rule` and those that it needs, named after it. `schema` NULL: a function without parameters.
 * `is_loose`: any object. */
void tool_arguments_write(struct buffer *out, enum tool_arguments kind, const char *rule,
                          const json_t *schema, bool is_loose);

#endif
