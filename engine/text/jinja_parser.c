/* Recursive descent over the grammar of jinja2 3.1, parser.py; depth is bounded by JINJA_DEPTH_MAX.
 * A parse error leaves a failed state, and everything then returns quickly: lexer_next gives
 * LEX_END, loops look at `failed`. */
#include <string.h>

#include "jinja_ast.h"
#include "jinja_functions.h"
#include "jinja_lexer.h"

struct parser {
    struct engine_state *state;
    struct lexer lexer;
    struct token token; /* the next one */
    uint32_t loop_depth;
    uint32_t
        soft_depth; /* inside a branch: unknown filters and tests are errors only when they run */
    uint8_t macro_uses; /* of the macro being parsed */
    struct node *lost;  /* stands in for nodes once the state has failed; nobody looks at it */
};

static struct node *parse_expression(struct parser *p);
static struct node *parse_unary(struct parser *p, bool with_filters);
static struct node *parse_tuple(struct parser *p, bool with_condition, const char *stop_name);
static struct node *parse_body(struct parser *p, const char *const *ends, struct text_slice *end);

static void next(struct parser *p)
{
    p->token = lexer_next(&p->lexer);
}

static bool is_name(const struct parser *p, const char *name)
{
    return p->token.kind == LEX_NAME && text_slice_is(p->token.text, name);
}

static bool is_operator(const struct parser *p, const char *text)
{
    return p->token.kind == LEX_OPERATOR && text_slice_is(p->token.text, text);
}

static void unexpected(struct parser *p)
{
    p->state->line = p->token.line;
    if (p->token.kind == LEX_NAME || p->token.kind == LEX_OPERATOR)
        jinja_fail(p->state, "unexpected '%.*s'",
                   (int)(p->token.text.bytes < 40 ? p->token.text.bytes : 40), p->token.text.data);
    else
        jinja_fail(p->state, "unexpected end of an expression or tag");
}

static bool skip_name(struct parser *p, const char *name)
{
    if (!is_name(p, name))
        return false;
    next(p);
    return true;
}

static bool skip_operator(struct parser *p, const char *text)
{
    if (!is_operator(p, text))
        return false;
    next(p);
    return true;
}

static void expect_operator(struct parser *p, const char *text)
{
    if (!skip_operator(p, text))
        unexpected(p);
}

static void expect(struct parser *p, enum token_kind kind)
{
    if (p->token.kind == kind)
        next(p);
    else
        unexpected(p);
}

static struct text_slice expect_name(struct parser *p)
{
    struct text_slice name = p->token.text;
    if (p->token.kind != LEX_NAME) {
        unexpected(p);
        return (struct text_slice){"", 0};
    }
    next(p);
    return name;
}

static struct node *node_create(struct parser *p, enum node_kind kind)
{
    struct node *node = jinja_allocate(p->state, 1, sizeof(*node));
    if (node == NULL)
        return p->lost;
    node->kind = kind;
    node->line = p->token.line;
    return node;
}

static struct node *constant(struct parser *p, struct value v)
{
    struct node *node = node_create(p, NODE_CONSTANT);
    if (p->state->failed == STATUS_OK)
        node->constant = v;
    return node;
}

static void set_depth(struct parser *p, struct node *node, const struct node *child)
{
    if (p->state->failed != STATUS_OK || child == NULL || child->depth < node->depth)
        return;
    node->depth = (uint16_t)(child->depth + 1);
    if (node->depth > JINJA_DEPTH_MAX / 2)
        jinja_fail_status(p->state, STATUS_TOO_LARGE, "an expression is nested too deeply");
}

static struct node *node_with(struct parser *p, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *node = node_create(p, kind);
    if (p->state->failed != STATUS_OK)
        return node;
    node->a = a;
    node->b = b;
    set_depth(p, node, a);
    set_depth(p, node, b);
    return node;
}

/* Appends to node->items; `tail` is the caller's, NULL at first. */
static void add_item(struct parser *p, struct node *node, struct node **tail, struct node *item)
{
    if (p->state->failed != STATUS_OK)
        return;
    if (*tail == NULL)
        node->items = item;
    else
        (*tail)->next = item;
    *tail = item;
    node->item_count++;
    set_depth(p, node, item);
}

