/* Methods of strings and dicts. Those that would change a value are known only to be refused, as
 * the immutable sandbox of jinja2 does. */
#include <string.h>

#include "jinja_functions.h"

static const struct text *text_argument(struct call *c, uint32_t at)
{
    struct value v = call_argument(c, at, value_none());
    if (v.kind == VALUE_NONE)
        return NULL;
    if (!value_is_string(v)) {
        jinja_fail(c->state, "expected a str, not %s", value_type_name(v));
        return NULL;
    }
    return v.text;
}

static int64_t integer_argument(struct call *c, uint32_t at, int64_t otherwise)
{
    struct value v = call_argument(c, at, value_int(otherwise));
    if (!value_is_integer(v))
        jinja_fail(c->state, "expected an int, not %s", value_type_name(v));
    return value_is_integer(v) ? value_integer(v) : otherwise;
}

static struct value run_strip(struct call *c)
{
    return text_strip(c->state, c->subject.text, text_argument(c, 0), true, true);
}

static struct value run_lstrip(struct call *c)
{
    return text_strip(c->state, c->subject.text, text_argument(c, 0), true, false);
}

static struct value run_rstrip(struct call *c)
{
    return text_strip(c->state, c->subject.text, text_argument(c, 0), false, true);
}

static struct value run_upper(struct call *c)
{
    return text_change_case(c->state, c->subject.text, CASE_UPPER);
}

static struct value run_lower(struct call *c)
{
    return text_change_case(c->state, c->subject.text, CASE_LOWER);
}

static struct value run_title(struct call *c)
{
    return text_change_case(c->state, c->subject.text, CASE_TITLE);
}

static struct value run_capitalize(struct call *c)
{
    return text_change_case(c->state, c->subject.text, CASE_CAPITALIZE);
}

static struct value run_swapcase(struct call *c)
{
    return text_change_case(c->state, c->subject.text, CASE_SWAP);
}

/* split() without separator: words between white space. */
static struct value split_words(struct jinja_state *s, const struct text *text, int64_t count_max)
{
    struct list_builder words = {.state = s};
    uint32_t c;
    for (size_t at = 0; jinja_spend(s, 1);) {
        size_t bytes;
        for (; at < text->bytes; at += bytes) {
            bytes = text_character(text, at, &c);
            if (!character_is_space(c))
                break;
        }
        if (at >= text->bytes)
            break;
        if (count_max >= 0 && words.count >= count_max) {
            list_builder_add(&words, text_part(s, text, at, text->bytes));
            break;
        }
        size_t start = at;
        for (; at < text->bytes; at += bytes) {
            bytes = text_character(text, at, &c);
            if (character_is_space(c))
                break;
        }
        list_builder_add(&words, text_part(s, text, start, at));
    }
    return list_builder_value(&words, VALUE_LIST);
}

static struct value run_split(struct call *c)
{
    const struct text *text = c->subject.text, *separator = text_argument(c, 0);
    int64_t count_max = integer_argument(c, 1, -1);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    if (separator == NULL)
        return split_words(c->state, text, count_max);
    if (separator->bytes == 0) {
        jinja_fail(c->state, "empty separator");
        return value_undefined();
    }
    struct list_builder parts = {.state = c->state};
    size_t at = 0;
    while (jinja_spend(c->state, 1)) {
        size_t found = count_max >= 0 && parts.count >= count_max
                           ? SIZE_MAX
                           : text_find(text_slice_from(text), text_slice_from(separator), at);
        list_builder_add(&parts,
                         text_part(c->state, text, at, found == SIZE_MAX ? text->bytes : found));
        if (found == SIZE_MAX)
            break;
        at = found + separator->bytes;
    }
    return list_builder_value(&parts, VALUE_LIST);
}

/* Last occurrence of `part` that ends at or before `end`; SIZE_MAX: none. */
static size_t find_last(const struct text *text, const struct text *part, size_t end)
{
    if (part->bytes > end)
        return SIZE_MAX;
    for (size_t at = end - part->bytes + 1; at-- > 0;) {
        if (memcmp(text->data + at, part->data, part->bytes) == 0)
            return at;
    }
    return SIZE_MAX;
}

