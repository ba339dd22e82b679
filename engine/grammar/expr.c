#include "expr.h"

#include <stdlib.h>

#include "automaton.h"

#define CODE_POINT_MAX 0x10FFFFu

static uint32_t size_add(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static uint32_t size_multiply(uint32_t a, uint32_t b)
{
    uint64_t product = (uint64_t)a * b;
    return product > UINT32_MAX ? UINT32_MAX : (uint32_t)product;
}

static struct expr *expr_create(struct compile *c, enum expr_kind kind, uint32_t count)
{
    struct expr *e = compile_allocate(c, 1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->kind = kind;
    e->count = count;
    e->size = 1;
    return e;
}

/* With room for `count` items. */
static struct expr *expr_create_items(struct compile *c, enum expr_kind kind, uint32_t count)
{
    struct expr *e = expr_create(c, kind, count);
    if (e == NULL)
        return NULL;
    e->items = compile_allocate(c, count, sizeof *e->items);
    return e->items != NULL ? e : NULL;
}

const struct expr *expr_none(struct compile *c)
{
    return expr_create(c, EXPR_NONE, 0);
}

const struct expr *expr_text(struct compile *c, struct text_slice text)
{
    struct expr *e = expr_create(c, EXPR_TEXT, 0);
    char *copy = compile_allocate(c, text.bytes, 1);
    if (e == NULL || copy == NULL)
        return NULL;
    if (text.bytes > 0)
        memcpy(copy, text.data, text.bytes);
    e->text = (struct text_slice){copy, text.bytes};
    e->size = text.bytes < UINT32_MAX ? (uint32_t)text.bytes : UINT32_MAX;
    return e;
}

const struct expr *expr_word(struct compile *c, const char *text)
{
    return expr_text(c, text_slice_of(text));
}

static int compare_ranges(const void *a, const void *b)
{
    const struct char_range *left = a;
    const struct char_range *right = b;
    return left->low < right->low ? -1 : left->low > right->low;
}

static uint32_t join_ranges(struct char_range *ranges, uint32_t count)
{
    if (count == 0)
        return 0;
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    uint32_t used = 1;
    for (uint32_t i = 1; i < count; i++) {
        struct char_range *last = &ranges[used - 1];
        if (ranges[i].low <= last->high + 1)
            last->high = ranges[i].high > last->high ? ranges[i].high : last->high;
        else
            ranges[used++] = ranges[i];
    }
    return used;
}

/* In place: there is room for one range more. */
static uint32_t negate_ranges(struct char_range *ranges, uint32_t count)
{
    uint32_t next = 0; /* first code point that is not yet decided */
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct char_range range = ranges[i];
        if (range.low > next)
            ranges[used++] = (struct char_range){next, range.low - 1};
        next = range.high + 1;
    }
    if (next <= CODE_POINT_MAX)
        ranges[used++] = (struct char_range){next, CODE_POINT_MAX};
    return used;
}

const struct expr *expr_set(struct compile *c, const struct char_range *ranges, uint32_t count,
                            bool is_negated)
{
    struct expr *e = expr_create(c, EXPR_SET, 0);
    struct char_range *own = compile_allocate(c, (size_t)count + 1, sizeof *own);
    if (e == NULL || own == NULL)
        return NULL;
    if (count > 0)
        memcpy(own, ranges, count * sizeof *own);
    count = join_ranges(own, count);
    if (is_negated) {
        /* The gap before range i is written at or before i, after i was read. */
        count = negate_ranges(own, count);
    }
    e->ranges = own;
    e->count = count;
    e->size = 2;
    if (count == 0)
        e->kind = EXPR_NONE;
    return e;
}

const struct expr *expr_range(struct compile *c, uint32_t low, uint32_t high)
{
    struct char_range range = {low, high};
    return expr_set(c, &range, 1, false);
}

const struct expr *expr_sequence(struct compile *c, const struct expr *const *items, uint32_t count)
{
    if (c->failed != STATUS_OK)
        return NULL;
    if (count == 1)
        return items[0];
    struct expr *e = expr_create_items(c, EXPR_SEQUENCE, count);
    for (uint32_t i = 0; e != NULL && i < count; i++) {
        e->items[i] = items[i];
        e->size = size_add(e->size, items[i]->size);
        if (items[i]->kind == EXPR_NONE)
            return items[i];
    }
    return e;
}

const struct expr *expr_join(struct compile *c, const struct expr *a, const struct expr *b,
                             const struct expr *d, const struct expr *e)
{
    const struct expr *items[] = {a, b, d, e};
    uint32_t count = 0;
    while (count < 4 && items[count] != NULL)
        count++;
    return expr_sequence(c, items, count);
}

const struct expr *expr_choice(struct compile *c, const struct expr *const *items, uint32_t count)
{
    if (c->failed != STATUS_OK)
        return NULL;
    struct expr *e = expr_create_items(c, EXPR_CHOICE, count);
    if (e == NULL)
        return NULL;
    e->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i]->kind == EXPR_NONE)
            continue;
        e->items[e->count++] = items[i];
        e->size = size_add(e->size, items[i]->size);
    }
    if (e->count == 1)
        return e->items[0];
    if (e->count == 0)
        e->kind = EXPR_NONE;
    return e;
}

