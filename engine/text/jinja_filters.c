/* Filters on one value: texts, numbers, JSON. Those that walk over lists are in
 * jinja_list_filters.c. Rules: jinja2 3.1, filters.py; tojson as transformers defines it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_filters.h"

/* The subject's str(). */
static const struct text *subject_text(struct call *c)
{
    return value_text(c->state, c->subject);
}

static bool flag(const struct call *c, uint32_t at, bool otherwise)
{
    return value_truth(call_argument(c, at, value_bool(otherwise)));
}

static struct value filter_trim(struct call *c)
{
    struct value set = call_argument(c, 0, value_none());
    if (set.kind != VALUE_NONE && !value_is_string(set))
        jinja_fail(c->state, "trim() takes a str");
    return c->state->failed == STATUS_OK
               ? text_strip(c->state, subject_text(c), set.kind == VALUE_NONE ? NULL : set.text,
                            true, true)
               : value_undefined();
}

static struct value filter_upper(struct call *c)
{
    return text_change_case(c->state, subject_text(c), CASE_UPPER);
}

static struct value filter_lower(struct call *c)
{
    return text_change_case(c->state, subject_text(c), CASE_LOWER);
}

static struct value filter_title(struct call *c)
{
    return text_change_case(c->state, subject_text(c), CASE_TITLE_WORDS);
}

static struct value filter_capitalize(struct call *c)
{
    return text_change_case(c->state, subject_text(c), CASE_CAPITALIZE);
}

static struct value filter_string(struct call *c)
{
    return (struct value){.kind = VALUE_STRING, .text = subject_text(c)};
}

static struct value filter_replace(struct call *c)
{
    struct value count = call_argument(c, 2, value_none());
    if (count.kind != VALUE_NONE && !value_is_integer(count))
        jinja_fail(c->state, "replace() takes an int as count");
    const struct text *old = value_text(c->state, c->arguments[0]),
                      *new_text = value_text(c->state, c->arguments[1]);
    return text_replace(c->state, subject_text(c), old, new_text,
                        count.kind == VALUE_NONE ? -1 : value_integer(count));
}

static struct value filter_safe(struct call *c)
{
    struct text *copy = jinja_allocate(c->state, 1, sizeof(*copy));
    if (copy == NULL)
        return value_undefined();
    *copy = *subject_text(c);
    copy->is_markup = true;
    copy->block = NULL;
    return (struct value){.kind = VALUE_STRING, .text = copy};
}

static struct value filter_escape(struct call *c)
{
    static const char *const entities[256] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&#34;", ['\''] = "&#39;"};
    const struct text *text = subject_text(c);
    if (text->is_markup)
        return c->subject;
    struct text_builder b;
    text_builder_init(&b, c->state);
    for (size_t i = 0; i < text->bytes; i++) {
        const char *entity = entities[(uint8_t)text->data[i]];
        if (entity != NULL)
            text_builder_add(&b, entity, strlen(entity), text_trusted_at(text, i));
        else
            text_builder_add_part(&b, text, i, i + 1);
    }
    struct call safe = {.state = c->state, .subject = text_builder_value(&b)};
    return filter_safe(&safe);
}