static struct value run_rsplit(struct call *c)
{
    const struct text *text = c->subject.text, *separator = text_argument(c, 0);
    int64_t count_max = integer_argument(c, 1, -1);
    if (c->state->failed != STATUS_OK || count_max < 0)
        return run_split(c);
    if (separator == NULL || separator->bytes == 0) {
        jinja_fail(c->state, "rsplit() with a count needs a separator");
        return value_undefined();
    }
    struct list_builder parts = {.state = c->state};
    size_t end = text->bytes;
    while (jinja_spend(c->state, 1)) {
        size_t found = parts.count >= count_max ? SIZE_MAX : find_last(text, separator, end);
        list_builder_add(&parts, text_part(c->state, text,
                                           found == SIZE_MAX ? 0 : found + separator->bytes, end));
        if (found == SIZE_MAX)
            break;
        end = found;
    }
    for (uint32_t i = 0; i < parts.count / 2; i++) {
        struct value last = parts.items[parts.count - 1 - i];
        parts.items[parts.count - 1 - i] = parts.items[i];
        parts.items[i] = last;
    }
    return list_builder_value(&parts, VALUE_LIST);
}

static struct value run_splitlines(struct call *c)
{
    const struct text *text = c->subject.text;
    bool keep_ends = value_truth(call_argument(c, 0, value_bool(false)));
    struct list_builder lines = {.state = c->state};
    size_t start = 0;
    uint32_t character;
    for (size_t at = 0; at < text->bytes && c->state->failed == STATUS_OK;) {
        size_t end = at, bytes = text_character(text, at, &character);
        at += bytes;
        if (!character_is_line_end(character))
            continue;
        if (character == '\r' && at < text->bytes && text->data[at] == '\n')
            at++;
        list_builder_add(&lines, text_part(c->state, text, start, keep_ends ? at : end));
        start = at;
    }
    if (start < text->bytes)
        list_builder_add(&lines, text_part(c->state, text, start, text->bytes));
    return list_builder_value(&lines, VALUE_LIST);
}

static bool has_affix(const struct text *text, const struct text *affix, bool at_end)
{
    return affix->bytes <= text->bytes &&
           memcmp(text->data + (at_end ? text->bytes - affix->bytes : 0), affix->data,
                  affix->bytes) == 0;
}

static struct value test_affix(struct call *c, bool at_end)
{
    struct value affix = c->arguments[0];
    if (value_is_string(affix))
        return value_bool(has_affix(c->subject.text, affix.text, at_end));
    if (affix.kind != VALUE_TUPLE) {
        jinja_fail(c->state, "expected a str or a tuple of str");
        return value_undefined();
    }
    for (uint32_t i = 0; i < affix.list->count; i++) {
        if (!value_is_string(affix.list->items[i]))
            jinja_fail(c->state, "expected a tuple of str");
        else if (has_affix(c->subject.text, affix.list->items[i].text, at_end))
            return value_bool(true);
    }
    return value_bool(false);
}

static struct value run_startswith(struct call *c)
{
    return test_affix(c, false);
}

static struct value run_endswith(struct call *c)
{
    return test_affix(c, true);
}

static struct value remove_affix(struct call *c, bool at_end)
{
    const struct text *text = c->subject.text, *affix = text_argument(c, 0);
    if (affix == NULL || !has_affix(text, affix, at_end))
        return affix == NULL ? value_undefined() : c->subject;
    return at_end ? text_part(c->state, text, 0, text->bytes - affix->bytes)
                  : text_part(c->state, text, affix->bytes, text->bytes);
}

static struct value run_removeprefix(struct call *c)
{
    return remove_affix(c, false);
}

static struct value run_removesuffix(struct call *c)
{
    return remove_affix(c, true);
}

