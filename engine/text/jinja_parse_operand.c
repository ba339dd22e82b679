/* Operands: constants, names, lists, dicts; calls, indices and attributes after them; filters and
 * tests. */
#include "jinja_functions.h"
#include "jinja_parser.h"

/* Arguments after '(' up to ')'. */
static void parse_arguments(struct parser *p, struct node *call, struct node *tail)
{
    bool has_keyword = false;
    token_expect_operator(p, "(");
    while (p->state->failed == STATUS_OK && !token_is_operator(p, ")")) {
        struct node *argument = node_create(p, NODE_ARGUMENT);
        if (token_skip_operator(p, "*")) {
            argument->operation = ARGUMENT_LIST;
            argument->a = jinja_parse_expression(p);
        } else if (token_skip_operator(p, "**")) {
            argument->operation = ARGUMENT_DICT;
            argument->a = jinja_parse_expression(p);
        } else {
            struct node *a = jinja_parse_expression(p);
            if (a->kind == NODE_NAME && token_skip_operator(p, "=")) {
                argument->operation = ARGUMENT_KEYWORD;
                argument->name = a->name;
                a = jinja_parse_expression(p);
                has_keyword = true;
            } else if (has_keyword) {
                jinja_fail(p->state, "a positional argument follows a keyword argument");
            }
            if (p->state->failed == STATUS_OK)
                argument->a = a;
        }
        node_deepen(p, argument, argument->a);
        node_add_item(p, call, &tail, argument);
        if (!token_is_operator(p, ")"))
            token_expect_operator(p, ",");
    }
    token_expect_operator(p, ")");
}

struct node *jinja_parse_name(struct parser *p)
{
    static const struct {
        const char *name;
        struct value value;
    } words[] = {
        {"true", {.kind = VALUE_BOOL, .boolean = true}},
        {"True", {.kind = VALUE_BOOL, .boolean = true}},
        {"false", {.kind = VALUE_BOOL, .boolean = false}},
        {"False", {.kind = VALUE_BOOL, .boolean = false}},
        {"none", {.kind = VALUE_NONE}},
        {"None", {.kind = VALUE_NONE}},
    };
    struct text_slice name = token_expect_name(p);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (text_slice_is(name, words[i].name))
            return node_constant(p, words[i].value);
    }
    if (text_slice_is(name, "caller"))
        p->macro_uses |= MACRO_USES_CALLER;
    if (text_slice_is(name, "varargs"))
        p->macro_uses |= MACRO_USES_VARARGS;
    if (text_slice_is(name, "kwargs"))
        p->macro_uses |= MACRO_USES_KWARGS;
    struct node *node = node_create(p, NODE_NAME);
    if (p->state->failed == STATUS_OK)
        node->name = name;
    return node;
}

static struct node *parse_list(struct parser *p)
{
    struct node *node = node_create(p, NODE_LIST), *tail = NULL;
    token_expect_operator(p, "[");
    while (p->state->failed == STATUS_OK && !token_is_operator(p, "]")) {
        node_add_item(p, node, &tail, jinja_parse_expression(p));
        if (!token_is_operator(p, "]"))
            token_expect_operator(p, ",");
    }
    token_expect_operator(p, "]");
    return node;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *node = node_create(p, NODE_DICT), *tail = NULL;
    token_expect_operator(p, "{");
    while (p->state->failed == STATUS_OK && !token_is_operator(p, "}")) {
        struct node *key = jinja_parse_expression(p);
        token_expect_operator(p, ":");
        node_add_item(p, node, &tail, node_with(p, NODE_PAIR, key, jinja_parse_expression(p)));
        if (!token_is_operator(p, "}"))
            token_expect_operator(p, ",");
    }
    token_expect_operator(p, "}");
    return node;
}

/* Neighbouring strings are one. */
static struct node *parse_string(struct parser *p)
{
    struct value v = p->token.value;
    token_next(p);
    while (p->state->failed == STATUS_OK && p->token.kind == LEX_STRING) {
        v = text_concat(p->state, v.text, p->token.value.text);
        token_next(p);
    }
    return node_constant(p, v);
}

static struct node *parse_primary(struct parser *p)
{
    struct node *node;
    switch (p->token.kind) {
    case LEX_NAME:
        return jinja_parse_name(p);
    case LEX_STRING:
        return parse_string(p);
    case LEX_INTEGER:
    case LEX_FLOAT:
        node = node_constant(p, p->token.value);
        token_next(p);
        return node;
    default:
        break;
    }
    if (token_is_operator(p, "["))
        return parse_list(p);
    if (token_is_operator(p, "{"))
        return parse_dict(p);
    if (token_skip_operator(p, "(")) {
        node = token_is_operator(p, ")") ? node_create(p, NODE_TUPLE)
                                         : jinja_parse_tuple(p, true, NULL);
        token_expect_operator(p, ")");
        return node;
    }
    token_unexpected(p);
    return node_constant(p, value_none());
}

