#include "jinja_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INDEX_FROM 16u /* smaller dicts are searched one by one */

void jinja_fail(struct jinja_state *s, const char *format, ...)
{
    if (s->failed != STATUS_OK)
        return;
    s->failed = STATUS_INVALID;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    error_note_set(s->note, "chat template, line %u: %s", s->line, text);
}

void jinja_fail_status(struct jinja_state *s, status reason, const char *what)
{
    if (s->failed != STATUS_OK)
        return;
    s->failed = reason;
    error_note_set(s->note, "chat template, line %u: %s", s->line, what);
}

bool jinja_spend(struct jinja_state *s, size_t steps)
{
    if (s->failed != STATUS_OK)
        return false;
    if (steps >= s->steps_max - s->steps) {
        jinja_fail_status(s, STATUS_TOO_LARGE, "the template takes too many steps");
        return false;
    }
    s->steps += steps;
    return true;
}

void *jinja_allocate(struct jinja_state *s, size_t count, size_t bytes)
{
    if (s->failed != STATUS_OK)
        return NULL;
    void *block = arena_allocate_array(s->memory, count, bytes);
    if (block == NULL) {
        bool at_ceiling = count * bytes > s->memory_max - arena_bytes(s->memory);
        jinja_fail_status(s, at_ceiling ? STATUS_TOO_LARGE : STATUS_NO_MEMORY,
                          "the template takes too much memory");
    }
    return block;
}

bool jinja_enter(struct jinja_state *s)
{
    if (++s->depth <= JINJA_DEPTH_MAX)
        return s->failed == STATUS_OK;
    jinja_fail_status(s, STATUS_TOO_LARGE, "nesting is too deep");
    return false;
}

struct value value_missing(struct jinja_state *s, struct text_slice name)
{
    struct value v = value_string(s, name, true);
    v.kind = VALUE_UNDEFINED;
    return s->failed == STATUS_OK ? v : value_undefined();
}

struct value value_list(struct jinja_state *s, enum value_kind kind, uint32_t count)
{
    struct list *list = jinja_allocate(s, 1, sizeof(*list));
    struct value *items = jinja_allocate(s, count, sizeof(*items));
    if (list == NULL || items == NULL || !jinja_spend(s, count / 4))
        return value_undefined();
    *list = (struct list){.items = items, .count = count, .name = ""};
    return (struct value){.kind = kind, .list = list};
}

struct value value_pair(struct jinja_state *s, struct value a, struct value b)
{
    struct value pair = value_list(s, VALUE_TUPLE, 2);
    if (pair.kind == VALUE_TUPLE) {
        pair.list->items[0] = a;
        pair.list->items[1] = b;
    }
    return pair;
}

void list_builder_add(struct list_builder *b, struct value item)
{
    if (b->state->failed != STATUS_OK)
        return;
    if (b->count == b->capacity) {
        if (b->count >= JINJA_ITEMS_MAX) {
            jinja_fail_status(b->state, STATUS_TOO_LARGE, "a list is too long");
            return;
        }
        uint32_t capacity = 2 * b->capacity + 8;
        struct value *items = jinja_allocate(b->state, capacity, sizeof(*items));
        if (items == NULL)
            return;
        if (b->count > 0)
            memcpy(items, b->items, b->count * sizeof(*items));
        b->items = items;
        b->capacity = capacity;
    }
    b->items[b->count++] = item;
}

struct value list_builder_value(struct list_builder *b, enum value_kind kind)
{
    struct value v = value_list(b->state, kind, 0);
    if (v.kind == kind && b->state->failed == STATUS_OK) {
        if (b->count > 0)
            v.list->items = b->items;
        v.list->count = b->count;
        jinja_spend(b->state, b->count / 4);
    }
    return v;
}

struct value value_dict(struct jinja_state *s, enum value_kind kind)
{
    struct dict *dict = jinja_allocate(s, 1, sizeof(*dict));
    return dict != NULL ? (struct value){.kind = kind, .dict = dict} : value_undefined();
}

/* The words that the API allows as a role (each request's roles are checked against them), and
 * those that templates put in their place. A fixed word is no way to smuggle text, and some
 * templates build control tokens around it. */
