#ifndef PENSTOCK_GRAMMAR_REGEX_H
#define PENSTOCK_GRAMMAR_REGEX_H

#include "automaton.h"

/* Regular expressions in the words that ECMA-262 and Python share: . | () (?:) (?<name>) [] * + ? {m,n}, their lazy forms, ^
 * and $, \d \w \s and their opposites (ASCII), \xHH \uHHHH \u{H} \n and their kin. What is not regular, and look-around and word
 * borders, is refused. `where` leads the note. */

/* Matches the whole text. NULL: failed. */
const struct expr *regex_whole(struct compile *c, struct text_slice pattern, const char *where);

/* Matches somewhere in the text, as JSON Schema's patterns do. NULL: failed. */
const struct automaton *regex_search(struct compile *c, struct text_slice pattern,
                                     const char *where);

/* One character of a pattern's class or a literal after its backslash: shared with EBNF. False: no such form. */
bool regex_read_hex(struct text_slice text, size_t *at, unsigned digits, uint32_t *out);

#endif
