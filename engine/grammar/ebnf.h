#ifndef PENSTOCK_GRAMMAR_EBNF_H
#define PENSTOCK_GRAMMAR_EBNF_H

#include "expr.h"

/* GBNF, the notation of llama.cpp:
 *
 *     root  ::= "[" (item ("," item)*)? "]"      # a comment
 *     item  ::= [a-z]+ | "\"" [^"\x00-\x1F]{1,8} "\"" | %json{"type": "integer"} | %regex{\d{3}}
 *
 * A rule ends where the next begins. Rules may come back to themselves, also from the left. The text is that of `root`.
 * Returns its body; NULL: failed. */
const struct expr *ebnf_expr(struct compile *c, struct text_slice text);

#endif
