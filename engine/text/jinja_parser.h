#ifndef PENSTOCK_JINJA_PARSER_H
#define PENSTOCK_JINJA_PARSER_H

#include "jinja_ast.h"
#include "jinja_lexer.h"

/* The recursive descent over the grammar of jinja2 3.1, parser.py; depth is bounded by
 * JINJA_DEPTH_MAX. A parse error leaves a failed state, and everything then returns quickly:
 * lexer_next gives LEX_END, loops look at `failed`. What a function returns after a failure is a
 * node nobody looks at. */
struct parser {
    struct jinja_state *state;
    struct lexer lexer;
    struct token token; /* the next one */
    uint32_t loop_depth;
    uint32_t
        soft_depth; /* inside a branch: unknown filters and tests are errors only when they run */
    uint8_t macro_uses; /* of the macro being parsed */
    struct node *lost;  /* stands in for nodes once the state has failed; nobody looks at it */
};

/* Tokens. `skip` takes the token when it is the one named, `expect` fails when it is not. */
void token_next(struct parser *p);
bool token_is_name(const struct parser *p, const char *name);
bool token_is_operator(const struct parser *p, const char *text);
/* Fails: the next token fits nowhere. */
void token_unexpected(struct parser *p);
bool token_skip_name(struct parser *p, const char *name);
bool token_skip_operator(struct parser *p, const char *text);
void token_expect_operator(struct parser *p, const char *text);
void token_expect(struct parser *p, enum token_kind kind);
/* Any name. */
struct text_slice token_expect_name(struct parser *p);

/* Nodes, in the template's arena. */
struct node *node_create(struct parser *p, enum node_kind kind);
struct node *node_constant(struct parser *p, struct value v);
struct node *node_with(struct parser *p, enum node_kind kind, struct node *a, struct node *b);
/* Appends to node->items; `tail` is the caller's, NULL at first. */
void node_add_item(struct parser *p, struct node *node, struct node **tail, struct node *item);
/* `node` is at least one deeper than `child` (NULL: nothing); too deep is a failure. */
void node_deepen(struct parser *p, struct node *node, const struct node *child);

/* jinja_parse_operand.c: a name (or constant word), an operand with its signs, calls, indices and,
 * where `with_filters`, filters and tests, and the filter after '|' applied to `of` (NULL: to a
 * block's text). */
struct node *jinja_parse_name(struct parser *p);
struct node *jinja_parse_unary(struct parser *p, bool with_filters);
struct node *jinja_parse_filter(struct parser *p, struct node *of);

/* jinja_parse_expression.c: an expression, and one or several with commas between: a tuple.
 * `with_condition`: "a if b" may stand in it; it ends before `stop_name` (NULL: none). */
struct node *jinja_parse_expression(struct parser *p);
struct node *jinja_parse_tuple(struct parser *p, bool with_condition, const char *stop_name);

#endif