static struct value run_replace(struct call *c)
{
    const struct text *old = text_argument(c, 0), *new_text = text_argument(c, 1);
    int64_t count = integer_argument(c, 2, -1);
    if (old == NULL || new_text == NULL)
        jinja_fail(c->state, "replace() takes strings");
    return c->state->failed == STATUS_OK
               ? text_replace(c->state, c->subject.text, old, new_text, count)
               : value_undefined();
}

static struct value run_join(struct call *c)
{
    struct value items = value_iterate(c->state, c->arguments[0]);
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < items.list->count; i++) {
        if (!value_is_string(items.list->items[i]))
            jinja_fail(c->state, "sequence item %u: expected str, %s found", i,
                       value_type_name(items.list->items[i]));
    }
    return c->state->failed == STATUS_OK ? text_join(c->state, c->subject.text, items.list)
                                         : value_undefined();
}

/* Position in code points, -1: not there. */
static int64_t find_position(struct call *c, bool last)
{
    const struct text *text = c->subject.text, *part = text_argument(c, 0);
    if (part == NULL) {
        jinja_fail(c->state, "find() takes a str");
        return -1;
    }
    jinja_spend(c->state, text->bytes / 64);
    size_t from =
        text_offset(text, (size_t)(integer_argument(c, 1, 0) < 0 ? 0 : integer_argument(c, 1, 0)));
    size_t at = last ? find_last(text, part, text->bytes)
                     : text_find(text_slice_from(text), text_slice_from(part), from);
    struct text before = {.data = text->data, .bytes = at};
    return at == SIZE_MAX ? -1 : (int64_t)text_length(&before);
}

static struct value run_find(struct call *c)
{
    return value_int(find_position(c, false));
}

static struct value run_rfind(struct call *c)
{
    return value_int(find_position(c, true));
}

static struct value run_index(struct call *c)
{
    int64_t at = find_position(c, false);
    if (at < 0)
        jinja_fail(c->state, "substring not found");
    return value_int(at);
}

static struct value run_count(struct call *c)
{
    const struct text *text = c->subject.text, *part = text_argument(c, 0);
    if (part == NULL) {
        jinja_fail(c->state, "count() takes a str");
        return value_undefined();
    }
    if (part->bytes == 0)
        return value_int((int64_t)text_length(text) + 1);
    int64_t count = 0;
    size_t at = 0;
    while (jinja_spend(c->state, 1) &&
           (at = text_find(text_slice_from(text), text_slice_from(part), at)) != SIZE_MAX) {
        count++;
        at += part->bytes;
    }
    return value_int(count);
}

enum character_class {
    CLASS_DIGIT,
    CLASS_ALPHA,
    CLASS_ALNUM,
    CLASS_SPACE,
    CLASS_UPPER,
    CLASS_LOWER
};

/* is...() for ASCII and white space; other characters count as letters without case. */
static struct value test_characters(struct call *c, enum character_class class)
{
    const struct text *text = c->subject.text;
    bool has_cased = false;
    uint32_t character;
    for (size_t at = 0; at < text->bytes; at += text_character(text, at, &character)) {
        text_character(text, at, &character);
        bool digit = character >= '0' && character <= '9',
             lower = character >= 'a' && character <= 'z';
        bool upper = character >= 'A' && character <= 'Z', other = character >= 0x80;
        bool fits = (class == CLASS_DIGIT && digit) ||
                    (class == CLASS_ALPHA && (lower || upper || other)) ||
                    (class == CLASS_ALNUM && (digit || lower || upper || other)) ||
                    (class == CLASS_SPACE && character_is_space(character)) ||
                    (class == CLASS_UPPER && !lower) || (class == CLASS_LOWER && !upper);
        has_cased |= upper || lower;
        if (!fits)
            return value_bool(false);
    }
    return value_bool(class >= CLASS_UPPER ? has_cased : text->bytes > 0);
}

static struct value run_isdigit(struct call *c)
{
    return test_characters(c, CLASS_DIGIT);
}

static struct value run_isalpha(struct call *c)
{
    return test_characters(c, CLASS_ALPHA);
}

static struct value run_isalnum(struct call *c)
{
    return test_characters(c, CLASS_ALNUM);
}

