/* Filters that walk over lists. Those that are generators in jinja2 give a VALUE_ITERATOR: it has
 * no length, prints as nothing a template could want, and can be walked over once. */

#include "jinja_filters.h"

/* The subject's items; an empty list after a failure. */
static struct list subject_items(struct call *c)
{
    struct value items = value_iterate(c->state, c->subject);
    return c->state->failed == STATUS_OK ? *items.list : (struct list){0};
}

static struct value lower_key(struct call *c, struct value v, bool case_sensitive)
{
    return value_is_string(v) && !case_sensitive ? text_change_case(c->state, v.text, CASE_LOWER)
                                                 : v;
}

/* What a list is sorted, grouped or compared by: an attribute path if given, without case unless
 * asked. */
static struct value key_of(struct call *c, struct value item, struct value attribute,
                           bool case_sensitive)
{
    struct value v = attribute.kind == VALUE_NONE
                         ? item
                         : value_path(c->state, item, attribute, value_undefined());
    return lower_key(c, v, case_sensitive);
}

/* sort's attribute may name several, "a,b": then the key is a list. */
static struct value sort_key(struct call *c, struct value item, struct value attribute,
                             bool case_sensitive)
{
    if (!value_is_string(attribute) ||
        text_find(text_slice_from(attribute.text), text_slice_of(","), 0) == SIZE_MAX)
        return key_of(c, item, attribute, case_sensitive);
    struct list_builder keys = {.state = c->state};
    for (size_t at = 0; at <= attribute.text->bytes && c->state->failed == STATUS_OK;) {
        size_t comma = text_find(text_slice_from(attribute.text), text_slice_of(","), at);
        size_t end = comma == SIZE_MAX ? attribute.text->bytes : comma;
        list_builder_add(
            &keys, key_of(c, item, text_part(c->state, attribute.text, at, end), case_sensitive));
        at = end + 1;
    }
    return list_builder_value(&keys, VALUE_LIST);
}

static struct value sorted_by(struct call *c, const struct list *items, struct value attribute,
                              bool case_sensitive, bool reverse)
{
    struct value *keys = jinja_allocate(c->state, items->count, sizeof(*keys));
    for (uint32_t i = 0; i < items->count && jinja_spend(c->state, 1); i++)
        keys[i] = sort_key(c, items->items[i], attribute, case_sensitive);
    return c->state->failed == STATUS_OK
               ? list_sorted(c->state, items->items, keys, items->count, reverse)
               : value_undefined();
}

struct value filter_sort(struct call *c)
{
    struct list items = subject_items(c);
    return sorted_by(c, &items, call_argument(c, 2, value_none()),
                     value_truth(call_argument(c, 1, value_bool(false))),
                     value_truth(call_argument(c, 0, value_bool(false))));
}

struct value filter_dictsort(struct call *c)
{
    struct value by = call_argument(c, 1, value_string(c->state, text_slice_of("key"), true));
    if (c->subject.kind != VALUE_DICT || (!value_is(by, "key") && !value_is(by, "value"))) {
        jinja_fail(c->state, "dictsort() takes a dict, by 'key' or 'value'");
        return value_undefined();
    }
    const struct dict *dict = c->subject.dict;
    struct value pairs = value_list(c->state, VALUE_LIST, dict->count);
    for (uint32_t i = 0; i < dict->count && jinja_spend(c->state, 1); i++)
        pairs.list->items[i] = value_pair(c->state, dict->keys[i], dict->values[i]);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    return sorted_by(c, pairs.list, value_int(value_is(by, "value")),
                     value_truth(call_argument(c, 0, value_bool(false))),
                     value_truth(call_argument(c, 2, value_bool(false))));
}

struct value filter_groupby(struct call *c)
{
    struct list items = subject_items(c);
    struct value attribute = c->arguments[0], otherwise = call_argument(c, 1, value_undefined());
    bool case_sensitive = value_truth(call_argument(c, 2, value_bool(false)));
    struct value *keys = jinja_allocate(c->state, items.count, sizeof(*keys));
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++)
        keys[i] = lower_key(c, value_path(c->state, items.items[i], attribute, otherwise),
                            case_sensitive);
    struct value sorted = c->state->failed == STATUS_OK
                              ? list_sorted(c->state, items.items, keys, items.count, false)
                              : value_undefined();
    struct list_builder groups = {.state = c->state};
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < items.count;) {
        struct list_builder group = {.state = c->state};
        struct value grouper = value_path(c->state, sorted.list->items[i], attribute, otherwise);
        struct value key = lower_key(c, grouper, case_sensitive);
        do
            list_builder_add(&group, sorted.list->items[i++]);
        while (i < items.count && jinja_spend(c->state, 1) &&
               value_equals(
                   c->state, key,
                   lower_key(c, value_path(c->state, sorted.list->items[i], attribute, otherwise),
                             case_sensitive)));
        struct value pair = value_pair(c->state, grouper, list_builder_value(&group, VALUE_LIST));
        if (pair.kind == VALUE_TUPLE)
            pair.list->name = "group";
        list_builder_add(&groups, pair);
    }
    return list_builder_value(&groups, VALUE_LIST);
}

