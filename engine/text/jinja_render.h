#ifndef PENSTOCK_JINJA_RENDER_H
#define PENSTOCK_JINJA_RENDER_H

#include "jinja_ast.h"
#include "jinja_functions.h"

/* One rendering: names, output, and where control goes. Everything lives in the render's arena. */

struct binding {
    struct binding *next;
    struct text_slice name;
    struct value value;
};

/* A loop's body, a macro's body and their kin have scopes of their own; an assignment goes to the
 * innermost, a look-up outwards. `if` makes none. */
struct scope {
    struct scope *outer; /* NULL: the template's own */
    struct binding *bindings;
};

enum control { CONTROL_NONE, CONTROL_BREAK, CONTROL_CONTINUE };

struct render {
    struct jinja_state state; /* first: the state of a call is its render's */
    struct scope *scope;
    struct text_builder *sink; /* where output goes now: the prompt, or a macro's or block's text */
    enum control control;
    uint64_t wall_ms;
};

struct macro {
    const struct node *node; /* NODE_MACRO */
    struct scope *scope;     /* where it was defined */
};

struct loop {
    const struct list *items;
    uint32_t at;
    uint32_t depth; /* 1: outermost */
    struct value last_changed;
    bool has_changed;
};

/* Expressions (jinja_expression.c). */
struct value evaluate(struct render *r, const struct node *node);
/* Calls (jinja_call.c). `extra_caller`: the caller of a call block, or undefined. */
struct value evaluate_call(struct render *r, const struct node *node, struct value extra_caller);
struct value evaluate_filter(struct render *r, const struct node *node, struct value subject);
struct value evaluate_test(struct render *r, const struct node *node);
struct value loop_attribute(struct jinja_state *s, const struct loop *loop, struct text_slice name);

/* Statements (jinja_statement.c). */
void run_body(struct render *r, const struct node *body);
/* Runs `body` in a scope of its own inside `outer`, its output as a string. */
struct value run_captured(struct render *r, const struct node *body, struct scope *scope);
struct scope *scope_create(struct render *r, struct scope *outer);
void scope_set(struct render *r, struct scope *scope, struct text_slice name, struct value v);
const struct value *scope_find(struct render *r, struct text_slice name);

#endif
