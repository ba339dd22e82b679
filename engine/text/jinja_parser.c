/* What the parts of the parser share: taking tokens and making nodes. */
#include "jinja_parser.h"

void token_next(struct parser *p)
{
    p->token = lexer_next(&p->lexer);
}

bool token_is_name(const struct parser *p, const char *name)
{
    return p->token.kind == LEX_NAME && text_slice_is(p->token.text, name);
}

bool token_is_operator(const struct parser *p, const char *text)
{
    return p->token.kind == LEX_OPERATOR && text_slice_is(p->token.text, text);
}

void token_unexpected(struct parser *p)
{
    p->state->line = p->token.line;
    if (p->token.kind == LEX_NAME || p->token.kind == LEX_OPERATOR)
        jinja_fail(p->state, "unexpected '%.*s'",
                   (int)(p->token.text.bytes < 40 ? p->token.text.bytes : 40), p->token.text.data);
    else
        jinja_fail(p->state, "unexpected end of an expression or tag");
}

bool token_skip_name(struct parser *p, const char *name)
{
    if (!token_is_name(p, name))
        return false;
    token_next(p);
    return true;
}

bool token_skip_operator(struct parser *p, const char *text)
{
    if (!token_is_operator(p, text))
        return false;
    token_next(p);
    return true;
}

void token_expect_operator(struct parser *p, const char *text)
{
    if (!token_skip_operator(p, text))
        token_unexpected(p);
}

void token_expect(struct parser *p, enum token_kind kind)
{
    if (p->token.kind == kind)
        token_next(p);
    else
        token_unexpected(p);
}

struct text_slice token_expect_name(struct parser *p)
{
    struct text_slice name = p->token.text;
    if (p->token.kind != LEX_NAME) {
        token_unexpected(p);
        return (struct text_slice){"", 0};
    }
    token_next(p);
    return name;
}

struct node *node_create(struct parser *p, enum node_kind kind)
{
    struct node *node = jinja_allocate(p->state, 1, sizeof(*node));
    if (node == NULL)
        return p->lost;
    node->kind = kind;
    node->line = p->token.line;
    return node;
}

struct node *node_constant(struct parser *p, struct value v)
{
    struct node *node = node_create(p, NODE_CONSTANT);
    if (p->state->failed == STATUS_OK)
        node->constant = v;
    return node;
}

void node_deepen(struct parser *p, struct node *node, const struct node *child)
{
    if (p->state->failed != STATUS_OK || child == NULL || child->depth < node->depth)
        return;
    node->depth = (uint16_t)(child->depth + 1);
    if (node->depth > JINJA_DEPTH_MAX / 2)
        jinja_fail_status(p->state, STATUS_TOO_LARGE, "an expression is nested too deeply");
}

struct node *node_with(struct parser *p, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *node = node_create(p, kind);
    if (p->state->failed != STATUS_OK)
        return node;
    node->a = a;
    node->b = b;
    node_deepen(p, node, a);
    node_deepen(p, node, b);
    return node;
}

void node_add_item(struct parser *p, struct node *node, struct node **tail, struct node *item)
{
    if (p->state->failed != STATUS_OK)
        return;
    if (*tail == NULL)
        node->items = item;
    else
        (*tail)->next = item;
    *tail = item;
    node->item_count++;
    node_deepen(p, node, item);
}
