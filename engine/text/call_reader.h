#ifndef PENSTOCK_ENGINE_TEXT_CALL_READER_H
#define PENSTOCK_ENGINE_TEXT_CALL_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "call_types.h"
#include "python_literal.h"
#include "text_slice.h"

/* Reads what stands between the markers of a call, a character at a time, and says what calls it finds. A kind of body is a
 * small automaton; what it needs to keep lies in the one struct below. Thread: the parser's. */

enum call_body {
    CALL_BODY_JSON,          /* {"name": ..., "arguments": {...}}, or an array of such */
    CALL_BODY_NAMED_JSON,    /* a head that holds the name, then {...} */
    CALL_BODY_LIST_OR_NAMED, /* an array of such objects, or a head and {...} */
    CALL_BODY_PYTHON_LIST,   /* [f(a=1), g()] */
    CALL_BODY_PYTHON,        /* f(a=1), lines of such */
    CALL_BODY_QWEN_XML,      /* <function=f><parameter=a>1</parameter></function> */
    CALL_BODY_QWEN_FUNCTION, /* the same after "<function=" */
    CALL_BODY_GLM            /* f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call> */
};

enum call_step {
    CALL_MORE,   /* the character belongs to it */
    CALL_DONE,   /* and was its last */
    CALL_UNREAD, /* it ended before this character, which does not belong to it */
    CALL_FAILED  /* this is no call */
};

/* Where calls go. */
struct call_sink {
    void (*begin)(void *context, struct text_slice name);
    void (*arguments)(void *context, struct text_slice json);
    void (*end)(void *context);
    void *context;
};

/* How the name is found in the head of CALL_BODY_NAMED_JSON. */
typedef struct text_slice head_name_fn(struct text_slice head);

struct call_reader {
    enum call_body body;
    head_name_fn *head_name;
    bool needs_known; /* a name that is no tool's is no call */
    const struct call_types *types;
    const struct call_sink *sink;

    unsigned state;
    bool is_list, has_begun, has_arguments;
    /* a JSON value that is being passed through or over */
    unsigned depth;
    bool in_string, is_escaped;
    struct python_literal literal;
    struct buffer word, name, early; /* owned */
};

void call_reader_init(struct call_reader *r, size_t bytes_max);
void call_reader_deinit(struct call_reader *r);
/* Begins a body. */
void call_reader_start(struct call_reader *r, enum call_body body, head_name_fn *head_name,
                       bool needs_known);
enum call_step call_reader_step(struct call_reader *r, char c);
/* The output ended inside the body: a call that has begun ends. */
void call_reader_finish(struct call_reader *r);

/* --- for the kinds --- */

void call_begin(struct call_reader *r, struct text_slice name);
void call_arguments(struct call_reader *r, const char *data, size_t bytes);
void call_end(struct call_reader *r);
/* A name that can be a function's, and is a tool's where that is asked for. */
bool call_name_is_fit(const struct call_reader *r, struct text_slice name);

/* Without white space at both ends. */
struct text_slice call_trim(struct text_slice text);

/* One character of a JSON object or array that began with depth 0; true: it was the last one. */
bool call_json_pass(struct call_reader *r, char c);

enum call_step call_json_step(struct call_reader *r, char c);
enum call_step call_named_step(struct call_reader *r, char c);
enum call_step call_python_step(struct call_reader *r, char c);
enum call_step call_qwen_step(struct call_reader *r, char c);
enum call_step call_glm_step(struct call_reader *r, char c);

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

#endif