/* One index of [..]: an expression or a slice. */
static struct node *parse_index(struct parser *p)
{
    struct node *parts[3] = {NULL, NULL, NULL};
    bool is_slice = false;
    int part = 0;
    while (p->state->failed == STATUS_OK && !token_is_operator(p, "]") &&
           !token_is_operator(p, ",")) {
        if (token_skip_operator(p, ":")) {
            is_slice = true;
            if (++part > 2)
                token_unexpected(p);
            continue;
        }
        if (part > 2 || parts[part] != NULL) {
            token_unexpected(p);
            break;
        }
        parts[part] = jinja_parse_expression(p);
    }
    if (!is_slice && parts[0] == NULL)
        token_unexpected(p);
    if (!is_slice)
        return parts[0] != NULL ? parts[0] : node_constant(p, value_none());
    struct node *slice = node_create(p, NODE_SLICE), *tail = NULL;
    for (int i = 0; i < 3; i++)
        node_add_item(p, slice, &tail,
                      parts[i] != NULL ? parts[i] : node_constant(p, value_none()));
    return slice;
}

static struct node *parse_subscript(struct parser *p, struct node *of)
{
    token_expect_operator(p, "[");
    struct node *index = parse_index(p);
    if (token_is_operator(p, ",")) {
        struct node *tuple = node_create(p, NODE_TUPLE), *tail = NULL;
        bool has_slice = index->kind == NODE_SLICE;
        node_add_item(p, tuple, &tail, index);
        while (token_skip_operator(p, ",")) {
            index = parse_index(p);
            has_slice |= index->kind == NODE_SLICE;
            node_add_item(p, tuple, &tail, index);
        }
        if (has_slice)
            jinja_fail(p->state, "a slice cannot be one of several indices");
        index = tuple;
    }
    token_expect_operator(p, "]");
    if (index->kind != NODE_SLICE || p->state->failed != STATUS_OK)
        return node_with(p, NODE_ITEM, of, index);
    index->a = of;
    node_deepen(p, index, of);
    return index;
}

static struct node *parse_call(struct parser *p, struct node *of)
{
    struct node *call = node_with(p, NODE_CALL, of, NULL);
    parse_arguments(p, call, NULL);
    return call;
}

static struct node *parse_postfix(struct parser *p, struct node *node)
{
    while (p->state->failed == STATUS_OK) {
        if (token_skip_operator(p, ".")) {
            if (p->token.kind == LEX_INTEGER) {
                node = node_with(p, NODE_ITEM, node, node_constant(p, p->token.value));
                token_next(p);
                continue;
            }
            struct node *attribute = node_with(p, NODE_ATTRIBUTE, node, NULL);
            attribute->name = token_expect_name(p);
            node = attribute;
        } else if (token_is_operator(p, "[")) {
            node = parse_subscript(p, node);
        } else if (token_is_operator(p, "(")) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* Filters and tests may have dotted names; none of ours does. */
static struct text_slice parse_dotted_name(struct parser *p)
{
    struct text_slice name = token_expect_name(p);
    while (token_skip_operator(p, ".")) {
        struct text_slice part = token_expect_name(p);
        name.bytes = (size_t)(part.data + part.bytes - name.data);
    }
    return name;
}

static void check_known(struct parser *p, const void *entry, const char *what,
                        struct text_slice name)
{
    if (entry == NULL && p->soft_depth == 0)
        jinja_fail(p->state, "no %s named '%.*s'", what, (int)(name.bytes < 60 ? name.bytes : 60),
                   name.data);
}

struct node *jinja_parse_filter(struct parser *p, struct node *of)
{
    struct node *node = node_with(p, NODE_FILTER, of, NULL);
    node->name = parse_dotted_name(p);
    node->filter = filter_find(node->name);
    check_known(p, node->filter, "filter", node->name);
    if (token_is_operator(p, "("))
        parse_arguments(p, node, NULL);
    return node;
}

static bool begins_test_argument(const struct parser *p)
{
    if (p->token.kind == LEX_NAME)
        return !token_is_name(p, "else") && !token_is_name(p, "or") && !token_is_name(p, "and");
    return p->token.kind == LEX_STRING || p->token.kind == LEX_INTEGER ||
           p->token.kind == LEX_FLOAT || token_is_operator(p, "[") || token_is_operator(p, "{");
}

static struct node *parse_test(struct parser *p, struct node *of)
{
    struct node *node = node_with(p, NODE_TEST, of, NULL);
    node->operation = token_skip_name(p, "not");
    node->name = parse_dotted_name(p);
    node->test = test_find(node->name);
    check_known(p, node->test, "test", node->name);
    if (token_is_operator(p, "(")) {
        parse_arguments(p, node, NULL);
    } else if (begins_test_argument(p)) {
        if (token_is_name(p, "is"))
            jinja_fail(p->state, "tests cannot be chained with is");
        struct node *argument =
            node_with(p, NODE_ARGUMENT, parse_postfix(p, parse_primary(p)), NULL);
        struct node *tail = NULL;
        node_add_item(p, node, &tail, argument);
    }
    return node;
}

static struct node *parse_filters(struct parser *p, struct node *node)
{
    while (p->state->failed == STATUS_OK) {
        if (token_skip_operator(p, "|"))
            node = jinja_parse_filter(p, node);
        else if (token_skip_name(p, "is"))
            node = parse_test(p, node);
        else if (token_is_operator(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

struct node *jinja_parse_unary(struct parser *p, bool with_filters)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return node_constant(p, value_none());
    }
    struct node *node;
    if (token_skip_operator(p, "-"))
        node = node_with(p, NODE_NEGATE, jinja_parse_unary(p, false), NULL);
    else if (token_skip_operator(p, "+"))
        node = node_with(p, NODE_PLUS, jinja_parse_unary(p, false), NULL);
    else
        node = parse_primary(p);
    node = parse_postfix(p, node);
    if (with_filters)
        node = parse_filters(p, node);
    jinja_leave(p->state);
    return node;
}
