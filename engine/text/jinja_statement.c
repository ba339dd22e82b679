#include "jinja_render.h"

struct scope *scope_create(struct render *r, struct scope *outer)
{
    struct scope *scope = jinja_allocate(&r->state, 1, sizeof(*scope));
    if (scope != NULL)
        scope->outer = outer;
    return scope;
}

void scope_set(struct render *r, struct scope *scope, struct text_slice name, struct value v)
{
    if (r->state.failed != STATUS_OK)
        return;
    for (struct binding *b = scope->bindings; b != NULL; b = b->next) {
        if (text_slice_equals(b->name, name)) {
            b->value = v;
            return;
        }
    }
    struct binding *b = jinja_allocate(&r->state, 1, sizeof(*b));
    if (b == NULL)
        return;
    *b = (struct binding){scope->bindings, name, v};
    scope->bindings = b;
}

const struct value *scope_find(struct render *r, struct text_slice name)
{
    for (const struct scope *scope = r->scope; scope != NULL; scope = scope->outer) {
        for (const struct binding *b = scope->bindings; b != NULL; b = b->next) {
            if (text_slice_equals(b->name, name))
                return &b->value;
        }
    }
    return NULL;
}

static void assign(struct render *r, const struct node *target, struct value v);

static void assign_many(struct render *r, const struct node *target, struct value v)
{
    struct value items = value_iterate(&r->state, v);
    if (v.kind == VALUE_UNDEFINED || r->state.failed != STATUS_OK ||
        items.list->count != target->item_count) {
        jinja_fail(&r->state, "a value cannot be unpacked into %u names", target->item_count);
        return;
    }
    uint32_t i = 0;
    for (const struct node *name = target->items; name != NULL; name = name->next)
        assign(r, name, items.list->items[i++]);
}

static void assign_field(struct render *r, const struct node *target, struct value v)
{
    const struct value *of = scope_find(r, target->a->name);
    if (of == NULL || of->kind != VALUE_NAMESPACE) {
        jinja_fail(&r->state, "cannot assign attribute on non-namespace object");
        return;
    }
    if (target->name.bytes > 0 && target->name.data[0] == '_') {
        jinja_fail(&r->state, "a namespace cannot store names that begin with an underscore");
        return;
    }
    dict_put(&r->state, of->dict, value_string(&r->state, target->name, true), v);
}

static void assign(struct render *r, const struct node *target, struct value v)
{
    if (r->state.failed != STATUS_OK)
        return;
    if (target->kind == NODE_TUPLE)
        assign_many(r, target, v);
    else if (target->kind == NODE_TARGET_FIELD)
        assign_field(r, target, v);
    else
        scope_set(r, r->scope, target->name, v);
}

struct value run_captured(struct render *r, const struct node *body, struct scope *scope)
{
    struct text_builder *outer_sink = r->sink, sink;
    struct scope *outer_scope = r->scope;
    text_builder_init(&sink, &r->state);
    if (scope == NULL)
        return value_undefined();
    r->sink = &sink;
    r->scope = scope;
    run_body(r, body);
    r->sink = outer_sink;
    r->scope = outer_scope;
    return text_builder_value(&sink);
}

/* The items that pass the loop's `if`, each tried in a scope of its own. */
static struct value filter_items(struct render *r, const struct node *node, struct value items)
{
    struct list_builder kept = {.state = &r->state};
    struct scope *outer = r->scope;
    for (uint32_t i = 0; r->state.failed == STATUS_OK && i < items.list->count; i++) {
        r->scope = scope_create(r, outer);
        if (r->scope != NULL) {
            assign(r, node->a, items.list->items[i]);
            if (value_truth(evaluate(r, node->c)))
                list_builder_add(&kept, items.list->items[i]);
        }
        r->scope = outer;
    }
    return list_builder_value(&kept, VALUE_LIST);
}

static uint32_t loop_depth(struct render *r)
{
    const struct value *outer = scope_find(r, text_slice_of("loop"));
    return outer != NULL && outer->kind == VALUE_LOOP ? outer->loop->depth + 1 : 1;
}

static void run_for(struct render *r, const struct node *node)
{
    struct value iterated = evaluate(r, node->b);
    struct value items =
        r->state.failed == STATUS_OK ? value_iterate(&r->state, iterated) : iterated;
    if (r->state.failed == STATUS_OK && node->c != NULL)
        items = filter_items(r, node, items);
    struct loop *loop = jinja_allocate(&r->state, 1, sizeof(*loop));
    if (loop == NULL)
        return;
    *loop = (struct loop){.items = items.list, .depth = loop_depth(r)};
    struct scope *outer = r->scope;
    for (; r->state.failed == STATUS_OK && loop->at < items.list->count; loop->at++) {
        r->scope = scope_create(r, outer);
        if (r->scope == NULL)
            break;
        scope_set(r, r->scope, text_slice_of("loop"),
                  (struct value){.kind = VALUE_LOOP, .loop = loop});
        assign(r, node->a, items.list->items[loop->at]);
        run_body(r, node->body);
        enum control control = r->control;
        r->control = CONTROL_NONE;
        if (control == CONTROL_BREAK)
            break;
    }
    r->scope = outer;
    if (r->state.failed == STATUS_OK && items.list->count == 0)
        run_body(r, node->other);
}