struct value filter_unique(struct call *c)
{
    struct list items = subject_items(c);
    bool case_sensitive = value_truth(call_argument(c, 0, value_bool(false)));
    struct value attribute = call_argument(c, 1, value_none()),
                 seen = value_dict(c->state, VALUE_DICT);
    struct list_builder kept = {.state = c->state};
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++) {
        struct value key = key_of(c, items.items[i], attribute, case_sensitive);
        if (key.kind == VALUE_LIST || key.kind == VALUE_DICT)
            jinja_fail(c->state, "unhashable type: '%s'", value_type_name(key));
        if (c->state->failed != STATUS_OK || dict_find(c->state, seen.dict, key) != NULL)
            continue;
        dict_put(c->state, seen.dict, key, value_none());
        list_builder_add(&kept, items.items[i]);
    }
    return list_builder_value(&kept, VALUE_ITERATOR);
}

static struct value extreme(struct call *c, int sign)
{
    struct list items = subject_items(c);
    bool case_sensitive = value_truth(call_argument(c, 0, value_bool(false)));
    struct value attribute = call_argument(c, 1, value_none()), best = value_undefined(),
                 best_key = best;
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++) {
        struct value key = key_of(c, items.items[i], attribute, case_sensitive);
        if (i > 0 && sign * value_compare(c->state, key, best_key) <= 0)
            continue;
        best = items.items[i];
        best_key = key;
    }
    return best;
}

struct value filter_min(struct call *c)
{
    return extreme(c, -1);
}

struct value filter_max(struct call *c)
{
    return extreme(c, 1);
}

struct value filter_sum(struct call *c)
{
    struct list items = subject_items(c);
    struct value attribute = call_argument(c, 0, value_none()),
                 sum = call_argument(c, 1, value_int(0));
    if (value_is_string(sum))
        jinja_fail(c->state, "sum() cannot sum strings");
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++)
        sum = value_add(c->state, sum,
                        attribute.kind == VALUE_NONE
                            ? items.items[i]
                            : value_path(c->state, items.items[i], attribute, value_undefined()));
    return sum;
}

struct value filter_first(struct call *c)
{
    if (c->subject.kind == VALUE_ITERATOR) {
        struct list *list = c->subject.list;
        return list->taken < list->count ? list->items[list->taken++] : value_undefined();
    }
    struct list items = subject_items(c);
    return items.count > 0 ? items.items[0] : value_undefined();
}

struct value filter_last(struct call *c)
{
    if (c->subject.kind == VALUE_ITERATOR)
        jinja_fail(c->state, "'generator' object is not reversible");
    struct list items = subject_items(c);
    return items.count > 0 ? items.items[items.count - 1] : value_undefined();
}

struct value filter_list(struct call *c)
{
    struct value copy = value_iterate(c->state, c->subject);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    struct value v = value_list(c->state, VALUE_LIST, 0);
    if (v.kind == VALUE_LIST)
        *v.list = (struct list){.items = copy.list->items, .count = copy.list->count, .name = ""};
    return v;
}

struct value filter_reverse(struct call *c)
{
    struct list items = subject_items(c);
    struct value v = value_list(c->state, VALUE_LIST, items.count);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    for (uint32_t i = 0; i < items.count; i++)
        v.list->items[i] = items.items[items.count - 1 - i];
    static const struct text nothing = {.data = "", .trusted = true};
    if (value_is_string(c->subject))
        return text_join(c->state, &nothing, v.list);
    /* What Python's reversed() refuses becomes a list. */
    bool is_list = c->subject.kind == VALUE_ITERATOR || c->subject.kind == VALUE_UNDEFINED;
    v.kind = is_list ? VALUE_LIST : VALUE_ITERATOR;
    return v;
}

struct value filter_items(struct call *c)
{
    if (c->subject.kind != VALUE_DICT && c->subject.kind != VALUE_UNDEFINED) {
        jinja_fail(c->state, "Can only get item pairs from a mapping.");
        return value_undefined();
    }
    struct list_builder pairs = {.state = c->state};
    for (uint32_t i = 0;
         c->subject.kind == VALUE_DICT && i < c->subject.dict->count && jinja_spend(c->state, 1);
         i++)
        list_builder_add(
            &pairs, value_pair(c->state, c->subject.dict->keys[i], c->subject.dict->values[i]));
    return list_builder_value(&pairs, VALUE_ITERATOR);
}

