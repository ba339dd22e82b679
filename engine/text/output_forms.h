#ifndef PENSTOCK_ENGINE_TEXT_OUTPUT_FORMS_H
#define PENSTOCK_ENGINE_TEXT_OUTPUT_FORMS_H

#include "call_reader.h"
#include "output_parser.h"

/* What the forms are made of, as data. Texts are what the vocabulary has as one token where it has one. */

#define FORM_MARKS        3u
#define FORM_INNER_TOKENS 7u

struct call_mark {
    const char *open; /* NULL: no further one */
    enum call_body body;
    const char *close; /* NULL: none; may be left out by the model */
    bool needs_known;  /* without the name of a tool it is no call */
};

struct tool_marks {
    const char *name;
    struct call_mark marks[FORM_MARKS];
    const char *skipped[FORM_MARKS];             /* stand around all calls and mean nothing */
    const char *inner_tokens[FORM_INNER_TOKENS]; /* further tokens a call may be made of */
    head_name_fn *head_name;
    char anchor; /* a call may begin with this as the first thing of the text; 0: it may not */
    enum call_body anchor_body;
    const char *separator; /* may stand behind a call and means nothing; NULL: none */
};

struct reasoning_marks {
    const char *name;
    const char *open, *close; /* NULL: none */
    const char *inner_tokens[FORM_INNER_TOKENS];
};

extern const struct tool_marks tool_marks[TOOL_FORM_COUNT];
extern const struct reasoning_marks reasoning_marks[REASONING_FORM_COUNT];

/* The control tokens of harmony. */
#define HARMONY_START   "<|start|>"
#define HARMONY_CHANNEL "<|channel|>"
#define HARMONY_MESSAGE "<|message|>"
#define HARMONY_END     "<|end|>"
#define HARMONY_RETURN  "<|return|>"
#define HARMONY_CALL    "<|call|>"
#define HARMONY_TYPE    "<|constrain|>"

#endif
