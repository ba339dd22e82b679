#ifndef PENSTOCK_JINJA_LEXER_H
#define PENSTOCK_JINJA_LEXER_H

#include "jinja_value.h"

/* The template's tokens, with whitespace control as transformers sets it up (trim_blocks,
 * lstrip_blocks). Rules: jinja2 3.1, lexer.py. */
enum token_kind {
    LEX_END,
    LEX_TEXT,        /* text */
    LEX_PRINT_BEGIN, /* {{ */
    LEX_PRINT_END,
    LEX_BLOCK_BEGIN, /* {% */
    LEX_BLOCK_END,
    LEX_NAME,    /* text */
    LEX_STRING,  /* value: escapes resolved */
    LEX_INTEGER, /* value */
    LEX_FLOAT,   /* value */
    LEX_OPERATOR /* text */
};

struct token {
    enum token_kind kind;
    struct text_slice text;
    struct value value;
    uint32_t line;
};

#define LEX_BRACKETS_MAX 256u

struct lexer {
    struct jinja_state *state;
    struct text_slice source;
    size_t at;
    uint32_t line;
    bool in_tag, in_block; /* inside {{ or {%; the latter */
    bool at_line_start;    /* the last token ended with a newline */
    bool is_end_due;       /* the text before the tag was given; the tag itself comes next */
    char brackets[LEX_BRACKETS_MAX]; /* closing ones that are due */
    uint32_t bracket_count;
};

void lexer_init(struct lexer *l, struct jinja_state *s, struct text_slice source);
/* The next token; LEX_END at the end or after a failure. */
struct token lexer_next(struct lexer *l);

#endif