static bool is_known_role(const char *role)
{
    static const char *const roles[] = {"system", "user",      "assistant",
                                        "tool",   "developer", "function"};
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(role, roles[i]) == 0)
            return true;
    }
    return false;
}

static struct value dict_from_json(struct jinja_state *s, const json_t *json, bool known_roles)
{
    struct value v = value_dict(s, VALUE_DICT);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)json, key, item)
    {
        if (s->failed != STATUS_OK)
            break;
        struct value made = value_from_json(s, item, known_roles);
        if (known_roles && strcmp(key, "role") == 0 && json_is_string(item) &&
            is_known_role(json_string_value(item)))
            made = value_string(s, text_slice_of(json_string_value(item)), true);
        dict_put(s, v.dict, value_string(s, text_slice_of(key), false), made);
    }
    return v;
}

static struct value list_from_json(struct jinja_state *s, const json_t *json, bool known_roles)
{
    struct value v = value_list(s, VALUE_LIST, (uint32_t)json_array_size(json));
    for (uint32_t i = 0; s->failed == STATUS_OK && i < v.list->count; i++)
        v.list->items[i] = value_from_json(s, json_array_get(json, i), known_roles);
    return v;
}

struct value value_from_json(struct jinja_state *s, const json_t *json, bool known_roles)
{
    struct value v = value_none();
    if (!jinja_enter(s) || !jinja_spend(s, 1)) {
        jinja_leave(s);
        return v;
    }
    switch (json != NULL ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        v = dict_from_json(s, json, known_roles);
        break;
    case JSON_ARRAY:
        v = list_from_json(s, json, known_roles);
        break;
    case JSON_STRING:
        v = value_string(s, (struct text_slice){json_string_value(json), json_string_length(json)},
                         false);
        break;
    case JSON_INTEGER:
        v = value_int(json_integer_value(json));
        break;
    case JSON_REAL:
        v = value_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = value_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    jinja_leave(s);
    return v;
}

bool value_is(struct value v, const char *text)
{
    return value_is_string(v) && text_slice_is(text_slice_from(v.text), text);
}

bool value_truth(struct value v)
{
    switch (v.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v.boolean;
    case VALUE_INT:
        return v.integer != 0;
    case VALUE_FLOAT:
        return v.real != 0;
    case VALUE_STRING:
        return v.text->bytes > 0;
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_VIEW:
    case VALUE_RANGE:
        return v.list->count > 0;
    case VALUE_DICT:
        return v.dict->count > 0;
    default:
        return true;
    }
}

static bool lists_equal(struct jinja_state *s, const struct list *a, const struct list *b)
{
    if (a->count != b->count || !jinja_spend(s, a->count))
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!value_equals(s, a->items[i], b->items[i]))
            return false;
    }
    return true;
}

static bool dicts_equal(struct jinja_state *s, const struct dict *a, const struct dict *b)
{
    if (a->count != b->count || !jinja_spend(s, a->count))
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct value *other = dict_find(s, b, a->keys[i]);
        if (other == NULL || !value_equals(s, a->values[i], *other))
            return false;
    }
    return true;
}

bool value_equals(struct jinja_state *s, struct value a, struct value b)
{
    if (value_is_integer(a) && value_is_integer(b))
        return value_integer(a) == value_integer(b);
    if (value_is_number(a) && value_is_number(b))
        return value_real(a) == value_real(b);
    if (a.kind != b.kind)
        return false;
    if (!jinja_enter(s)) {
        jinja_leave(s);
        return false;
    }
    bool equal = false;
    switch (a.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        equal = true;
        break;
    case VALUE_STRING:
        jinja_spend(s, a.text->bytes / 64);
        equal = text_slice_equals(text_slice_from(a.text), text_slice_from(b.text));
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_RANGE:
        equal = lists_equal(s, a.list, b.list);
        break;
    case VALUE_DICT:
        equal = dicts_equal(s, a.dict, b.dict);
        break;
    default:
        equal = a.list == b.list; /* identity */
        break;
    }
    jinja_leave(s);
    return equal;
}

