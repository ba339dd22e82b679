#ifndef PENSTOCK_GRAMMAR_AUTOMATON_H
#define PENSTOCK_GRAMMAR_AUTOMATON_H

#include "expr.h"

/* A finite automaton over bytes whose edges may also be calls of rules. State 0 is its start; no edge leads back to it in an
 * automaton made from an expression. In the compilation's memory, not changed once made. */

struct edge { /* a byte of low..high leads to target */
    uint8_t low, high;
    uint32_t target;
};

struct call { /* a text of the rule leads to `back` */
    uint32_t rule, back;
};

struct automaton {
    uint32_t state_count;
    uint32_t *edge_first; /* [state_count + 1] */
    struct edge *edges;   /* of a state: by low */
    uint32_t *call_first; /* [state_count + 1] */
    struct call *calls;
    bool *is_final; /* [state_count] */
};

bool automaton_is_nullable(const struct automaton *a);

/* NULL: failed. Rules that are not called stand in it with their bodies. Deterministic where that takes not many more
 * states than it has (subset construction, Rabin and Scott 1959), else as it came. */
const struct automaton *automaton_from_expr(struct compile *c, const struct expr *e);

/* For automata without calls. */
const struct automaton *automaton_intersect(struct compile *c, const struct automaton *a,
                                            const struct automaton *b);
/* All texts of whole bytes that `a` does not have. */
const struct automaton *automaton_complement(struct compile *c, const struct automaton *a);
/* With the bytes `low`..255, which no text has, as empty texts. */
const struct automaton *automaton_drop_marks(struct compile *c, const struct automaton *a,
                                             uint8_t low);
bool automaton_accepts(struct compile *c, const struct automaton *a, struct text_slice text);
/* The same language with the fewest detours: states that lead to no end are gone. */
const struct automaton *automaton_trim(struct compile *c, const struct automaton *a);

/* Deterministic, with at most `states_max` states; NULL: it takes more, or failed. */
const struct automaton *automaton_determinize(struct compile *c, const struct automaton *a,
                                              uint32_t states_max);

/* An automaton in the making: states in the order of their numbers, each with its edges and calls. */
struct automaton_builder {
    struct compile *c;
    uint32_t state_count, state_capacity, first_capacity;
    uint32_t edge_count, edge_capacity;
    uint32_t call_count, call_capacity;
    uint32_t *edge_first, *call_first;
    struct edge *edges;
    struct call *calls;
    bool *is_final;
};
/* Starts the next state; edges and calls that follow are its. False: failed. */
bool builder_start_state(struct automaton_builder *b, bool is_final);
bool builder_add_edge(struct automaton_builder *b, uint8_t low, uint8_t high, uint32_t target);
bool builder_add_call(struct automaton_builder *b, uint32_t rule, uint32_t back);
/* NULL: failed. */
const struct automaton *builder_finish(struct automaton_builder *b);

#endif
