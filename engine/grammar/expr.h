#ifndef PENSTOCK_GRAMMAR_EXPR_H
#define PENSTOCK_GRAMMAR_EXPR_H

#include "compile.h"

/* What regexes, EBNF and JSON Schema are all brought to: a tree that says which texts there are. Made once, then shared
 * freely; in the compilation's memory. Functions return NULL when the compilation has failed, and take NULL among their parts
 * as that failure. */

struct automaton;

enum expr_kind {
    EXPR_NONE,     /* no text at all */
    EXPR_TEXT,     /* exactly `text`, which may be empty */
    EXPR_SET,      /* one character of `ranges` */
    EXPR_SEQUENCE, /* `items` one after the other */
    EXPR_CHOICE,   /* one of `items` */
    EXPR_REPEAT,   /* items[0], min to max times, with items[1] between if there is one */
    EXPR_MEMBERS,  /* see expr_members */
    EXPR_DISTINCT, /* see expr_distinct */
    EXPR_RULE,     /* what the rule says */
    EXPR_AUTOMATON
};

#define EXPR_UNBOUNDED UINT32_MAX

struct char_range { /* code points, inclusive */
    uint32_t low, high;
};

struct expr {
    enum expr_kind kind;
    uint32_t count; /* of items or ranges */
    uint32_t size;  /* states that it takes, about; rules counted as one */
    const struct expr **items;
    union {
        struct text_slice text;
        const struct char_range *ranges;
        struct {
            uint32_t min, max;
            bool is_ordered; /* EXPR_DISTINCT */
        };
        struct {
            const bool *is_required; /* [count - 2] */
        };
        uint32_t rule;
        const struct automaton *automaton;
    };
};

const struct expr *expr_none(struct compile *c);
/* The bytes are copied. */
const struct expr *expr_text(struct compile *c, struct text_slice text);
const struct expr *expr_word(struct compile *c, const char *text);
/* The ranges are copied, sorted and joined; none: EXPR_NONE. Surrogates are left out where it becomes bytes. */
const struct expr *expr_set(struct compile *c, const struct char_range *ranges, uint32_t count,
                            bool is_negated);
const struct expr *expr_range(struct compile *c, uint32_t low, uint32_t high);
const struct expr *expr_sequence(struct compile *c, const struct expr *const *items,
                                 uint32_t count);
/* Up to four parts; NULL ends the list. A part that has failed is told by c->failed. */
const struct expr *expr_join(struct compile *c, const struct expr *a, const struct expr *b,
                             const struct expr *d, const struct expr *e);
const struct expr *expr_choice(struct compile *c, const struct expr *const *items, uint32_t count);
const struct expr *expr_either(struct compile *c, const struct expr *a, const struct expr *b);
const struct expr *expr_optional(struct compile *c, const struct expr *item);
/* `separator` NULL: none. */
const struct expr *expr_repeat(struct compile *c, const struct expr *item,
                               const struct expr *separator, uint32_t min, uint32_t max);
const struct expr *expr_rule(struct compile *c, uint32_t rule);
const struct expr *expr_automaton(struct compile *c, const struct automaton *automaton);

/* One or more of `items` in their order, those that are required all, `separator` between; then any number of `tail`
 * (NULL: none). No item may be empty. n members take n automata, whichever of them are left out. */
struct expr_members {
    const struct expr *const *items; /* [count] */
    const bool *is_required;         /* [count] */
    uint32_t count;
    const struct expr *separator, *tail;
};
const struct expr *expr_members(struct compile *c, const struct expr_members *members);

/* min..max of the items, 1 <= min <= max, none twice, `separator` between: in their order, or in any order, which takes 2^count copies
 * of half of them: count <= EXPR_DISTINCT_MAX. No item may be empty. */
#define EXPR_DISTINCT_MAX 8u
struct expr_distinct {
    const struct expr *const *items; /* [count] */
    uint32_t count;
    const struct expr *separator;
    uint32_t min, max;
    bool is_ordered;
};
const struct expr *expr_distinct(struct compile *c, const struct expr_distinct *distinct);

/* May it be the empty text, as far as `c->rules` say now? */
bool expr_is_nullable(const struct compile *c, const struct expr *e);

/* A list of parts in the making. */
struct expr_list {
    const struct expr **items;
    uint32_t count, capacity;
};
bool expr_list_add(struct compile *c, struct expr_list *list, const struct expr *item);

#endif
