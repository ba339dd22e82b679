/* Calls: evaluating arguments, binding them to names, macros. */
#include <string.h>

#include "jinja_render.h"

static void add_named(struct call *c, struct text_slice name, struct value v)
{
    struct jinja_state *s = c->state;
    if (c->named == NULL)
        c->named = value_dict(s, VALUE_DICT).dict;
    if (s->failed != STATUS_OK)
        return;
    struct value key = value_string(s, name, true);
    if (dict_find(s, c->named, key) != NULL)
        jinja_fail(s, "keyword argument '%.*s' is repeated",
                   (int)(name.bytes < 60 ? name.bytes : 60), name.data);
    dict_put(s, c->named, key, v);
}

static void spread_dict(struct call *c, struct value v)
{
    if (v.kind != VALUE_DICT) {
        jinja_fail(c->state, "argument after ** must be a mapping, not %s", value_type_name(v));
        return;
    }
    for (uint32_t i = 0; i < v.dict->count && c->state->failed == STATUS_OK; i++) {
        if (!value_is_string(v.dict->keys[i]))
            jinja_fail(c->state, "keywords must be strings");
        else
            add_named(c, text_slice_from(v.dict->keys[i].text), v.dict->values[i]);
    }
}

static void evaluate_arguments(struct render *r, const struct node *node, struct call *c)
{
    struct list_builder items = {.state = c->state};
    for (const struct node *a = node->items; a != NULL && c->state->failed == STATUS_OK;
         a = a->next) {
        struct value v = evaluate(r, a->a);
        if (c->state->failed != STATUS_OK)
            return;
        if (a->operation == ARGUMENT_POSITIONAL) {
            list_builder_add(&items, v);
        } else if (a->operation == ARGUMENT_KEYWORD) {
            add_named(c, a->name, v);
        } else if (a->operation == ARGUMENT_DICT) {
            spread_dict(c, v);
        } else {
            struct value spread = value_iterate(c->state, v);
            for (uint32_t i = 0; c->state->failed == STATUS_OK && i < spread.list->count; i++)
                list_builder_add(&items, spread.list->items[i]);
        }
    }
    c->items = items.items;
    c->count = items.count;
}

static uint32_t parameter_index(const struct signature *signature, struct value key)
{
    uint32_t i = 0;
    while (i < CALL_PARAMETERS_MAX && signature->parameters[i] != NULL &&
           !value_is(key, signature->parameters[i]))
        i++;
    return i;
}

bool call_bind(struct call *c, const char *name, const struct signature *signature)
{
    memset(c->given, 0, sizeof(c->given));
    if (signature->is_free)
        return c->state->failed == STATUS_OK;
    uint32_t parameter_count = 0;
    while (parameter_count < CALL_PARAMETERS_MAX && signature->parameters[parameter_count] != NULL)
        parameter_count++;
    if (c->count > parameter_count)
        jinja_fail(c->state, "%s takes %u arguments, not %u", name, parameter_count, c->count);
    for (uint32_t i = 0; i < c->count && i < parameter_count; i++) {
        c->arguments[i] = c->items[i];
        c->given[i] = true;
    }
    for (uint32_t i = 0; c->named != NULL && i < c->named->count && c->state->failed == STATUS_OK;
         i++) {
        uint32_t at = parameter_index(signature, c->named->keys[i]);
        if (at >= parameter_count || c->given[at]) {
            jinja_fail(c->state, "%s has no such keyword argument, or it is given twice", name);
            break;
        }
        c->arguments[at] = c->named->values[i];
        c->given[at] = true;
    }
    for (uint32_t i = 0; i < signature->required; i++) {
        if (!c->given[i])
            jinja_fail(c->state, "%s misses its argument '%s'", name, signature->parameters[i]);
    }
    return c->state->failed == STATUS_OK;
}

/* What a macro takes besides its parameters: varargs, kwargs, caller. */
static void bind_rest(struct call *c, const struct macro *macro, struct scope *scope,
                      uint32_t taken)
{
    struct jinja_state *s = c->state;
    const struct node *node = macro->node;
    struct value named = value_dict(s, VALUE_DICT), caller = value_undefined();
    for (uint32_t i = 0; c->named != NULL && i < c->named->count && s->failed == STATUS_OK; i++) {
        struct value key = c->named->keys[i];
        bool is_parameter = false;
        for (const struct node *p = node->items; p != NULL; p = p->next)
            is_parameter |= text_slice_equals(p->name, text_slice_from(key.text));
        if (is_parameter)
            continue;
        if (value_is(key, "caller") && (node->operation & MACRO_USES_CALLER))
            caller = c->named->values[i];
        else
            dict_put(s, named.dict, key, c->named->values[i]);
    }
    if (s->failed != STATUS_OK)
        return;
    if (named.dict->count > 0 && !(node->operation & MACRO_USES_KWARGS))
        jinja_fail(s, "macro '%.*s' takes no such keyword argument", (int)node->name.bytes,
                   node->name.data);
    if (c->count > taken && !(node->operation & MACRO_USES_VARARGS))
        jinja_fail(s, "macro '%.*s' takes not more than %u arguments", (int)node->name.bytes,
                   node->name.data, node->item_count);
    if (node->operation & MACRO_USES_KWARGS)
        scope_set(c->render, scope, text_slice_of("kwargs"), named);
    if (node->operation & MACRO_USES_CALLER)
        scope_set(c->render, scope, text_slice_of("caller"), caller);
    if (node->operation & MACRO_USES_VARARGS) {
        struct value rest = value_list(s, VALUE_TUPLE, c->count > taken ? c->count - taken : 0);
        for (uint32_t i = taken; i < c->count && s->failed == STATUS_OK; i++)
            rest.list->items[i - taken] = c->items[i];
        scope_set(c->render, scope, text_slice_of("varargs"), rest);
    }
}