/* indent(width=4, first=False, blank=False); width may be the text to put there. */
static struct value filter_indent(struct call *c)
{
    struct value width = call_argument(c, 0, value_int(4));
    bool first = flag(c, 1, false), blank = flag(c, 2, false);
    bool is_width =
        value_is_string(width) || (value_is_integer(width) && value_integer(width) <= 10000);
    if (!value_is_string(c->subject) || !is_width) {
        jinja_fail(c->state, "indent() works on a str and takes a width or a str");
        return value_undefined();
    }
    const struct text *text = subject_text(c);
    struct text_builder b;
    text_builder_init(&b, c->state);
    uint32_t character = 0;
    size_t start = 0;
    bool is_first = true, more = true;
    while (more && jinja_spend(c->state, 1)) {
        size_t end = start, bytes = 0;
        while (end < text->bytes) {
            bytes = text_character(text, end, &character);
            if (character_is_line_end(character))
                break;
            end += bytes;
        }
        bool indents = is_first ? first : blank || end > start;
        if (!is_first)
            text_builder_add(&b, "\n", 1, true);
        if (indents && value_is_string(width))
            text_builder_add_text(&b, width.text);
        for (int64_t i = 0; indents && !value_is_string(width) && i < value_integer(width); i++)
            text_builder_add(&b, " ", 1, true);
        text_builder_add_part(&b, text, start, end);
        more = end < text->bytes; /* the filter adds a newline before it splits, so a last empty
                                     line stays */
        if (more && character == '\r' && end + 1 < text->bytes && text->data[end + 1] == '\n')
            bytes = 2;
        start = end + bytes;
        is_first = false;
    }
    return text_builder_value(&b);
}

static struct value filter_length(struct call *c)
{
    return value_int((int64_t)value_length(c->state, c->subject));
}

static struct value filter_default(struct call *c)
{
    bool replaces =
        c->subject.kind == VALUE_UNDEFINED || (flag(c, 1, false) && !value_truth(c->subject));
    return replaces ? call_argument(c, 0, value_string(c->state, text_slice_of(""), true))
                    : c->subject;
}

/* Text as a number, as Python's int() or float() read it; false when it is none. */
static bool parse_number(struct call *c, const struct text *text, int base, struct value *out)
{
    char digits[64], *rest;
    size_t written = 0;
    struct value stripped = text_strip(c->state, text, NULL, true, true);
    if (stripped.kind != VALUE_STRING || stripped.text->bytes == 0 ||
        stripped.text->bytes >= sizeof(digits))
        return false;
    for (size_t i = 0; i < stripped.text->bytes; i++) {
        char byte = stripped.text->data[i];
        bool between = i > 0 && i + 1 < stripped.text->bytes && byte == '_' &&
                       stripped.text->data[i - 1] != '_';
        if (!between)
            digits[written++] = byte;
    }
    digits[written] = '\0';
    if (strpbrk(digits, " \t\n\v\f\r") != NULL || (base == 0 && strpbrk(digits, "xXpP") != NULL))
        return false;
    struct value v =
        base == 0 ? value_float(strtod(digits, &rest)) : value_int(strtoll(digits, &rest, base));
    if (*rest != '\0' || (base != 0 && (v.integer == INT64_MAX || v.integer == INT64_MIN)))
        return false;
    *out = v;
    return true;
}

static struct value filter_int(struct call *c)
{
    struct value otherwise = call_argument(c, 0, value_int(0)),
                 base = call_argument(c, 1, value_int(10));
    struct value v = c->subject;
    if (v.kind == VALUE_UNDEFINED)
        jinja_fail(c->state, "int() of an undefined value");
    if (value_is_string(v)) {
        if (value_is_integer(base) && value_integer(base) >= 2 && value_integer(base) <= 36 &&
            parse_number(c, v.text, (int)value_integer(base), &v))
            return v;
        if (!parse_number(c, v.text, 0, &v))
            return otherwise;
    }
    if (value_is_integer(v))
        return value_int(value_integer(v));
    if (v.kind != VALUE_FLOAT || isnan(v.real) || fabs(v.real) >= 9.2e18)
        return otherwise;
    return value_int((int64_t)v.real);
}

static struct value filter_float(struct call *c)
{
    struct value otherwise = call_argument(c, 0, value_float(0.0)), v = c->subject;
    if (v.kind == VALUE_UNDEFINED)
        jinja_fail(c->state, "float() of an undefined value");
    if (value_is_string(v))
        return parse_number(c, v.text, 0, &v) ? v : otherwise;
    return value_is_number(v) ? value_float(value_real(v)) : otherwise;
}