/* Arguments after '(' up to ')'. */
static void parse_arguments(struct parser *p, struct node *call, struct node *tail)
{
    bool has_keyword = false;
    expect_operator(p, "(");
    while (p->state->failed == STATUS_OK && !is_operator(p, ")")) {
        struct node *argument = node_create(p, NODE_ARGUMENT);
        if (skip_operator(p, "*")) {
            argument->operation = ARGUMENT_LIST;
            argument->a = parse_expression(p);
        } else if (skip_operator(p, "**")) {
            argument->operation = ARGUMENT_DICT;
            argument->a = parse_expression(p);
        } else {
            struct node *a = parse_expression(p);
            if (a->kind == NODE_NAME && skip_operator(p, "=")) {
                argument->operation = ARGUMENT_KEYWORD;
                argument->name = a->name;
                a = parse_expression(p);
                has_keyword = true;
            } else if (has_keyword) {
                jinja_fail(p->state, "a positional argument follows a keyword argument");
            }
            if (p->state->failed == STATUS_OK)
                argument->a = a;
        }
        set_depth(p, argument, argument->a);
        add_item(p, call, &tail, argument);
        if (!is_operator(p, ")"))
            expect_operator(p, ",");
    }
    expect_operator(p, ")");
}

static struct node *parse_name(struct parser *p)
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
    struct text_slice name = expect_name(p);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (text_slice_is(name, words[i].name))
            return constant(p, words[i].value);
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
    expect_operator(p, "[");
    while (p->state->failed == STATUS_OK && !is_operator(p, "]")) {
        add_item(p, node, &tail, parse_expression(p));
        if (!is_operator(p, "]"))
            expect_operator(p, ",");
    }
    expect_operator(p, "]");
    return node;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *node = node_create(p, NODE_DICT), *tail = NULL;
    expect_operator(p, "{");
    while (p->state->failed == STATUS_OK && !is_operator(p, "}")) {
        struct node *key = parse_expression(p);
        expect_operator(p, ":");
        add_item(p, node, &tail, node_with(p, NODE_PAIR, key, parse_expression(p)));
        if (!is_operator(p, "}"))
            expect_operator(p, ",");
    }
    expect_operator(p, "}");
    return node;
}

/* Neighbouring strings are one. */
static struct node *parse_string(struct parser *p)
{
    struct value v = p->token.value;
    next(p);
    while (p->state->failed == STATUS_OK && p->token.kind == LEX_STRING) {
        v = text_concat(p->state, v.text, p->token.value.text);
        next(p);
    }
    return constant(p, v);
}

static struct node *parse_primary(struct parser *p)
{
    struct node *node;
    switch (p->token.kind) {
    case LEX_NAME:
        return parse_name(p);
    case LEX_STRING:
        return parse_string(p);
    case LEX_INTEGER:
    case LEX_FLOAT:
        node = constant(p, p->token.value);
        next(p);
        return node;
    default:
        break;
    }
    if (is_operator(p, "["))
        return parse_list(p);
    if (is_operator(p, "{"))
        return parse_dict(p);
    if (skip_operator(p, "(")) {
        node = is_operator(p, ")") ? node_create(p, NODE_TUPLE) : parse_tuple(p, true, NULL);
        expect_operator(p, ")");
        return node;
    }
    unexpected(p);
    return constant(p, value_none());
}

/* One index of [..]: an expression or a slice. */
static struct node *parse_index(struct parser *p)
{
    struct node *parts[3] = {NULL, NULL, NULL};
    bool is_slice = false;
    int part = 0;
    while (p->state->failed == STATUS_OK && !is_operator(p, "]") && !is_operator(p, ",")) {
        if (skip_operator(p, ":")) {
            is_slice = true;
            if (++part > 2)
                unexpected(p);
            continue;
        }
        if (part > 2 || parts[part] != NULL) {
            unexpected(p);
            break;
        }
        parts[part] = parse_expression(p);
    }
    if (!is_slice && parts[0] == NULL)
        unexpected(p);
    if (!is_slice)
        return parts[0] != NULL ? parts[0] : constant(p, value_none());
    struct node *slice = node_create(p, NODE_SLICE), *tail = NULL;
    for (int i = 0; i < 3; i++)
        add_item(p, slice, &tail, parts[i] != NULL ? parts[i] : constant(p, value_none()));
    return slice;
}

