#ifndef PENSTOCK_JINJA_AST_H
#define PENSTOCK_JINJA_AST_H

#include "jinja_value.h"

/* The parsed template: nodes in the template's arena, immutable after parsing. One node type for
 * all: which fields a kind uses stands beside it. Lists of nodes are chained by `next`. */
enum node_kind {
    /* Expressions */
    NODE_CONSTANT,  /* constant */
    NODE_NAME,      /* name */
    NODE_LIST,      /* items */
    NODE_TUPLE,     /* items */
    NODE_DICT,      /* items: NODE_PAIR */
    NODE_PAIR,      /* a: key, b: value */
    NODE_NEGATE,    /* a */
    NODE_PLUS,      /* a */
    NODE_NOT,       /* a */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_BINARY,    /* a, b, operation */
    NODE_CONCAT,    /* items */
    NODE_COMPARE,   /* a, items: NODE_OPERAND */
    NODE_OPERAND,   /* a, operation */
    NODE_CONDITION, /* a: test, b: then, c: else or NULL */
    NODE_ATTRIBUTE, /* a, name */
    NODE_ITEM,      /* a, b: index */
    NODE_SLICE,     /* a, items: three, each possibly a none constant */
    NODE_CALL,      /* a, items: NODE_ARGUMENT */
    NODE_ARGUMENT,  /* a, name (keyword), operation: enum argument_kind */
    NODE_FILTER, /* a (NULL: the block's text), name, filter (NULL: unknown), items: NODE_ARGUMENT
                  */
    NODE_TEST, /* a, name, test (NULL: unknown), items: NODE_ARGUMENT, operation: 1 when negated */
    /* Statements */
    NODE_TEXT,         /* constant */
    NODE_PRINT,        /* a */
    NODE_IF,           /* a, body, other */
    NODE_FOR,          /* a: target, b: iterated, c: filter or NULL, body, other */
    NODE_SET,          /* a: target, b: value */
    NODE_SET_BLOCK,    /* a: target, b: filter or NULL, body */
    NODE_TARGET_FIELD, /* name.field of a namespace: a: NODE_NAME, name: field */
    NODE_MACRO,        /* name, items: NODE_PARAMETER, body, operation: enum macro_flag */
    NODE_PARAMETER,    /* name, a: default or NULL */
    NODE_CALL_BLOCK,   /* b: NODE_MACRO of the caller, a: NODE_CALL */
    NODE_FILTER_BLOCK, /* a: NODE_FILTER, body */
    NODE_WITH,         /* items: NODE_SET, body */
    NODE_SCOPE,        /* body: {% generation %} */
    NODE_BREAK,
    NODE_CONTINUE,
};

enum operation {
    OPERATION_NONE,
    OPERATION_ADD,
    OPERATION_SUBTRACT,
    OPERATION_MULTIPLY,
    OPERATION_DIVIDE,
    OPERATION_FLOOR_DIVIDE,
    OPERATION_MODULO,
    OPERATION_POWER,
    OPERATION_EQUAL,
    OPERATION_NOT_EQUAL,
    OPERATION_LESS,
    OPERATION_LESS_EQUAL,
    OPERATION_GREATER,
    OPERATION_GREATER_EQUAL,
    OPERATION_IN,
    OPERATION_NOT_IN,
};

enum argument_kind { ARGUMENT_POSITIONAL, ARGUMENT_KEYWORD, ARGUMENT_LIST, ARGUMENT_DICT };

/* What a macro's body uses besides its parameters. */
enum macro_flag { MACRO_USES_CALLER = 1, MACRO_USES_VARARGS = 2, MACRO_USES_KWARGS = 4 };

struct filter_entry;
struct test_entry;

struct node {
    enum node_kind kind;
    uint8_t operation;
    uint16_t depth; /* of the tree below */
    uint32_t line;
    uint32_t item_count;
    struct node *a, *b, *c;
    struct node *items, *body, *other;
    struct node *next;
    struct text_slice name;
    struct value constant;
    const struct filter_entry *filter;
    const struct test_entry *test;
};

/* Parses `source` (valid UTF-8 that outlives the nodes). NULL on failure, told in the state. */
struct node *jinja_parse(struct jinja_state *s, struct text_slice source);

#endif
