/* Statements and the bodies between their tags. */
#include "jinja_parser.h"

static struct node *parse_body(struct parser *p, const char *const *ends, struct text_slice *end);

static struct node *parse_single_target(struct parser *p)
{
    if (token_skip_operator(p, "(")) {
        struct node *inner = parse_single_target(p), *node = inner, *tail = NULL;
        if (token_is_operator(p, ",")) {
            node = node_create(p, NODE_TUPLE);
            node_add_item(p, node, &tail, inner);
            while (token_skip_operator(p, ",") && !token_is_operator(p, ")"))
                node_add_item(p, node, &tail, parse_single_target(p));
        }
        token_expect_operator(p, ")");
        return node;
    }
    struct node *node = jinja_parse_name(p);
    if (node->kind != NODE_NAME)
        jinja_fail(p->state, "cannot assign to a constant");
    return node;
}

/* name, name.field or name, name, ... */
static struct node *parse_target(struct parser *p, bool with_field)
{
    struct node *first = parse_single_target(p);
    if (with_field && first->kind == NODE_NAME && token_skip_operator(p, ".")) {
        struct node *field = node_with(p, NODE_TARGET_FIELD, first, NULL);
        field->name = token_expect_name(p);
        return field;
    }
    if (!token_is_operator(p, ","))
        return first;
    struct node *node = node_create(p, NODE_TUPLE), *tail = NULL;
    node_add_item(p, node, &tail, first);
    while (token_skip_operator(p, ",")) {
        if ((p->token.kind != LEX_NAME && !token_is_operator(p, "(")) || token_is_name(p, "in"))
            break;
        node_add_item(p, node, &tail, parse_single_target(p));
    }
    return node;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct node *node = node_with(p, NODE_IF, jinja_parse_tuple(p, false, NULL), NULL);
    struct text_slice end = {"", 0};
    p->soft_depth++;
    struct node *first = node;
    for (;;) {
        node->body = parse_body(p, ends, &end);
        if (!text_slice_is(end, "elif") || p->state->failed != STATUS_OK)
            break;
        struct node *other = node_with(p, NODE_IF, jinja_parse_tuple(p, false, NULL), NULL);
        node->other = other;
        node = other;
    }
    if (text_slice_is(end, "else"))
        node->other = parse_body(p, last, &end);
    p->soft_depth--;
    token_expect(p, LEX_BLOCK_END);
    return first;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last[] = {"endfor", NULL};
    struct node *target = parse_target(p, false);
    if (!token_skip_name(p, "in"))
        token_unexpected(p);
    struct node *node = node_with(p, NODE_FOR, target, jinja_parse_tuple(p, false, "recursive"));
    if (token_skip_name(p, "if"))
        node->c = jinja_parse_expression(p);
    if (token_is_name(p, "recursive"))
        jinja_fail(p->state, "recursive loops are not supported");
    struct text_slice end = {"", 0};
    p->loop_depth++;
    node->body = parse_body(p, ends, &end);
    p->loop_depth--;
    if (text_slice_is(end, "else"))
        node->other = parse_body(p, last, &end);
    token_expect(p, LEX_BLOCK_END);
    return node;
}

/* A body that only one tag can end, and that tag. */
static void parse_whole_body(struct parser *p, struct node *node, const char *const *ends)
{
    struct text_slice end = {"", 0};
    struct node *body = parse_body(p, ends, &end);
    token_expect(p, LEX_BLOCK_END);
    if (p->state->failed == STATUS_OK)
        node->body = body;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *target = parse_target(p, true);
    if (token_skip_operator(p, "=")) {
        struct node *node = node_with(p, NODE_SET, target, jinja_parse_tuple(p, true, NULL));
        token_expect(p, LEX_BLOCK_END);
        return node;
    }
    struct node *node = node_with(p, NODE_SET_BLOCK, target, NULL);
    struct node *filters = NULL;
    while (token_skip_operator(p, "|"))
        filters = jinja_parse_filter(p, filters);
    parse_whole_body(p, node, ends);
    if (p->state->failed == STATUS_OK)
        node->b = filters;
    return node;
}

/* "(a, b=1)" into macro->items. */
static void parse_parameters(struct parser *p, struct node *macro)
{
    struct node *tail = NULL;
    token_expect_operator(p, "(");
    while (p->state->failed == STATUS_OK && !token_is_operator(p, ")")) {
        struct node *parameter = node_create(p, NODE_PARAMETER);
        struct text_slice name = token_expect_name(p);
        bool has_default = token_skip_operator(p, "=");
        if (!has_default && tail != NULL && tail->a != NULL)
            jinja_fail(p->state, "a parameter without default follows one with");
        struct node *value = has_default ? jinja_parse_expression(p) : NULL;
        if (p->state->failed == STATUS_OK) {
            parameter->name = name;
            parameter->a = value;
        }
        node_add_item(p, macro, &tail, parameter);
        if (!token_is_operator(p, ")"))
            token_expect_operator(p, ",");
    }
    token_expect_operator(p, ")");
}

static void parse_macro_body(struct parser *p, struct node *macro, const char *end_name)
{
    const char *const ends[] = {end_name, NULL};
    uint8_t outer = p->macro_uses;
    uint32_t loops = p->loop_depth;
    struct text_slice end = {"", 0};
    p->macro_uses = 0;
    p->loop_depth = 0;
    struct node *body = parse_body(p, ends, &end);
    token_expect(p, LEX_BLOCK_END);
    if (p->state->failed == STATUS_OK) {
        macro->body = body;
        macro->operation = p->macro_uses;
    }
    p->macro_uses = outer;
    p->loop_depth = loops;
}