struct value filter_join(struct call *c)
{
    static const struct text nothing = {.data = "", .trusted = true};
    struct value attribute = call_argument(c, 1, value_none());
    const struct text *separator = c->given[0] ? value_text(c->state, c->arguments[0]) : &nothing;
    struct list items = subject_items(c);
    if (attribute.kind != VALUE_NONE) {
        struct value *values = jinja_allocate(c->state, items.count, sizeof(*values));
        for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++)
            values[i] = value_path(c->state, items.items[i], attribute, value_undefined());
        items.items = values;
    }
    return c->state->failed == STATUS_OK ? text_join(c->state, separator, &items)
                                         : value_undefined();
}

/* map('filter', ...) or map(attribute='a.b', default=...) */
struct value filter_map(struct call *c)
{
    if (!value_truth(c->subject)) /* not even looked at, as in jinja2 */
        return value_list(c->state, VALUE_ITERATOR, 0);
    struct list items = subject_items(c);
    struct list_builder mapped = {.state = c->state};
    const struct value *attribute = NULL, *otherwise = NULL;
    if (c->count == 0 && c->named != NULL) {
        attribute = dict_find_text(c->state, c->named, "attribute");
        otherwise = dict_find_text(c->state, c->named, "default");
        if (attribute == NULL || c->named->count != (otherwise != NULL ? 2u : 1u))
            jinja_fail(c->state, "map() takes a filter, or attribute= and default=");
    } else if (c->count == 0) {
        jinja_fail(c->state, "map requires a filter argument");
    }
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++)
        list_builder_add(&mapped,
                         attribute != NULL
                             ? value_path(c->state, items.items[i], *attribute,
                                          otherwise != NULL ? *otherwise : value_undefined())
                             : call_filter_by_name(c, c->items[0], items.items[i], 1));
    return list_builder_value(&mapped, VALUE_ITERATOR);
}

/* select, reject: `by_attribute` 0; selectattr, rejectattr: 1. */
static struct value pick(struct call *c, uint32_t by_attribute, bool wanted)
{
    if (!value_truth(c->subject))
        return value_list(c->state, VALUE_ITERATOR, 0);
    struct list items = subject_items(c);
    struct list_builder kept = {.state = c->state};
    if (c->count < by_attribute)
        jinja_fail(c->state, "Missing parameter for attribute name");
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i++) {
        struct value v = items.items[i];
        if (by_attribute)
            v = value_path(c->state, v, c->items[0], value_undefined());
        bool passes = c->count > by_attribute
                          ? call_test_by_name(c, c->items[by_attribute], v, by_attribute + 1)
                          : value_truth(v);
        if (passes == wanted)
            list_builder_add(&kept, items.items[i]);
    }
    return list_builder_value(&kept, VALUE_ITERATOR);
}

struct value filter_select(struct call *c)
{
    return pick(c, 0, true);
}

struct value filter_reject(struct call *c)
{
    return pick(c, 0, false);
}

struct value filter_selectattr(struct call *c)
{
    return pick(c, 1, true);
}

struct value filter_rejectattr(struct call *c)
{
    return pick(c, 1, false);
}

/* A positive number of lists or items, or a failure. */
static uint32_t positive_count(struct call *c)
{
    struct value count = c->arguments[0];
    if (value_is_integer(count) && value_integer(count) > 0 &&
        value_integer(count) <= (int64_t)JINJA_RANGE_MAX)
        return (uint32_t)value_integer(count);
    jinja_fail(c->state, "expected a positive count");
    return 1;
}

struct value filter_batch(struct call *c)
{
    struct list items = subject_items(c);
    uint32_t width = positive_count(c);
    struct list_builder rows = {.state = c->state};
    for (uint32_t i = 0; i < items.count && jinja_spend(c->state, 1); i += width) {
        struct list_builder row = {.state = c->state};
        for (uint32_t k = i; k < i + width && k < items.count; k++)
            list_builder_add(&row, items.items[k]);
        while (row.count < width && c->given[1] && c->arguments[1].kind != VALUE_NONE &&
               jinja_spend(c->state, 1))
            list_builder_add(&row, c->arguments[1]);
        list_builder_add(&rows, list_builder_value(&row, VALUE_LIST));
    }
    return list_builder_value(&rows, VALUE_ITERATOR);
}

struct value filter_slice(struct call *c)
{
    struct list items = subject_items(c);
    uint32_t columns = positive_count(c), at = 0;
    struct list_builder rows = {.state = c->state};
    for (uint32_t i = 0; i < columns && jinja_spend(c->state, 1); i++) {
        uint32_t wide = items.count % columns;
        uint32_t width = items.count / columns + (i < wide);
        struct list_builder row = {.state = c->state};
        for (uint32_t k = 0; k < width; k++)
            list_builder_add(&row, items.items[at++]);
        if (c->given[1] && c->arguments[1].kind != VALUE_NONE && i >= wide)
            list_builder_add(&row, c->arguments[1]);
        list_builder_add(&rows, list_builder_value(&row, VALUE_LIST));
    }
    return list_builder_value(&rows, VALUE_ITERATOR);
}
