/* Expressions: the operators by their precedence, conditions and tuples. */
#include "jinja_parser.h"

struct operator_row {
    const char *text;
    enum operation operation;
};

static enum operation match_operator(const struct parser *p, const struct operator_row *rows,
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (token_is_operator(p, rows[i].text))
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
    struct node *left = jinja_parse_unary(p, true);
    while (token_skip_operator(p, "**"))
        left = binary(p, OPERATION_POWER, left, jinja_parse_unary(p, true));
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
        token_next(p);
        left = binary(p, operation, left, parse_power(p));
    }
    return left;
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p);
    if (!token_is_operator(p, "~"))
        return first;
    struct node *node = node_create(p, NODE_CONCAT), *tail = NULL;
    node_add_item(p, node, &tail, first);
    while (token_skip_operator(p, "~"))
        node_add_item(p, node, &tail, parse_product(p));
    return node;
}

static struct node *parse_sum(struct parser *p)
{
    static const struct operator_row rows[] = {{"+", OPERATION_ADD}, {"-", OPERATION_SUBTRACT}};
    struct node *left = parse_concat(p);
    enum operation operation;
    while ((operation = match_operator(p, rows, 2)) != OPERATION_NONE) {
        token_next(p);
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
        token_next(p);
    else if (token_skip_name(p, "in"))
        operation = OPERATION_IN;
    else if (token_is_name(p, "not")) {
        struct lexer saved = p->lexer;
        struct token token = p->token;
        token_next(p);
        if (token_skip_name(p, "in"))
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
        node_add_item(p, node, &tail, operand);
    }
    return node != NULL ? node : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return node_constant(p, value_none());
    }
    struct node *node =
        token_skip_name(p, "not") ? node_with(p, NODE_NOT, parse_not(p), NULL) : parse_compare(p);
    jinja_leave(p->state);
    return node;
}

static struct node *parse_and(struct parser *p)
{
    struct node *left = parse_not(p);
    while (token_skip_name(p, "and"))
        left = node_with(p, NODE_AND, left, parse_not(p));
    return left;
}

static struct node *parse_or(struct parser *p)
{
    struct node *left = parse_and(p);
    while (token_skip_name(p, "or"))
        left = node_with(p, NODE_OR, left, parse_and(p));
    return left;
}

struct node *jinja_parse_expression(struct parser *p)
{
    if (!jinja_enter(p->state)) {
        jinja_leave(p->state);
        return node_constant(p, value_none());
    }
    struct node *node = parse_or(p);
    while (p->state->failed == STATUS_OK && token_skip_name(p, "if")) {
        p->soft_depth++;
        struct node *condition = node_with(p, NODE_CONDITION, parse_or(p), node);
        if (token_skip_name(p, "else")) {
            struct node *other = jinja_parse_expression(p);
            if (p->state->failed == STATUS_OK)
                condition->c = other;
            node_deepen(p, condition, other);
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
           token_is_operator(p, ")") || (stop_name != NULL && token_is_name(p, stop_name));
}

struct node *jinja_parse_tuple(struct parser *p, bool with_condition, const char *stop_name)
{
    struct node *first = with_condition ? jinja_parse_expression(p) : parse_or(p);
    if (!token_is_operator(p, ","))
        return first;
    struct node *node = node_create(p, NODE_TUPLE), *tail = NULL;
    node_add_item(p, node, &tail, first);
    while (p->state->failed == STATUS_OK && token_skip_operator(p, ",")) {
        if (ends_tuple(p, stop_name))
            break;
        node_add_item(p, node, &tail, with_condition ? jinja_parse_expression(p) : parse_or(p));
    }
    return node;
}