static int compare_texts(const struct text *a, const struct text *b)
{
    size_t shared = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = shared > 0 ? memcmp(a->data, b->data, shared) : 0;
    if (order != 0)
        return order < 0 ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int compare_lists(struct jinja_state *s, const struct list *a, const struct list *b)
{
    for (uint32_t i = 0; i < a->count && i < b->count && jinja_spend(s, 1); i++) {
        if (!value_equals(s, a->items[i], b->items[i]))
            return value_compare(s, a->items[i], b->items[i]);
    }
    return (a->count > b->count) - (a->count < b->count);
}

int value_compare(struct jinja_state *s, struct value a, struct value b)
{
    if (value_is_integer(a) && value_is_integer(b))
        return (value_integer(a) > value_integer(b)) - (value_integer(a) < value_integer(b));
    if (value_is_number(a) && value_is_number(b))
        return (value_real(a) > value_real(b)) - (value_real(a) < value_real(b));
    if (value_is_string(a) && value_is_string(b)) {
        jinja_spend(s, a.text->bytes / 64);
        return compare_texts(a.text, b.text);
    }
    if (a.kind == b.kind && (a.kind == VALUE_LIST || a.kind == VALUE_TUPLE)) {
        int order = jinja_enter(s) ? compare_lists(s, a.list, b.list) : 0;
        jinja_leave(s);
        return order;
    }
    jinja_fail(s, "'<' not supported between '%s' and '%s'", value_type_name(a),
               value_type_name(b));
    return 0;
}

size_t value_length(struct jinja_state *s, struct value v)
{
    switch (v.kind) {
    case VALUE_UNDEFINED:
        return 0;
    case VALUE_STRING:
        jinja_spend(s, v.text->bytes / 64);
        return text_length(v.text);
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_VIEW:
    case VALUE_RANGE:
        return v.list->count;
    case VALUE_DICT:
        return v.dict->count;
    default:
        jinja_fail(s, "object of type '%s' has no len()", value_type_name(v));
        return 0;
    }
}

bool value_contains(struct jinja_state *s, struct value container, struct value item)
{
    if (value_is_string(container)) {
        if (!value_is_string(item)) {
            jinja_fail(s, "'in <string>' requires string as left operand, not %s",
                       value_type_name(item));
            return false;
        }
        jinja_spend(s, container.text->bytes / 64);
        return text_find(text_slice_from(container.text), text_slice_from(item.text), 0) !=
               SIZE_MAX;
    }
    if (container.kind == VALUE_DICT) {
        if (item.kind == VALUE_LIST || item.kind == VALUE_DICT)
            jinja_fail(s, "unhashable type: '%s'", value_type_name(item));
        return dict_find(s, container.dict, item) != NULL;
    }
    struct value items = value_iterate(s, container);
    for (uint32_t i = 0; s->failed == STATUS_OK && i < items.list->count && jinja_spend(s, 1);
         i++) {
        if (value_equals(s, items.list->items[i], item))
            return true;
    }
    return false;
}

static struct value characters_of(struct jinja_state *s, const struct text *text)
{
    struct list_builder builder = {.state = s};
    uint32_t character;
    for (size_t at = 0; at < text->bytes && jinja_spend(s, 1);) {
        size_t bytes = text_character(text, at, &character);
        list_builder_add(&builder, text_part(s, text, at, at + bytes));
        at += bytes;
    }
    return list_builder_value(&builder, VALUE_LIST);
}

struct value value_iterate(struct jinja_state *s, struct value v)
{
    struct value items = value_undefined();
    switch (v.kind) {
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_VIEW:
    case VALUE_RANGE:
        return v;
    case VALUE_ITERATOR:
        items = value_list(s, VALUE_LIST, 0);
        if (items.kind == VALUE_LIST) {
            items.list->items = v.list->items + v.list->taken;
            items.list->count = v.list->count - v.list->taken;
            v.list->taken = v.list->count;
        }
        return items;
    case VALUE_UNDEFINED:
        return value_list(s, VALUE_LIST, 0);
    case VALUE_STRING:
        return characters_of(s, v.text);
    case VALUE_DICT:
        items = value_list(s, VALUE_LIST, 0);
        if (items.kind == VALUE_LIST) {
            items.list->items = v.dict->keys;
            items.list->count = v.dict->count;
        }
        return items;
    default:
        jinja_fail(s, "'%s' object is not iterable", value_type_name(v));
        return items;
    }
}

const char *value_type_name(struct value v)
{
    static const char *const names[] = {
        [VALUE_UNDEFINED] = "Undefined", [VALUE_NONE] = "NoneType",
        [VALUE_BOOL] = "bool",           [VALUE_INT] = "int",
        [VALUE_FLOAT] = "float",         [VALUE_STRING] = "str",
        [VALUE_LIST] = "list",           [VALUE_TUPLE] = "tuple",
        [VALUE_VIEW] = "dict_items",     [VALUE_RANGE] = "range",
        [VALUE_ITERATOR] = "generator",  [VALUE_DICT] = "dict",
        [VALUE_NAMESPACE] = "Namespace", [VALUE_MACRO] = "Macro",
        [VALUE_FUNCTION] = "function",   [VALUE_METHOD] = "method",
        [VALUE_LOOP] = "LoopContext",    [VALUE_CYCLER] = "Cycler",
        [VALUE_JOINER] = "Joiner",
    };
    return names[v.kind];
}

static uint32_t hash_text(const struct jinja_state *s, const struct text *text)
{
    return (uint32_t)hash64(&s->key, text->data, text->bytes);
}

static bool index_build(struct jinja_state *s, struct dict *d)
{
    uint32_t slots = 4 * INDEX_FROM;
    while (slots < 3 * d->capacity)
        slots *= 2;
    d->index = jinja_allocate(s, slots, sizeof(*d->index));
    if (d->index == NULL)
        return false;
    d->index_mask = slots - 1;
    for (uint32_t i = 0; i < d->count; i++) {
        if (!value_is_string(d->keys[i]))
            continue;
        uint32_t at = hash_text(s, d->keys[i].text) & d->index_mask;
        while (d->index[at] != 0)
            at = (at + 1) & d->index_mask;
        d->index[at] = i + 1;
    }
    return true;
}

static uint32_t find_position(struct jinja_state *s, const struct dict *d, struct value key)
{
    if (d->index != NULL && value_is_string(key)) {
        uint32_t at = hash_text(s, key.text) & d->index_mask;
        for (; d->index[at] != 0; at = (at + 1) & d->index_mask) {
            uint32_t position = d->index[at] - 1;
            if (text_slice_equals(text_slice_from(d->keys[position].text),
                                  text_slice_from(key.text)))
                return position;
        }
        return d->count;
    }
    uint32_t position = 0;
    while (position < d->count && !value_equals(s, d->keys[position], key))
        position++;
    jinja_spend(s, position / 8);
    return position;
}

const struct value *dict_find(struct jinja_state *s, const struct dict *d, struct value key)
{
    uint32_t position = find_position(s, d, key);
    return position < d->count ? &d->values[position] : NULL;
}

const struct value *dict_find_text(struct jinja_state *s, const struct dict *d, const char *key)
{
    struct text text = {.data = key, .bytes = strlen(key)};
    return dict_find(s, d, (struct value){.kind = VALUE_STRING, .text = &text});
}

static bool dict_grow(struct jinja_state *s, struct dict *d)
{
    if (d->count >= JINJA_ITEMS_MAX) {
        jinja_fail_status(s, STATUS_TOO_LARGE, "a dict is too large");
        return false;
    }
    uint32_t capacity = d->capacity * 2 + 4;
    struct value *keys = jinja_allocate(s, capacity, sizeof(*keys));
    struct value *values = jinja_allocate(s, capacity, sizeof(*values));
    if (keys == NULL || values == NULL)
        return false;
    if (d->count > 0) {
        memcpy(keys, d->keys, d->count * sizeof(*keys));
        memcpy(values, d->values, d->count * sizeof(*values));
    }
    d->keys = keys;
    d->values = values;
    d->capacity = capacity;
    return capacity <= INDEX_FROM || index_build(s, d);
}

void dict_put(struct jinja_state *s, struct dict *d, struct value key, struct value item)
{
    if (s->failed != STATUS_OK)
        return;
    uint32_t position = find_position(s, d, key);
    if (position < d->count) {
        d->values[position] = item;
        return;
    }
    if (d->count == d->capacity && !dict_grow(s, d))
        return;
    d->keys[d->count] = key;
    d->values[d->count++] = item;
    if (d->index == NULL || !value_is_string(key))
        return;
    uint32_t at = hash_text(s, key.text) & d->index_mask;
    while (d->index[at] != 0)
        at = (at + 1) & d->index_mask;
    d->index[at] = d->count;
}
