/* How values are written: Python's str() and repr(), and json.dumps() as the chat template
 * environment calls it.
 *
 * Trust: what a string value carries is kept. Numbers and the words True, False and None are the
 * template's own. A list, a dict or JSON is wholly untrusted unless it is one trusted string: its
 * brackets could otherwise join with what a user wrote. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_value.h"
#include "unicode_class.h"

static void add_ascii(struct text_builder *b, const char *text)
{
    text_builder_add(b, text, strlen(text), false);
}

/* Digits and exponent of the shortest text that reads back equal: value = 0.DIGITS * 10^exponent.
 */
static int shortest_digits(double value, char digits[20], int *count)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    const char *mantissa = text[0] == '-' ? text + 1 : text;
    *count = 0;
    for (; *mantissa != 'e'; mantissa++) {
        if (*mantissa != '.')
            digits[(*count)++] = *mantissa;
    }
    while (*count > 1 && digits[*count - 1] == '0')
        (*count)--;
    return (int)strtol(mantissa + 1, NULL, 10) + 1;
}

size_t format_float(double value, char out[40])
{
    if (isnan(value) || isinf(value))
        return (size_t)snprintf(out, 40, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    if (value == 0)
        return (size_t)snprintf(out, 40, "%s", signbit(value) ? "-0.0" : "0.0");
    char digits[20];
    int count = 0, point = shortest_digits(value, digits, &count);
    const char *sign = value < 0 ? "-" : "";
    if (point > 16 || point < -3) {
        const char *dot = count > 1 ? "." : "";
        return (size_t)snprintf(out, 40, "%s%c%s%.*se%c%02d", sign, digits[0], dot, count - 1,
                                digits + 1, point > 0 ? '+' : '-', abs(point - 1));
    }
    if (point <= 0)
        return (size_t)snprintf(out, 40, "%s0.%.*s%.*s", sign, -point, "0000", count, digits);
    if (point >= count)
        return (size_t)snprintf(out, 40, "%s%.*s%.*s.0", sign, count, digits, point - count,
                                "0000000000000000");
    return (size_t)snprintf(out, 40, "%s%.*s.%.*s", sign, point, digits, count - point,
                            digits + point);
}

static bool is_printable(uint32_t c)
{
    return c == ' ' || (unicode_flags(c) & (UNICODE_LETTER | UNICODE_NUMBER | UNICODE_PUNCTUATION |
                                            UNICODE_SYMBOL | UNICODE_MARK)) != 0;
}

static void write_repr_character(struct text_builder *b, const char *bytes, size_t count,
                                 uint32_t c, char quote)
{
    char escape[16];
    if (c == '\\' || c == (uint32_t)quote)
        snprintf(escape, sizeof(escape), "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(escape, sizeof(escape), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (is_printable(c)) {
        text_builder_add(b, bytes, count, false);
        return;
    } else
        snprintf(escape, sizeof(escape),
                 c < 0x100     ? "\\x%02x"
                 : c < 0x10000 ? "\\u%04x"
                               : "\\U%08x",
                 c);
    add_ascii(b, escape);
}

static void write_text_repr(struct text_builder *b, const struct text *text)
{
    bool has_single = text->bytes > 0 && memchr(text->data, '\'', text->bytes) != NULL;
    bool has_double = text->bytes > 0 && memchr(text->data, '"', text->bytes) != NULL;
    char quote = has_single && !has_double ? '"' : '\'';
    text_builder_add(b, &quote, 1, false);
    uint32_t character;
    for (size_t at = 0; at < text->bytes && b->state->failed == STATUS_OK;) {
        size_t bytes = text_character(text, at, &character);
        write_repr_character(b, text->data + at, bytes, character, quote);
        at += bytes;
    }
    text_builder_add(b, &quote, 1, false);
}

static void write_list_repr(struct text_builder *b, struct value v)
{
    const struct list *list = v.list;
    if (v.kind == VALUE_VIEW)
        add_ascii(b, list->name);
    add_ascii(b, v.kind == VALUE_VIEW ? "([" : v.kind == VALUE_TUPLE ? "(" : "[");
    for (uint32_t i = 0; i < list->count && jinja_spend(b->state, 1); i++) {
        if (i > 0)
            add_ascii(b, ", ");
        value_write_repr(b, list->items[i]);
    }
    if (v.kind == VALUE_TUPLE && list->count == 1)
        add_ascii(b, ",");
    add_ascii(b, v.kind == VALUE_VIEW ? "])" : v.kind == VALUE_TUPLE ? ")" : "]");
}

static void write_dict_repr(struct text_builder *b, const struct dict *dict)
{
    add_ascii(b, "{");
    for (uint32_t i = 0; i < dict->count && jinja_spend(b->state, 1); i++) {
        if (i > 0)
            add_ascii(b, ", ");
        value_write_repr(b, dict->keys[i]);
        add_ascii(b, ": ");
        value_write_repr(b, dict->values[i]);
    }
    add_ascii(b, "}");
}

/* Numbers and words. */
static void write_scalar(struct text_builder *b, struct value v)
{
    char text[40];
    switch (v.kind) {
    case VALUE_NONE:
        text_builder_add(b, "None", 4, true);
        break;
    case VALUE_BOOL:
        text_builder_add(b, v.boolean ? "True" : "False", v.boolean ? 4 : 5, true);
        break;
    case VALUE_INT:
        snprintf(text, sizeof(text), "%" PRId64, v.integer);
        text_builder_add(b, text, strlen(text), true);
        break;
    case VALUE_FLOAT:
        text_builder_add(b, text, format_float(v.real, text), true);
        break;
    default:
        break;
    }
}

void value_write_repr(struct text_builder *b, struct value v)
{
    if (!jinja_enter(b->state)) {
        jinja_leave(b->state);
        return;
    }
    switch (v.kind) {
    case VALUE_STRING:
        write_text_repr(b, v.text);
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_VIEW:
        write_list_repr(b, v);
        break;
    case VALUE_RANGE:
        add_ascii(b, v.list->name);
        break;
    case VALUE_DICT:
        write_dict_repr(b, v.dict);
        break;
    case VALUE_NAMESPACE:
        add_ascii(b, "<Namespace ");
        write_dict_repr(b, v.dict);
        add_ascii(b, ">");
        break;
    case VALUE_UNDEFINED:
        add_ascii(b, "Undefined");
        break;
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT:
        write_scalar(b, v);
        break;
    default:
        jinja_fail(b->state, "a %s has no text", value_type_name(v));
        break;
    }
    jinja_leave(b->state);
}

/* repr(), or JSON in `style`, of a value with parts: whatever these carry, the whole is not trusted. */
static void write_untrusted(struct text_builder *b, struct value v, const struct json_style *style);

void value_write(struct text_builder *b, struct value v)
{
    if (v.kind == VALUE_STRING)
        text_builder_add_text(b, v.text);
    else if (v.kind == VALUE_NONE || value_is_number(v))
        write_scalar(b, v);
    else if (v.kind != VALUE_UNDEFINED)
        write_untrusted(b, v, NULL);
}

const struct text *value_text(struct jinja_state *s, struct value v)
{
    static const struct text empty = {.data = "", .trusted = true};
    if (v.kind == VALUE_STRING)
        return v.text;
    struct text_builder builder;
    text_builder_init(&builder, s);
    value_write(&builder, v);
    struct value made = text_builder_value(&builder);
    return made.kind == VALUE_STRING ? made.text : &empty;
}

/* JSON. */

static void write_json_character(struct text_builder *b, const char *bytes, size_t count,
                                 uint32_t c, bool ensure_ascii)
{
    static const char named[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    char escape[16];
    const char *found = c != 0 && c < 0x80 ? strchr(named, (int)c) : NULL;
    if (found != NULL)
        snprintf(escape, sizeof(escape), "\\%c", letters[found - named]);
    else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000 && c != 0x7F))
        snprintf(escape, sizeof(escape), "\\u%04x", c);
    else if (ensure_ascii && c >= 0x10000)
        snprintf(escape, sizeof(escape), "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                 0xDC00 + ((c - 0x10000) & 0x3FF));
    else {
        text_builder_add(b, bytes, count, false);
        return;
    }
    add_ascii(b, escape);
}

static void write_json_text(struct text_builder *b, const struct text *text, bool ensure_ascii)
{
    bool trusted = text_is_trusted(text);
    size_t start = b->bytes;
    add_ascii(b, "\"");
    uint32_t character;
    for (size_t at = 0; at < text->bytes && b->state->failed == STATUS_OK;) {
        size_t bytes = text_character(text, at, &character);
        write_json_character(b, text->data + at, bytes, character, ensure_ascii);
        at += bytes;
    }
    add_ascii(b, "\"");
    if (trusted && b->state->failed == STATUS_OK)
        memset(b->trust + start, 1, b->bytes - start);
}

static void write_json_break(struct text_builder *b, const struct json_style *style, uint32_t level)
{
    if (!style->is_indented)
        return;
    add_ascii(b, "\n");
    for (uint32_t i = 0; i < level; i++)
        text_builder_add(b, style->indent.data, style->indent.bytes, false);
}

static void write_json_value(struct text_builder *b, struct value v, const struct json_style *style,
                             uint32_t level);

static void write_json_list(struct text_builder *b, const struct list *list,
                            const struct json_style *style, uint32_t level)
{
    add_ascii(b, "[");
    for (uint32_t i = 0; i < list->count && jinja_spend(b->state, 1); i++) {
        if (i > 0)
            text_builder_add(b, style->item_separator.data, style->item_separator.bytes, false);
        write_json_break(b, style, level + 1);
        write_json_value(b, list->items[i], style, level + 1);
    }
    if (list->count > 0)
        write_json_break(b, style, level);
    add_ascii(b, "]");
}

static void write_json_key(struct text_builder *b, struct value key, const struct json_style *style)
{
    struct text_builder text;
    text_builder_init(&text, b->state);
    if (key.kind == VALUE_STRING) {
        write_json_text(b, key.text, style->ensure_ascii);
        return;
    }
    if (!value_is_number(key) && key.kind != VALUE_NONE) {
        jinja_fail(b->state, "keys must be str, int, float, bool or None, not %s",
                   value_type_name(key));
        return;
    }
    add_ascii(b, "\"");
    write_json_value(b, key, style, 0);
    add_ascii(b, "\"");
}

/* Positions of the keys in rising order (insertion sort by halves would be overkill: schemas have
 * few keys; merge sort keeps a hostile one at n log n). */
static void sort_positions(struct jinja_state *s, const struct dict *d, uint32_t *order,
                           uint32_t *scratch, uint32_t count)
{
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t start = 0; start < count && jinja_spend(s, 1); start += 2 * width) {
            uint32_t middle = start + width < count ? start + width : count;
            uint32_t end = middle + width < count ? middle + width : count;
            uint32_t left = start, right = middle;
            for (uint32_t i = start; i < end; i++) {
                bool take_right =
                    left == middle || (right < end && value_compare(s, d->keys[order[right]],
                                                                    d->keys[order[left]]) < 0);
                scratch[i] = take_right ? order[right++] : order[left++];
            }
        }
        memcpy(order, scratch, count * sizeof(order[0]));
    }
}