static struct node *parse_subscript(struct parser *p, struct node *of)
{
    expect_operator(p, "[");
    struct node *index = parse_index(p);
    if (is_operator(p, ",")) {
        struct node *tuple = node_create(p, NODE_TUPLE), *tail = NULL;
        bool has_slice = index->kind == NODE_SLICE;
        add_item(p, tuple, &tail, index);
        while (skip_operator(p, ",")) {
            index = parse_index(p);
            has_slice |= index->kind == NODE_SLICE;
            add_item(p, tuple, &tail, index);
        }
        if (has_slice)
            jinja_fail(p->state, "a slice cannot be one of several indices");
        index = tuple;
    }
    expect_operator(p, "]");
    if (index->kind != NODE_SLICE || p->state->failed != STATUS_OK)
        return node_with(p, NODE_ITEM, of, index);
    index->a = of;
    set_depth(p, index, of);
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
        if (skip_operator(p, ".")) {
            if (p->token.kind == LEX_INTEGER) {
                node = node_with(p, NODE_ITEM, node, constant(p, p->token.value));
                next(p);
                continue;
            }
            struct node *attribute = node_with(p, NODE_ATTRIBUTE, node, NULL);
            attribute->name = expect_name(p);
            node = attribute;
        } else if (is_operator(p, "[")) {
            node = parse_subscript(p, node);
        } else if (is_operator(p, "(")) {
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
    struct text_slice name = expect_name(p);
    while (skip_operator(p, ".")) {
        struct text_slice part = expect_name(p);
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

static struct node *parse_filter(struct parser *p, struct node *of)
{
    struct node *node = node_with(p, NODE_FILTER, of, NULL);
    node->name = parse_dotted_name(p);
    node->filter = filter_find(node->name);
    check_known(p, node->filter, "filter", node->name);
    if (is_operator(p, "("))
        parse_arguments(p, node, NULL);
    return node;
}

static bool begins_test_argument(const struct parser *p)
{
    if (p->token.kind == LEX_NAME)
        return !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and");
    return p->token.kind == LEX_STRING || p->token.kind == LEX_INTEGER ||
           p->token.kind == LEX_FLOAT || is_operator(p, "[") || is_operator(p, "{");
}

static struct node *parse_test(struct parser *p, struct node *of)
{
    struct node *node = node_with(p, NODE_TEST, of, NULL);
    node->operation = skip_name(p, "not");
    node->name = parse_dotted_name(p);
    node->test = test_find(node->name);
    check_known(p, node->test, "test", node->name);
    if (is_operator(p, "(")) {
        parse_arguments(p, node, NULL);
    } else if (begins_test_argument(p)) {
        if (is_name(p, "is"))
            jinja_fail(p->state, "tests cannot be chained with is");
        struct node *argument =
            node_with(p, NODE_ARGUMENT, parse_postfix(p, parse_primary(p)), NULL);
        struct node *tail = NULL;
        add_item(p, node, &tail, argument);
    }
    return node;
}

static struct node *parse_filters(struct parser *p, struct node *node)
{
    while (p->state->failed == STATUS_OK) {
        if (skip_operator(p, "|"))
            node = parse_filter(p, node);
        else if (skip_name(p, "is"))
            node = parse_test(p, node);
        else if (is_operator(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

static struct node *parse_unary(struct parser *p, bool with_filters)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return constant(p, value_none());
    }
    struct node *node;
    if (skip_operator(p, "-"))
        node = node_with(p, NODE_NEGATE, parse_unary(p, false), NULL);
    else if (skip_operator(p, "+"))
        node = node_with(p, NODE_PLUS, parse_unary(p, false), NULL);
    else
        node = parse_primary(p);
    node = parse_postfix(p, node);
    if (with_filters)
        node = parse_filters(p, node);
    jinja_leave(p->state);
    return node;
}

struct operator_row {
    const char *text;
    enum operation operation;
};

static enum operation match_operator(const struct parser *p, const struct operator_row *rows,
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_operator(p, rows[i].text))
            return rows[i].operation;
    }
    return OPERATION_NONE;
}

static struct node *binary(struct parser *p, enum operation operation, struct node *a,
                           struct node *b)
{
    struct node *node = node_with(p, NODE_BINARY, a, b);
    node->operation = (uint8_t)operation;
    return node;
}

static struct node *parse_power(struct parser *p)
{
    struct node *left = parse_unary(p, true);
    while (skip_operator(p, "**"))
        left = binary(p, OPERATION_POWER, left, parse_unary(p, true));
    return left;
}

static struct node *parse_product(struct parser *p)
{
    static const struct operator_row rows[] = {{"*", OPERATION_MULTIPLY},
                                               {"/", OPERATION_DIVIDE},
                                               {"//", OPERATION_FLOOR_DIVIDE},
                                               {"%", OPERATION_MODULO}};
    struct node *left = parse_power(p);
    enum operation operation;
    while ((operation = match_operator(p, rows, 4)) != OPERATION_NONE) {
        next(p);
        left = binary(p, operation, left, parse_power(p));
    }
    return left;
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p);
    if (!is_operator(p, "~"))
        return first;
    struct node *node = node_create(p, NODE_CONCAT), *tail = NULL;
    add_item(p, node, &tail, first);
    while (skip_operator(p, "~"))
        add_item(p, node, &tail, parse_product(p));
    return node;
}

static struct node *parse_sum(struct parser *p)
{
    static const struct operator_row rows[] = {{"+", OPERATION_ADD}, {"-", OPERATION_SUBTRACT}};
    struct node *left = parse_concat(p);
    enum operation operation;
    while ((operation = match_operator(p, rows, 2)) != OPERATION_NONE) {
        next(p);
        left = binary(p, operation, left, parse_concat(p));
    }
    return left;
}

static enum operation parse_comparison(struct parser *p)
{
    static const struct operator_row rows[] = {
        {"==", OPERATION_EQUAL},      {"!=", OPERATION_NOT_EQUAL}, {"<", OPERATION_LESS},
        {"<=", OPERATION_LESS_EQUAL}, {">", OPERATION_GREATER},    {">=", OPERATION_GREATER_EQUAL}};
    enum operation operation = match_operator(p, rows, 6);
    if (operation != OPERATION_NONE)
        next(p);
    else if (skip_name(p, "in"))
        operation = OPERATION_IN;
    else if (is_name(p, "not")) {
        struct lexer saved = p->lexer;
        struct token token = p->token;
        next(p);
        if (skip_name(p, "in"))
            return OPERATION_NOT_IN;
        p->lexer = saved;
        p->token = token;
    }
    return operation;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *first = parse_sum(p), *node = NULL, *tail = NULL;
    enum operation operation;
    while (p->state->failed == STATUS_OK && (operation = parse_comparison(p)) != OPERATION_NONE) {
        if (node == NULL)
            node = node_with(p, NODE_COMPARE, first, NULL);
        struct node *operand = node_with(p, NODE_OPERAND, parse_sum(p), NULL);
        operand->operation = (uint8_t)operation;
        add_item(p, node, &tail, operand);
    }
    return node != NULL ? node : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return constant(p, value_none());
    }
    struct node *node =
        skip_name(p, "not") ? node_with(p, NODE_NOT, parse_not(p), NULL) : parse_compare(p);
    jinja_leave(p->state);
    return node;
}

static struct node *parse_and(struct parser *p)
{
    struct node *left = parse_not(p);
    while (skip_name(p, "and"))
        left = node_with(p, NODE_AND, left, parse_not(p));
    return left;
}

static struct node *parse_or(struct parser *p)
{
    struct node *left = parse_and(p);
    while (skip_name(p, "or"))
        left = node_with(p, NODE_OR, left, parse_and(p));
    return left;
}

static struct node *parse_expression(struct parser *p)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return constant(p, value_none());
    }
    struct node *node = parse_or(p);
    while (p->state->failed == STATUS_OK && skip_name(p, "if")) {
        p->soft_depth++;
        struct node *condition = node_with(p, NODE_CONDITION, parse_or(p), node);
        if (skip_name(p, "else")) {
            struct node *other = parse_expression(p);
            if (p->state->failed == STATUS_OK)
                condition->c = other;
            set_depth(p, condition, other);
        }
        p->soft_depth--;
        node = condition;
    }
    jinja_leave(p->state);
    return node;
}