const struct expr *expr_either(struct compile *c, const struct expr *a, const struct expr *b)
{
    const struct expr *items[] = {a, b};
    return expr_choice(c, items, 2);
}

const struct expr *expr_optional(struct compile *c, const struct expr *item)
{
    return expr_repeat(c, item, NULL, 0, 1);
}

const struct expr *expr_repeat(struct compile *c, const struct expr *item,
                               const struct expr *separator, uint32_t min, uint32_t max)
{
    if (c->failed != STATUS_OK)
        return NULL;
    if (item->kind == EXPR_NONE && min > 0)
        return item;
    if (max == 0 || item->kind == EXPR_NONE)
        return expr_word(c, "");
    struct expr *e = expr_create_items(c, EXPR_REPEAT, 2);
    if (e == NULL)
        return NULL;
    e->items[0] = item;
    e->items[1] = separator;
    e->count = separator != NULL ? 2 : 1;
    e->min = min;
    e->max = max;
    uint32_t copies = max != EXPR_UNBOUNDED ? max : min > 0 ? min : 1;
    uint32_t one = size_add(item->size, separator != NULL ? separator->size : 0);
    e->size = size_add(size_multiply(one, copies), 1);
    return e;
}

const struct expr *expr_rule(struct compile *c, uint32_t rule)
{
    if (c->failed != STATUS_OK)
        return NULL;
    struct expr *e = expr_create(c, EXPR_RULE, 0);
    if (e != NULL)
        e->rule = rule;
    return e;
}

const struct expr *expr_members(struct compile *c, const struct expr_members *members)
{
    if (c->failed != STATUS_OK)
        return NULL;
    uint32_t count = members->count;
    struct expr *e = expr_create_items(c, EXPR_MEMBERS, count + 2);
    bool *is_required = compile_allocate(c, count, sizeof *is_required);
    if (e == NULL || is_required == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        e->items[i] = members->items[i];
        is_required[i] = members->is_required[i];
        e->size = size_add(e->size, size_add(e->items[i]->size, members->separator->size));
    }
    e->items[count] = members->separator;
    e->items[count + 1] = members->tail;
    if (members->tail != NULL)
        e->size = size_add(e->size, size_add(members->tail->size, members->separator->size));
    e->is_required = is_required;
    return e;
}

const struct expr *expr_distinct(struct compile *c, const struct expr_distinct *distinct)
{
    if (c->failed != STATUS_OK)
        return NULL;
    uint32_t count = distinct->count;
    uint32_t max = distinct->max < count ? distinct->max : count;
    if (max < distinct->min)
        return expr_none(c);
    struct expr *e = expr_create_items(c, EXPR_DISTINCT, count + 1);
    if (e == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        e->items[i] = distinct->items[i];
        e->size = size_add(e->size, size_add(e->items[i]->size, distinct->separator->size));
    }
    e->items[count] = distinct->separator;
    e->size = size_multiply(e->size, distinct->is_ordered ? max : 1u << (count - 1));
    e->min = distinct->min;
    e->max = max;
    e->is_ordered = distinct->is_ordered;
    return e;
}

static bool items_are_nullable(const struct compile *c, const struct expr *e)
{
    for (uint32_t i = 0; i < e->count; i++) {
        bool is_nullable = expr_is_nullable(c, e->items[i]);
        if (is_nullable != (e->kind == EXPR_SEQUENCE))
            return is_nullable;
    }
    return e->kind == EXPR_SEQUENCE;
}

bool expr_is_nullable(const struct compile *c, const struct expr *e)
{
    switch (e->kind) {
    case EXPR_NONE:
    case EXPR_SET:
    case EXPR_MEMBERS:
    case EXPR_DISTINCT:
        return false;
    case EXPR_TEXT:
        return e->text.bytes == 0;
    case EXPR_SEQUENCE:
    case EXPR_CHOICE:
        return items_are_nullable(c, e);
    case EXPR_REPEAT:
        if (e->min == 0)
            return true;
        return expr_is_nullable(c, e->items[0]) &&
               (e->min == 1 || e->count == 1 || expr_is_nullable(c, e->items[1]));
    case EXPR_RULE:
        return c->rules[e->rule].is_nullable;
    case EXPR_AUTOMATON:
        break;
    }
    return automaton_is_nullable(e->automaton);
}

bool expr_list_add(struct compile *c, struct expr_list *list, const struct expr *item)
{
    list->items = compile_grow(c, list->items, list->count, &list->capacity, sizeof *list->items);
    if (list->items == NULL || item == NULL)
        return false;
    list->items[list->count++] = item;
    return true;
}

const struct expr *expr_automaton(struct compile *c, const struct automaton *automaton)
{
    if (c->failed != STATUS_OK)
        return NULL;
    struct expr *e = expr_create(c, EXPR_AUTOMATON, 0);
    if (e == NULL)
        return NULL;
    e->automaton = automaton;
    e->size = automaton->state_count;
    return e;
}