static void run_if(struct render *r, const struct node *node)
{
    /* A chain of elif is a chain of nodes and no nesting. */
    for (;;) {
        bool is_true = value_truth(evaluate(r, node->a));
        if (r->state.failed != STATUS_OK)
            return;
        if (is_true) {
            run_body(r, node->body);
            return;
        }
        bool is_chain =
            node->other != NULL && node->other->kind == NODE_IF && node->other->next == NULL;
        if (!is_chain) {
            run_body(r, node->other);
            return;
        }
        node = node->other;
    }
}

/* The filters of a block, innermost first: its operand is the block's text. */
static struct value filter_block(struct render *r, const struct node *filter, struct value text)
{
    if (filter->a != NULL)
        text = filter_block(r, filter->a, text);
    return r->state.failed == STATUS_OK ? evaluate_filter(r, filter, text) : text;
}

static void run_set_block(struct render *r, const struct node *node)
{
    struct value text = run_captured(r, node->body, scope_create(r, r->scope));
    if (node->b != NULL)
        text = filter_block(r, node->b, text);
    assign(r, node->a, text);
}

static void run_macro(struct render *r, const struct node *node)
{
    struct macro *macro = jinja_allocate(&r->state, 1, sizeof(*macro));
    if (macro == NULL)
        return;
    *macro = (struct macro){node, r->scope};
    scope_set(r, r->scope, node->name, (struct value){.kind = VALUE_MACRO, .macro = macro});
}

static void run_call_block(struct render *r, const struct node *node)
{
    struct macro *caller = jinja_allocate(&r->state, 1, sizeof(*caller));
    if (caller == NULL)
        return;
    *caller = (struct macro){node->b, r->scope};
    value_write(r->sink,
                evaluate_call(r, node->a, (struct value){.kind = VALUE_MACRO, .macro = caller}));
}

static void run_with(struct render *r, const struct node *node)
{
    struct scope *outer = r->scope, *inner = scope_create(r, outer);
    for (const struct node *set = node->items; set != NULL && inner != NULL; set = set->next) {
        struct value v = evaluate(r, set->b); /* in the outer scope, as jinja2 does */
        r->scope = inner;
        assign(r, set->a, v);
        r->scope = outer;
    }
    r->scope = inner;
    if (inner != NULL)
        run_body(r, node->body);
    r->scope = outer;
}

static void run_scope(struct render *r, const struct node *node)
{
    struct scope *outer = r->scope;
    r->scope = scope_create(r, outer);
    if (r->scope != NULL)
        run_body(r, node->body);
    r->scope = outer;
}

static void run_statement(struct render *r, const struct node *node)
{
    switch (node->kind) {
    case NODE_TEXT:
        text_builder_add_text(r->sink, node->constant.text);
        break;
    case NODE_PRINT:
        value_write(r->sink, evaluate(r, node->a));
        break;
    case NODE_IF:
        run_if(r, node);
        break;
    case NODE_FOR:
        run_for(r, node);
        break;
    case NODE_SET:
        assign(r, node->a, evaluate(r, node->b));
        break;
    case NODE_SET_BLOCK:
        run_set_block(r, node);
        break;
    case NODE_MACRO:
        run_macro(r, node);
        break;
    case NODE_CALL_BLOCK:
        run_call_block(r, node);
        break;
    case NODE_FILTER_BLOCK:
        value_write(r->sink, filter_block(r, node->a,
                                          run_captured(r, node->body, scope_create(r, r->scope))));
        break;
    case NODE_WITH:
        run_with(r, node);
        break;
    case NODE_SCOPE:
        run_scope(r, node);
        break;
    case NODE_BREAK:
        r->control = CONTROL_BREAK;
        break;
    case NODE_CONTINUE:
        r->control = CONTROL_CONTINUE;
        break;
    default:
        break;
    }
}

void run_body(struct render *r, const struct node *body)
{
    if (jinja_enter(&r->state)) {
        for (const struct node *node = body; node != NULL && r->control == CONTROL_NONE;
             node = node->next) {
            r->state.line = node->line;
            if (!jinja_spend(&r->state, 1))
                break;
            run_statement(r, node);
        }
    }
    jinja_leave(&r->state);
}