static struct value call_macro(struct call *c, const struct macro *macro)
{
    struct render *r = c->render;
    const struct node *node = macro->node;
    struct scope *scope = scope_create(r, macro->scope);
    if (scope == NULL)
        return value_undefined();
    uint32_t i = 0;
    for (const struct node *p = node->items; p != NULL && c->state->failed == STATUS_OK;
         p = p->next, i++) {
        const struct value *named = NULL;
        if (c->named != NULL)
            named = dict_find(c->state, c->named, value_string(c->state, p->name, true));
        if (i < c->count && named != NULL)
            jinja_fail(c->state, "macro argument '%.*s' is given twice", (int)p->name.bytes,
                       p->name.data);
        struct value v = value_missing(c->state, p->name);
        if (i < c->count) {
            v = c->items[i];
        } else if (named != NULL) {
            v = *named;
        } else if (p->a != NULL) {
            struct scope *outer = r->scope;
            r->scope = scope;
            v = evaluate(r, p->a);
            r->scope = outer;
        }
        scope_set(r, scope, p->name, v);
    }
    bind_rest(c, macro, scope, i < c->count ? i : c->count);
    return c->state->failed == STATUS_OK ? run_captured(r, node->body, scope) : value_undefined();
}

static struct value call_joiner(struct list *joiner)
{
    return joiner->taken++ == 0 ? joiner->items[1] : joiner->items[0];
}

struct value evaluate_call(struct render *r, const struct node *node, struct value extra_caller)
{
    struct value callee = evaluate(r, node->a);
    struct call c = {.state = &r->state, .render = r};
    evaluate_arguments(r, node, &c);
    if (extra_caller.kind == VALUE_MACRO)
        add_named(&c, text_slice_of("caller"), extra_caller);
    if (r->state.failed != STATUS_OK)
        return value_undefined();
    switch (callee.kind) {
    case VALUE_MACRO:
        return call_macro(&c, callee.macro);
    case VALUE_FUNCTION:
        return call_bind(&c, callee.function->name, &callee.function->signature)
                   ? callee.function->run(&c)
                   : value_undefined();
    case VALUE_METHOD:
        c.subject = callee.method->subject;
        return call_bind(&c, callee.method->entry->name, &callee.method->entry->signature)
                   ? callee.method->entry->run(&c)
                   : value_undefined();
    case VALUE_JOINER:
        return call_joiner(callee.list);
    case VALUE_UNDEFINED:
        jinja_fail(&r->state, "'%.*s' is undefined and cannot be called",
                   callee.text != NULL && callee.text->bytes < 60 ? (int)callee.text->bytes : 0,
                   callee.text != NULL ? callee.text->data : "");
        return value_undefined();
    default:
        jinja_fail(&r->state, "'%s' object is not callable", value_type_name(callee));
        return value_undefined();
    }
}

struct value evaluate_filter(struct render *r, const struct node *node, struct value subject)
{
    if (node->filter == NULL) {
        jinja_fail(&r->state, "no filter named '%.*s'",
                   (int)(node->name.bytes < 60 ? node->name.bytes : 60), node->name.data);
        return value_undefined();
    }
    struct call c = {.state = &r->state, .render = r, .subject = subject};
    evaluate_arguments(r, node, &c);
    if (!call_bind(&c, node->filter->name, &node->filter->signature))
        return value_undefined();
    return node->filter->run(&c);
}

struct value evaluate_test(struct render *r, const struct node *node)
{
    struct value subject = evaluate(r, node->a);
    if (node->test == NULL) {
        jinja_fail(&r->state, "no test named '%.*s'",
                   (int)(node->name.bytes < 60 ? node->name.bytes : 60), node->name.data);
        return value_undefined();
    }
    struct call c = {.state = &r->state, .render = r, .subject = subject};
    evaluate_arguments(r, node, &c);
    if (!call_bind(&c, node->test->name, &node->test->signature))
        return value_undefined();
    return value_bool(value_truth(node->test->run(&c)) != (node->operation != 0));
}

/* Arguments of a filter or test that another filter (map, select, ...) runs: c->items[from..] and
 * the named ones. */
static struct call inner_call(const struct call *c, struct value subject, uint32_t from)
{
    struct call inner = {
        .state = c->state, .render = c->render, .subject = subject, .named = c->named};
    inner.items = c->items + from;
    inner.count = c->count > from ? c->count - from : 0;
    return inner;
}

struct value call_filter_by_name(struct call *c, struct value name, struct value subject,
                                 uint32_t from)
{
    const struct filter_entry *entry =
        value_is_string(name) ? filter_find(text_slice_from(name.text)) : NULL;
    struct call inner = inner_call(c, subject, from);
    if (entry == NULL)
        jinja_fail(c->state, "map() names no filter");
    else if (call_bind(&inner, entry->name, &entry->signature))
        return entry->run(&inner);
    return value_undefined();
}

bool call_test_by_name(struct call *c, struct value name, struct value subject, uint32_t from)
{
    const struct test_entry *entry =
        value_is_string(name) ? test_find(text_slice_from(name.text)) : NULL;
    struct call inner = inner_call(c, subject, from);
    if (entry == NULL)
        jinja_fail(c->state, "select() names no test");
    else if (call_bind(&inner, entry->name, &entry->signature))
        return value_truth(entry->run(&inner));
    return false;
}

uint64_t render_wall_ms(const struct render *r)
{
    return r->wall_ms;
}