static void write_json_dict(struct text_builder *b, const struct dict *d,
                            const struct json_style *style, uint32_t level)
{
    uint32_t *order = jinja_allocate(b->state, 2 * (size_t)d->count, sizeof(*order));
    if (order == NULL)
        return;
    for (uint32_t i = 0; i < d->count; i++)
        order[i] = i;
    if (style->sort_keys && d->count > 1)
        sort_positions(b->state, d, order, order + d->count, d->count);
    add_ascii(b, "{");
    for (uint32_t i = 0; i < d->count && jinja_spend(b->state, 1); i++) {
        if (i > 0)
            text_builder_add(b, style->item_separator.data, style->item_separator.bytes, false);
        write_json_break(b, style, level + 1);
        write_json_key(b, d->keys[order[i]], style);
        text_builder_add(b, style->key_separator.data, style->key_separator.bytes, false);
        write_json_value(b, d->values[order[i]], style, level + 1);
    }
    if (d->count > 0)
        write_json_break(b, style, level);
    add_ascii(b, "}");
}

static void write_json_number(struct text_builder *b, double value)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        add_ascii(b, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    text_builder_add(b, text, format_float(value, text), false);
}

static void write_json_value(struct text_builder *b, struct value v, const struct json_style *style,
                             uint32_t level)
{
    if (!jinja_enter(b->state)) {
        jinja_leave(b->state);
        return;
    }
    switch (v.kind) {
    case VALUE_NONE:
        add_ascii(b, "null");
        break;
    case VALUE_BOOL:
        add_ascii(b, v.boolean ? "true" : "false");
        break;
    case VALUE_INT:
        write_scalar(b, v);
        break;
    case VALUE_FLOAT:
        write_json_number(b, v.real);
        break;
    case VALUE_STRING:
        write_json_text(b, v.text, style->ensure_ascii);
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
        write_json_list(b, v.list, style, level);
        break;
    case VALUE_DICT:
        write_json_dict(b, v.dict, style, level);
        break;
    default:
        jinja_fail(b->state, "Object of type %s is not JSON serializable", value_type_name(v));
        break;
    }
    jinja_leave(b->state);
}

static void write_untrusted(struct text_builder *b, struct value v, const struct json_style *style)
{
    size_t start = b->bytes;
    if (style != NULL)
        write_json_value(b, v, style, 0);
    else
        value_write_repr(b, v);
    if (b->bytes > start)
        memset(b->trust + start, 0, b->bytes - start);
}

void value_write_json(struct text_builder *b, struct value v, const struct json_style *style)
{
    if (v.kind == VALUE_STRING)
        write_json_value(b, v, style, 0);
    else
        write_untrusted(b, v, style);
}
