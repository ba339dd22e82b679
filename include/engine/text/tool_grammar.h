#ifndef PENSTOCK_ENGINE_TOOL_GRAMMAR_H
#define PENSTOCK_ENGINE_TOOL_GRAMMAR_H

#include <stdbool.h>

#include "buffer.h"
#include "json.h"
#include "output_parser.h"

/* What an answer with tools may be, as the text of a grammar (GRAMMAR_EBNF, with_control): calls in the model's own form with
 * arguments that keep the tools' schemas, reasoning before them, text where calls may be left out. What it allows is what
 * output_parser reads back.
 *
 * Calls are written as the families' chat templates show them, arguments in the order of the schema. Forms without quotes
 * (Qwen3-Coder, GLM) and Python take types, enum and const from the schema of a string and of what is nested in Python;
 * further keywords hold where the form has JSON. */
struct tool_grammar_options {
    enum tool_form form; /* NONE: no calls, only `content` */
    enum reasoning_form reasoning;
    bool starts_in_reasoning;
    const json_t *
        tools; /* those that may be called: [{"type", "function": {"name", "parameters", "strict"}}] */
    bool is_required; /* there is a call */
    bool is_single;   /* and no second one */
    bool is_loose;    /* the arguments of functions that are not strict are any object */
    struct text_slice
        content; /* an EBNF expression: what an answer without calls is; empty: any text */
};

/* Appends the grammar; failure is the buffer's own. Any thread. */
void tool_grammar_write(const struct tool_grammar_options *options, struct buffer *out);

/* Appends a text as a literal of EBNF. */
void tool_literal_write(struct buffer *out, struct text_slice text);

#endif