static bool ends_tuple(const struct parser *p, const char *stop_name)
{
    return p->token.kind == LEX_PRINT_END || p->token.kind == LEX_BLOCK_END ||
           is_operator(p, ")") || (stop_name != NULL && is_name(p, stop_name));
}

/* One expression, or several with commas between: a tuple. */
static struct node *parse_tuple(struct parser *p, bool with_condition, const char *stop_name)
{
    struct node *first = with_condition ? parse_expression(p) : parse_or(p);
    if (!is_operator(p, ","))
        return first;
    struct node *node = node_create(p, NODE_TUPLE), *tail = NULL;
    add_item(p, node, &tail, first);
    while (p->state->failed == STATUS_OK && skip_operator(p, ",")) {
        if (ends_tuple(p, stop_name))
            break;
        add_item(p, node, &tail, with_condition ? parse_expression(p) : parse_or(p));
    }
    return node;
}

/* Statements. */

static struct node *parse_single_target(struct parser *p)
{
    if (skip_operator(p, "(")) {
        struct node *inner = parse_single_target(p), *node = inner, *tail = NULL;
        if (is_operator(p, ",")) {
            node = node_create(p, NODE_TUPLE);
            add_item(p, node, &tail, inner);
            while (skip_operator(p, ",") && !is_operator(p, ")"))
                add_item(p, node, &tail, parse_single_target(p));
        }
        expect_operator(p, ")");
        return node;
    }
    struct node *node = parse_name(p);
    if (node->kind != NODE_NAME)
        jinja_fail(p->state, "cannot assign to a constant");
    return node;
}

