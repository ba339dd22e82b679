#ifndef PENSTOCK_ENGINE_TEXT_OUTPUT_PARSER_PRIVATE_H
#define PENSTOCK_ENGINE_TEXT_OUTPUT_PARSER_PRIVATE_H

#include "buffer.h"
#include "output_forms.h"
#include "output_parser.h"

/* The parser's inside, shared by output_parser.c and the form that has an order of its own, harmony. */

#define MARKS_MAX      12u
#define MARK_BYTES_MAX 64u
/* Longest head of a message of harmony. */
#define HEADER_BYTES_MAX 512u

enum mode { MODE_TEXT, MODE_REASONING, MODE_CALL, MODE_HEADER, MODE_ARGUMENTS };

enum mark_action {
    MARK_REASONING_BEGIN,
    MARK_REASONING_END,
    MARK_CALL,
    MARK_SKIP,
    MARK_CLOSE, /* of the call that has just ended */
    MARK_HEADER,
    MARK_MESSAGE,
    MARK_MESSAGE_END
};

struct mark {
    const char *text;
    size_t bytes;
    enum mark_action action;
    const struct call_mark *call;
};

struct output_parser {
    struct output_parser_options options;
    const struct tool_marks *form;
    bool is_harmony;
    enum mode mode;
    struct mark marks[MARKS_MAX]; /* those that mean something now */
    size_t mark_count;
    const struct call_mark *last_call; /* whose close mark may come; NULL: none */
    struct buffer input;               /* what is to be looked at */
    size_t input_at;
    char held[MARK_BYTES_MAX];
    size_t held_bytes;
    struct buffer raw, space, header;
    struct buffer run; /* of one kind, on its way out */
    enum output_kind run_kind;
    bool trims;         /* white space at the start of what comes is dropped */
    bool has_text;      /* some came, and no call since */
    uint32_t calls;     /* begun so far */
    bool has_open_call; /* harmony's */
    struct call_reader reader;
    struct call_types types;
    struct call_sink sink;
};

/* Adds a mark to those that mean something; NULL adds none. */
void parser_add_mark(output_parser *p, const char *text, enum mark_action action,
                     const struct call_mark *call);
void parser_set_marks(output_parser *p);
void parser_enter(output_parser *p, enum mode mode);
/* A character of text or reasoning; white space waits for what follows. */
void parser_put_character(output_parser *p, char c);
/* A call's beginning, arguments and end go out; of type call_sink's functions. */
void parser_begin_call(void *parser, struct text_slice name);
void parser_add_arguments(void *parser, struct text_slice json);
void parser_end_call(void *parser);

/* --- harmony --- */

void harmony_add_marks(output_parser *p);
/* A character of a message's head. */
void harmony_step_header(output_parser *p, char c);
/* The head is complete. */
void harmony_begin_message(output_parser *p);
void harmony_end_message(output_parser *p);
/* The output ends in a head: text that only looked like one comes out. */
void harmony_finish_header(output_parser *p);

#endif
