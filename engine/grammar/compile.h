#ifndef PENSTOCK_GRAMMAR_COMPILE_H
#define PENSTOCK_GRAMMAR_COMPILE_H

#include "grammar.h"

/* What all parts of one compilation share: memory, budget, and the first thing that went wrong. A function that fails
 * notes it here and returns NULL or false; its callers only pass that on. */

struct expr;

struct rule {
    struct text_slice name;  /* of EBNF; empty else */
    const struct expr *body; /* NULL until it is known */
    bool is_nullable;
    bool is_called;     /* by way of a call, so it has an automaton of its own */
    bool is_recursive;  /* can come back to itself */
    uint32_t use_count; /* places that name it */
};

struct compile {
    arena *memory; /* owned by grammar_compile */
    const struct grammar_limits *limits;
    uint64_t deadline_ns;    /* 0: none */
    uint32_t work;           /* since the clock was read */
    struct error_note *note; /* may be NULL */
    status failed;           /* the first failure */
    struct rule *rules;      /* [rule_count] */
    uint32_t rule_count, rule_capacity;
    const struct expr *gap;        /* after a colon */
    const struct expr *whitespace; /* between the signs of JSON */
    /* The first keyword that was kept by leaving out texts it would allow; NULL: none. Told when no text is left. */
    const char *left_out, *left_out_path;
};

/* Notes a failure unless there is one. Always false. */
bool compile_fail(struct compile *c, status s, const char *format, ...) PRINTF_LIKE(3, 4);

/* Zeroed memory for the time of the compilation; NULL: failed. */
void *compile_allocate(struct compile *c, size_t count, size_t item_bytes);

/* Makes room for one item more in an array of `*capacity` items of which `count` are used; NULL: failed. */
void *compile_grow(struct compile *c, void *items, size_t count, uint32_t *capacity,
                   size_t item_bytes);

/* Counts work, and reads the clock now and then; false: the time is over, or something failed before. */
bool compile_go_on(struct compile *c, uint32_t work);

/* A new rule without a body; UINT32_MAX: failed. */
uint32_t compile_add_rule(struct compile *c, struct text_slice name);

#endif