/* name, name.field or name, name, ... */
static struct node *parse_target(struct parser *p, bool with_field)
{
    struct node *first = parse_single_target(p);
    if (with_field && first->kind == NODE_NAME && skip_operator(p, ".")) {
        struct node *field = node_with(p, NODE_TARGET_FIELD, first, NULL);
        field->name = expect_name(p);
        return field;
    }
    if (!is_operator(p, ","))
        return first;
    struct node *node = node_create(p, NODE_TUPLE), *tail = NULL;
    add_item(p, node, &tail, first);
    while (skip_operator(p, ",")) {
        if ((p->token.kind != LEX_NAME && !is_operator(p, "(")) || is_name(p, "in"))
            break;
        add_item(p, node, &tail, parse_single_target(p));
    }
    return node;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct node *node = node_with(p, NODE_IF, parse_tuple(p, false, NULL), NULL);
    struct text_slice end = {"", 0};
    p->soft_depth++;
    struct node *first = node;
    for (;;) {
        node->body = parse_body(p, ends, &end);
        if (!text_slice_is(end, "elif") || p->state->failed != STATUS_OK)
            break;
        struct node *other = node_with(p, NODE_IF, parse_tuple(p, false, NULL), NULL);
        node->other = other;
        node = other;
    }
    if (text_slice_is(end, "else"))
        node->other = parse_body(p, last, &end);
    p->soft_depth--;
    expect(p, LEX_BLOCK_END);
    return first;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last[] = {"endfor", NULL};
    struct node *target = parse_target(p, false);
    if (!skip_name(p, "in"))
        unexpected(p);
    struct node *node = node_with(p, NODE_FOR, target, parse_tuple(p, false, "recursive"));
    if (skip_name(p, "if"))
        node->c = parse_expression(p);
    if (is_name(p, "recursive"))
        jinja_fail(p->state, "recursive loops are not supported");
    struct text_slice end = {"", 0};
    p->loop_depth++;
    node->body = parse_body(p, ends, &end);
    p->loop_depth--;
    if (text_slice_is(end, "else"))
        node->other = parse_body(p, last, &end);
    expect(p, LEX_BLOCK_END);
    return node;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *target = parse_target(p, true);
    if (skip_operator(p, "=")) {
        struct node *node = node_with(p, NODE_SET, target, parse_tuple(p, true, NULL));
        expect(p, LEX_BLOCK_END);
        return node;
    }
    struct node *node = node_with(p, NODE_SET_BLOCK, target, NULL);
    struct node *filters = NULL;
    while (skip_operator(p, "|"))
        filters = parse_filter(p, filters);
    struct text_slice end = {"", 0};
    struct node *body = parse_body(p, ends, &end);
    expect(p, LEX_BLOCK_END);
    if (p->state->failed == STATUS_OK) {
        node->b = filters;
        node->body = body;
    }
    return node;
}

