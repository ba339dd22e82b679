#ifndef PENSTOCK_ENGINE_TEXT_PYTHON_LITERAL_H
#define PENSTOCK_ENGINE_TEXT_PYTHON_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One literal of Python turned to JSON, a character at a time: numbers, strings of every kind, True, False, None, lists,
 * tuples and dicts, as ast.literal_eval reads and json.dumps writes them. A word that is none of these (an enum's member, a
 * name without quotes) becomes a string, and so does a key that is no string; a value in parentheses is a list of one, since
 * the comma that would tell comes too late. What comes out is JSON whenever the literal ends.
 * Grammar: The Python Language Reference, 2.4 (literals) and 6.2 (displays). Thread: the owner's. */

#define PYTHON_DEPTH_MAX 64u
#define PYTHON_WORD_MAX  128u /* bytes of a number or of a word without quotes */

enum python_step {
    PYTHON_MORE,
    PYTHON_ENDED, /* before this character, which does not belong to it */
    PYTHON_FAILED
};

struct python_literal {
    void (*put)(void *context, const char *json, size_t bytes);
    void *context;
    unsigned state;
    char brackets[PYTHON_DEPTH_MAX]; /* the closing ones that are still to come */
    unsigned depth;
    bool is_key;      /* of a dict: the value is its key */
    bool can_close;   /* the bracket may close instead of a value */
    bool needs_comma; /* before the next value */
    char word[PYTHON_WORD_MAX];
    size_t word_bytes;
    /* of a string */
    char quote;
    bool is_triple, is_raw, is_escaped;
    unsigned quotes; /* in a row: opening ones, or those that may close a triple one */
    unsigned digits_left, digit_base;
    uint32_t code;
};

/* Begins a value; put and context stay. */
void python_literal_start(struct python_literal *l);
enum python_step python_literal_step(struct python_literal *l, char c);
/* The text is over; true: the value was whole. */
bool python_literal_finish(struct python_literal *l);

#endif