static struct value filter_abs(struct call *c)
{
    struct value v = c->subject;
    if (v.kind == VALUE_FLOAT)
        return value_float(fabs(v.real));
    if (value_is_integer(v) && value_integer(v) != INT64_MIN)
        return value_int(value_integer(v) < 0 ? -value_integer(v) : value_integer(v));
    jinja_fail(c->state, "bad operand type for abs(): '%s'", value_type_name(v));
    return value_undefined();
}

/* round(precision=0, method='common') */
static struct value filter_round(struct call *c)
{
    struct value precision = call_argument(c, 0, value_int(0));
    struct value method =
        call_argument(c, 1, value_string(c->state, text_slice_of("common"), true));
    struct value v = c->subject;
    bool common = value_is(method, "common");
    if (!value_is_number(v) || !value_is_integer(precision) ||
        llabs(value_integer(precision)) > 300 ||
        (!common && !value_is(method, "ceil") && !value_is(method, "floor"))) {
        jinja_fail(c->state, "round() takes a number, a precision and 'common', 'ceil' or 'floor'");
        return value_undefined();
    }
    int digits = (int)value_integer(precision);
    if (!common) {
        double scaled = value_real(v) * pow(10, digits);
        return value_float((value_is(method, "ceil") ? ceil(scaled) : floor(scaled)) /
                           pow(10, digits));
    }
    if (value_is_integer(v) && digits >= 0)
        return value_int(value_integer(v));
    if (digits < 0) {
        double unit = pow(10, -digits), rounded = nearbyint(value_real(v) / unit) * unit;
        return value_is_integer(v) ? value_int((int64_t)rounded) : value_float(rounded);
    }
    char text[400]; /* correctly rounded by way of decimal text, as Python does */
    int bytes = snprintf(text, sizeof(text), "%.*f", digits, v.real);
    return bytes < (int)sizeof(text) ? value_float(strtod(text, NULL)) : v;
}

static struct value filter_format(struct call *c)
{
    return text_format_percent(c, subject_text(c), c->items, c->count, true);
}

static struct text_slice text_of_argument(struct call *c, struct value v)
{
    if (value_is_string(v))
        return text_slice_from(v.text);
    jinja_fail(c->state, "tojson() takes a str here, not %s", value_type_name(v));
    return (struct text_slice){"", 0};
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False) */
static struct value filter_tojson(struct call *c)
{
    static const char spaces[] = "                                ";
    struct value indent = call_argument(c, 1, value_none()),
                 separators = call_argument(c, 2, value_none());
    struct json_style style = {.ensure_ascii = flag(c, 0, false),
                               .sort_keys = flag(c, 3, false),
                               .is_indented = indent.kind != VALUE_NONE,
                               .item_separator =
                                   text_slice_of(indent.kind != VALUE_NONE ? "," : ", "),
                               .key_separator = text_slice_of(": ")};
    if (value_is_integer(indent)) {
        int64_t width = value_integer(indent) < 0 ? 0 : value_integer(indent);
        if (width > (int64_t)sizeof(spaces) - 1)
            jinja_fail(c->state, "tojson() indents by at most %zu", sizeof(spaces) - 1);
        style.indent = (struct text_slice){spaces, (size_t)width};
    } else if (indent.kind != VALUE_NONE) {
        style.indent = text_of_argument(c, indent);
    }
    if (separators.kind == VALUE_TUPLE || separators.kind == VALUE_LIST) {
        if (separators.list->count != 2)
            jinja_fail(c->state, "tojson() takes two separators");
        for (uint32_t i = 0; i < 2 && c->state->failed == STATUS_OK; i++)
            *(i == 0 ? &style.item_separator : &style.key_separator) =
                text_of_argument(c, separators.list->items[i]);
    } else if (separators.kind != VALUE_NONE) {
        jinja_fail(c->state, "tojson() takes two separators");
    }
    struct text_builder b;
    text_builder_init(&b, c->state);
    if (c->state->failed == STATUS_OK)
        value_write_json(&b, c->subject, &style);
    return text_builder_value(&b);
}