/* "(a, b=1)" into macro->items. */
static void parse_parameters(struct parser *p, struct node *macro)
{
    struct node *tail = NULL;
    expect_operator(p, "(");
    while (p->state->failed == STATUS_OK && !is_operator(p, ")")) {
        struct node *parameter = node_create(p, NODE_PARAMETER);
        struct text_slice name = expect_name(p);
        bool has_default = skip_operator(p, "=");
        if (!has_default && tail != NULL && tail->a != NULL)
            jinja_fail(p->state, "a parameter without default follows one with");
        struct node *value = has_default ? parse_expression(p) : NULL;
        if (p->state->failed == STATUS_OK) {
            parameter->name = name;
            parameter->a = value;
        }
        add_item(p, macro, &tail, parameter);
        if (!is_operator(p, ")"))
            expect_operator(p, ",");
    }
    expect_operator(p, ")");
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
    expect(p, LEX_BLOCK_END);
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
    struct text_slice name = expect_name(p);
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
    if (is_operator(p, "("))
        parse_parameters(p, caller);
    struct node *call = parse_expression(p);
    if (call->kind != NODE_CALL)
        jinja_fail(p->state, "expected a call");
    parse_macro_body(p, caller, "endcall");
    return node_with(p, NODE_CALL_BLOCK, call, caller);
}

static struct node *parse_filter_block(struct parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct node *filters = parse_filter(p, NULL);
    while (skip_operator(p, "|"))
        filters = parse_filter(p, filters);
    struct node *node = node_with(p, NODE_FILTER_BLOCK, filters, NULL);
    struct text_slice end = {"", 0};
    node->body = parse_body(p, ends, &end);
    expect(p, LEX_BLOCK_END);
    return node;
}

static struct node *parse_with(struct parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct node *node = node_create(p, NODE_WITH), *tail = NULL;
    while (p->state->failed == STATUS_OK && p->token.kind != LEX_BLOCK_END) {
        if (tail != NULL)
            expect_operator(p, ",");
        struct node *target = parse_target(p, false);
        expect_operator(p, "=");
        add_item(p, node, &tail, node_with(p, NODE_SET, target, parse_expression(p)));
    }
    struct text_slice end = {"", 0};
    struct node *body = parse_body(p, ends, &end);
    if (p->state->failed == STATUS_OK)
        node->body = body;
    expect(p, LEX_BLOCK_END);
    return node;
}

static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *node = node_create(p, NODE_SCOPE);
    struct text_slice end = {"", 0};
    struct node *body = parse_body(p, ends, &end);
    if (p->state->failed == STATUS_OK)
        node->body = body;
    expect(p, LEX_BLOCK_END);
    return node;
}

static struct node *parse_jump(struct parser *p, enum node_kind kind)
{
    if (p->loop_depth == 0)
        jinja_fail(p->state, "break or continue outside a loop");
    struct node *node = node_create(p, kind);
    expect(p, LEX_BLOCK_END);
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
    if (skip_name(p, "break"))
        return parse_jump(p, NODE_BREAK);
    if (skip_name(p, "continue"))
        return parse_jump(p, NODE_CONTINUE);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (skip_name(p, rows[i].name))
            return rows[i].parse(p);
    }
    unexpected(p);
    return constant(p, value_none());
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++) {
        if (is_name(p, ends[i]))
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
        expect(p, LEX_BLOCK_END);
    while (p->state->failed == STATUS_OK) {
        struct node *node = NULL;
        if (p->token.kind == LEX_TEXT) {
            node = node_create(p, NODE_TEXT);
            node->constant = value_string(p->state, p->token.text, true);
            next(p);
        } else if (p->token.kind == LEX_PRINT_BEGIN) {
            next(p);
            node = node_with(p, NODE_PRINT, parse_tuple(p, true, NULL), NULL);
            expect(p, LEX_PRINT_END);
        } else if (p->token.kind == LEX_BLOCK_BEGIN) {
            next(p);
            if (is_end(p, ends)) {
                *end = p->token.text;
                next(p);
                break;
            }
            node = parse_statement(p);
        } else {
            if (ends != NULL)
                jinja_fail(p->state, "a block is not closed (%s is missing)", ends[0]);
            break;
        }
        root.depth = 0; /* statements are bounded by jinja_enter */
        add_item(p, &root, &tail, node);
    }
    jinja_leave(p->state);
    return root.items;
}

struct node *jinja_parse(struct engine_state *s, struct text_slice source)
{
    struct parser parser = {.state = s, .lost = jinja_allocate(s, 1, sizeof(*parser.lost))};
    if (parser.lost == NULL)
        return NULL;
    lexer_init(&parser.lexer, s, source);
    next(&parser);
    struct text_slice end = {"", 0};
    struct node *body = parse_body(&parser, NULL, &end);
    struct node *root = jinja_allocate(s, 1, sizeof(*root));
    if (root == NULL)
        return NULL;
    *root = (struct node){.kind = NODE_SCOPE, .body = body, .line = 1};
    return root;
}