static struct node *parse_macro(struct parser *p)
{
    struct node *node = node_create(p, NODE_MACRO);
    struct text_slice name = token_expect_name(p);
    if (p->state->failed == STATUS_OK)
        node->name = name;
    parse_parameters(p, node);
    parse_macro_body(p, node, "endmacro");
    return node;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *caller = node_create(p, NODE_MACRO);
    if (p->state->failed == STATUS_OK)
        caller->name = text_slice_of("caller");
    if (token_is_operator(p, "("))
        parse_parameters(p, caller);
    struct node *call = jinja_parse_expression(p);
    if (call->kind != NODE_CALL)
        jinja_fail(p->state, "expected a call");
    parse_macro_body(p, caller, "endcall");
    return node_with(p, NODE_CALL_BLOCK, call, caller);
}

static struct node *parse_filter_block(struct parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct node *filters = jinja_parse_filter(p, NULL);
    while (token_skip_operator(p, "|"))
        filters = jinja_parse_filter(p, filters);
    struct node *node = node_with(p, NODE_FILTER_BLOCK, filters, NULL);
    parse_whole_body(p, node, ends);
    return node;
}

static struct node *parse_with(struct parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct node *node = node_create(p, NODE_WITH), *tail = NULL;
    while (p->state->failed == STATUS_OK && p->token.kind != LEX_BLOCK_END) {
        if (tail != NULL)
            token_expect_operator(p, ",");
        struct node *target = parse_target(p, false);
        token_expect_operator(p, "=");
        node_add_item(p, node, &tail, node_with(p, NODE_SET, target, jinja_parse_expression(p)));
    }
    parse_whole_body(p, node, ends);
    return node;
}

static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *node = node_create(p, NODE_SCOPE);
    parse_whole_body(p, node, ends);
    return node;
}

static struct node *parse_jump(struct parser *p, enum node_kind kind)
{
    if (p->loop_depth == 0)
        jinja_fail(p->state, "break or continue outside a loop");
    struct node *node = node_create(p, kind);
    token_expect(p, LEX_BLOCK_END);
    return node;
}

/* The statement whose name is the next token. */
static struct node *parse_statement(struct parser *p)
{
    static const struct {
        const char *name;
        struct node *(*parse)(struct parser *p);
    } rows[] = {{"if", parse_if},           {"for", parse_for},
                {"set", parse_set},         {"macro", parse_macro},
                {"call", parse_call_block}, {"filter", parse_filter_block},
                {"with", parse_with},       {"generation", parse_generation}};
    if (token_skip_name(p, "break"))
        return parse_jump(p, NODE_BREAK);
    if (token_skip_name(p, "continue"))
        return parse_jump(p, NODE_CONTINUE);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (token_skip_name(p, rows[i].name))
            return rows[i].parse(p);
    }
    token_unexpected(p);
    return node_constant(p, value_none());
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++) {
        if (token_is_name(p, ends[i]))
            return true;
    }
    return false;
}

/* Statements up to one of `ends`, whose name is taken (its tag's end is not); with NULL up to the
 * end of the source. A construct's body begins after the end of its opening tag. */
static struct node *parse_body(struct parser *p, const char *const *ends, struct text_slice *end)
{
    struct node root = {0};
    struct node *tail = NULL;
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return NULL;
    }
    if (ends != NULL)
        token_expect(p, LEX_BLOCK_END);
    while (p->state->failed == STATUS_OK) {
        struct node *node = NULL;
        if (p->token.kind == LEX_TEXT) {
            node = node_create(p, NODE_TEXT);
            node->constant = value_string(p->state, p->token.text, true);
            token_next(p);
        } else if (p->token.kind == LEX_PRINT_BEGIN) {
            token_next(p);
            node = node_with(p, NODE_PRINT, jinja_parse_tuple(p, true, NULL), NULL);
            token_expect(p, LEX_PRINT_END);
        } else if (p->token.kind == LEX_BLOCK_BEGIN) {
            token_next(p);
            if (is_end(p, ends)) {
                *end = p->token.text;
                token_next(p);
                break;
            }
            node = parse_statement(p);
        } else {
            if (ends != NULL)
                jinja_fail(p->state, "a block is not closed (%s is missing)", ends[0]);
            break;
        }
        root.depth = 0; /* statements are bounded by jinja_enter */
        node_add_item(p, &root, &tail, node);
    }
    jinja_leave(p->state);
    return root.items;
}

struct node *jinja_parse(struct jinja_state *s, struct text_slice source)
{
    struct parser parser = {.state = s, .lost = jinja_allocate(s, 1, sizeof(*parser.lost))};
    if (parser.lost == NULL)
        return NULL;
    lexer_init(&parser.lexer, s, source);
    token_next(&parser);
    struct text_slice end = {"", 0};
    struct node *body = parse_body(&parser, NULL, &end);
    struct node *root = jinja_allocate(s, 1, sizeof(*root));
    if (root == NULL)
        return NULL;
    *root = (struct node){.kind = NODE_SCOPE, .body = body, .line = 1};
    return root;
}