static struct value run_isspace(struct call *c)
{
    return test_characters(c, CLASS_SPACE);
}

static struct value run_isupper(struct call *c)
{
    return test_characters(c, CLASS_UPPER);
}

static struct value run_islower(struct call *c)
{
    return test_characters(c, CLASS_LOWER);
}

static struct value partition(struct call *c, bool last)
{
    const struct text *text = c->subject.text, *separator = text_argument(c, 0);
    if (separator == NULL || separator->bytes == 0) {
        jinja_fail(c->state, "partition() takes a separator");
        return value_undefined();
    }
    size_t at = last ? find_last(text, separator, text->bytes)
                     : text_find(text_slice_from(text), text_slice_from(separator), 0);
    struct value parts = value_list(c->state, VALUE_TUPLE, 3);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    size_t first = at != SIZE_MAX ? at : last ? 0 : text->bytes;
    size_t second = at != SIZE_MAX ? at + separator->bytes : first;
    parts.list->items[0] = text_part(c->state, text, 0, first);
    parts.list->items[1] = text_part(c->state, text, first, second);
    parts.list->items[2] = text_part(c->state, text, second, text->bytes);
    return parts;
}

static struct value run_partition(struct call *c)
{
    return partition(c, false);
}

static struct value run_rpartition(struct call *c)
{
    return partition(c, true);
}

/* Dicts. */

static struct value run_get(struct call *c)
{
    if (c->arguments[0].kind == VALUE_LIST || c->arguments[0].kind == VALUE_DICT) {
        jinja_fail(c->state, "unhashable type: '%s'", value_type_name(c->arguments[0]));
        return value_undefined();
    }
    const struct value *found = dict_find(c->state, c->subject.dict, c->arguments[0]);
    return found != NULL ? *found : call_argument(c, 1, value_none());
}

static struct value view_of(struct call *c, const char *name, bool keys, bool values)
{
    const struct dict *dict = c->subject.dict;
    struct value view = value_list(c->state, VALUE_VIEW, dict->count);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    view.list->name = name;
    for (uint32_t i = 0; i < dict->count; i++)
        view.list->items[i] = keys && values ? value_pair(c->state, dict->keys[i], dict->values[i])
                              : keys         ? dict->keys[i]
                                             : dict->values[i];
    return view;
}

static struct value run_items(struct call *c)
{
    return view_of(c, "dict_items", true, true);
}

static struct value run_keys(struct call *c)
{
    return view_of(c, "dict_keys", true, false);
}

static struct value run_values(struct call *c)
{
    return view_of(c, "dict_values", false, true);
}

static struct value run_copy(struct call *c)
{
    return c->subject;
}

/* Lists. */

static struct value run_list_index(struct call *c)
{
    for (uint32_t i = 0; i < c->subject.list->count && jinja_spend(c->state, 1); i++) {
        if (value_equals(c->state, c->subject.list->items[i], c->arguments[0]))
            return value_int(i);
    }
    jinja_fail(c->state, "the value is not in the list");
    return value_undefined();
}

static struct value run_list_count(struct call *c)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < c->subject.list->count && jinja_spend(c->state, 1); i++)
        count += value_equals(c->state, c->subject.list->items[i], c->arguments[0]);
    return value_int(count);
}

/* cycler(...): next, current, reset. */

static struct value run_cycler_next(struct call *c)
{
    struct list *list = c->subject.list;
    struct value v = list->items[list->taken];
    list->taken = (list->taken + 1) % list->count;
    return v;
}

static struct value run_cycler_reset(struct call *c)
{
    c->subject.list->taken = 0;
    return value_none();
}