static struct value filter_attr(struct call *c)
{
    if (!value_is_string(c->arguments[0])) {
        jinja_fail(c->state, "attr() takes a str");
        return value_undefined();
    }
    bool is_refused = false;
    struct text_slice name = text_slice_from(c->arguments[0].text);
    if (c->subject.kind == VALUE_NAMESPACE || c->subject.kind == VALUE_LOOP ||
        c->subject.kind == VALUE_UNDEFINED || method_find(c->subject, name, &is_refused) != NULL)
        return value_attribute(c->state, c->subject, name);
    return value_undefined();
}

// clang-format off
static const struct filter_entry filters[] = {
    {"abs", filter_abs, {{NULL}, 0, false}},
    {"attr", filter_attr, {{"name"}, 1, false}},
    {"batch", filter_batch, {{"linecount", "fill_with"}, 1, false}},
    {"capitalize", filter_capitalize, {{NULL}, 0, false}},
    {"count", filter_length, {{NULL}, 0, false}},
    {"d", filter_default, {{"default_value", "boolean"}, 0, false}},
    {"default", filter_default, {{"default_value", "boolean"}, 0, false}},
    {"dictsort", filter_dictsort, {{"case_sensitive", "by", "reverse"}, 0, false}},
    {"e", filter_escape, {{NULL}, 0, false}},
    {"escape", filter_escape, {{NULL}, 0, false}},
    {"first", filter_first, {{NULL}, 0, false}},
    {"float", filter_float, {{"default"}, 0, false}},
    {"format", filter_format, {{NULL}, 0, true}},
    {"groupby", filter_groupby, {{"attribute", "default", "case_sensitive"}, 1, false}},
    {"indent", filter_indent, {{"width", "first", "blank"}, 0, false}},
    {"int", filter_int, {{"default", "base"}, 0, false}},
    {"items", filter_items, {{NULL}, 0, false}},
    {"join", filter_join, {{"d", "attribute"}, 0, false}},
    {"last", filter_last, {{NULL}, 0, false}},
    {"length", filter_length, {{NULL}, 0, false}},
    {"list", filter_list, {{NULL}, 0, false}},
    {"lower", filter_lower, {{NULL}, 0, false}},
    {"map", filter_map, {{NULL}, 0, true}},
    {"max", filter_max, {{"case_sensitive", "attribute"}, 0, false}},
    {"min", filter_min, {{"case_sensitive", "attribute"}, 0, false}},
    {"reject", filter_reject, {{NULL}, 0, true}},
    {"rejectattr", filter_rejectattr, {{NULL}, 0, true}},
    {"replace", filter_replace, {{"old", "new", "count"}, 2, false}},
    {"reverse", filter_reverse, {{NULL}, 0, false}},
    {"round", filter_round, {{"precision", "method"}, 0, false}},
    {"safe", filter_safe, {{NULL}, 0, false}},
    {"select", filter_select, {{NULL}, 0, true}},
    {"selectattr", filter_selectattr, {{NULL}, 0, true}},
    {"slice", filter_slice, {{"slices", "fill_with"}, 1, false}},
    {"sort", filter_sort, {{"reverse", "case_sensitive", "attribute"}, 0, false}},
    {"string", filter_string, {{NULL}, 0, false}},
    {"sum", filter_sum, {{"attribute", "start"}, 0, false}},
    {"title", filter_title, {{NULL}, 0, false}},
    {"tojson", filter_tojson, {{"ensure_ascii", "indent", "separators", "sort_keys"}, 0, false}},
    {"trim", filter_trim, {{"chars"}, 0, false}},
    {"unique", filter_unique, {{"case_sensitive", "attribute"}, 0, false}},
    {"upper", filter_upper, {{NULL}, 0, false}},
};
// clang-format on

const struct filter_entry *filter_find(struct text_slice name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        if (text_slice_is(name, filters[i].name))
            return &filters[i];
    }
    return NULL;
}