// clang-format off
static const struct method_entry string_methods[] = {
    {"strip", run_strip, {{"chars"}, 0, false}}, {"lstrip", run_lstrip, {{"chars"}, 0, false}},
    {"rstrip", run_rstrip, {{"chars"}, 0, false}}, {"upper", run_upper, {{NULL}, 0, false}},
    {"lower", run_lower, {{NULL}, 0, false}}, {"title", run_title, {{NULL}, 0, false}},
    {"capitalize", run_capitalize, {{NULL}, 0, false}}, {"swapcase", run_swapcase, {{NULL}, 0, false}},
    {"split", run_split, {{"sep", "maxsplit"}, 0, false}}, {"rsplit", run_rsplit, {{"sep", "maxsplit"}, 0, false}},
    {"splitlines", run_splitlines, {{"keepends"}, 0, false}},
    {"startswith", run_startswith, {{"prefix"}, 1, false}}, {"endswith", run_endswith, {{"suffix"}, 1, false}},
    {"removeprefix", run_removeprefix, {{"prefix"}, 1, false}}, {"removesuffix", run_removesuffix, {{"suffix"}, 1, false}},
    {"replace", run_replace, {{"old", "new", "count"}, 2, false}}, {"join", run_join, {{"iterable"}, 1, false}},
    {"find", run_find, {{"sub", "start"}, 1, false}}, {"rfind", run_rfind, {{"sub"}, 1, false}},
    {"index", run_index, {{"sub", "start"}, 1, false}}, {"count", run_count, {{"sub"}, 1, false}},
    {"isdigit", run_isdigit, {{NULL}, 0, false}}, {"isnumeric", run_isdigit, {{NULL}, 0, false}},
    {"isalpha", run_isalpha, {{NULL}, 0, false}}, {"isalnum", run_isalnum, {{NULL}, 0, false}},
    {"isspace", run_isspace, {{NULL}, 0, false}}, {"isupper", run_isupper, {{NULL}, 0, false}},
    {"islower", run_islower, {{NULL}, 0, false}}, {"partition", run_partition, {{"sep"}, 1, false}},
    {"rpartition", run_rpartition, {{"sep"}, 1, false}}, {"format", text_format_braces, {{NULL}, 0, true}},
    {NULL, NULL, {{NULL}, 0, false}},
};
static const struct method_entry dict_methods[] = {
    {"get", run_get, {{"key", "default"}, 1, false}}, {"items", run_items, {{NULL}, 0, false}},
    {"keys", run_keys, {{NULL}, 0, false}}, {"values", run_values, {{NULL}, 0, false}},
    {"copy", run_copy, {{NULL}, 0, false}}, {NULL, NULL, {{NULL}, 0, false}},
};
static const struct method_entry list_methods[] = {
    {"index", run_list_index, {{"value"}, 1, false}}, {"count", run_list_count, {{"value"}, 1, false}},
    {"copy", run_copy, {{NULL}, 0, false}}, {NULL, NULL, {{NULL}, 0, false}},
};
static const struct method_entry cycler_methods[] = {
    {"next", run_cycler_next, {{NULL}, 0, false}}, {"reset", run_cycler_reset, {{NULL}, 0, false}},
    {NULL, NULL, {{NULL}, 0, false}},
};
// clang-format on

static bool is_refused_name(struct value subject, struct text_slice name)
{
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    static const char *const of_list[] = {"append", "clear",  "pop",    "reverse", "insert",
                                          "sort",   "extend", "remove", NULL};
    const char *const *names = subject.kind == VALUE_DICT   ? of_dict
                               : subject.kind == VALUE_LIST ? of_list
                                                            : NULL;
    for (; names != NULL && *names != NULL; names++) {
        if (text_slice_is(name, *names))
            return true;
    }
    return false;
}

const struct method_entry *method_find(struct value subject, struct text_slice name,
                                       bool *is_refused)
{
    const struct method_entry *entry = subject.kind == VALUE_STRING   ? string_methods
                                       : subject.kind == VALUE_DICT   ? dict_methods
                                       : subject.kind == VALUE_LIST   ? list_methods
                                       : subject.kind == VALUE_CYCLER ? cycler_methods
                                                                      : NULL;
    *is_refused = is_refused_name(subject, name);
    for (; entry != NULL && entry->name != NULL; entry++) {
        if (text_slice_is(name, entry->name))
            return entry;
    }
    return NULL;
}
