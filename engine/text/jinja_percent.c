/* "%s" % value and "{}".format(value): the parts of Python's two little languages that templates
 * use. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jinja_functions.h"

#define FIELD_WIDTH_MAX 10000

/* [[fill]align][sign][0][width][.precision][type] */
struct field_format {
    char fill, align, sign, type;
    int width, precision; /* -1: none */
};

static int read_number(const char *text, size_t end, size_t *at)
{
    int number = -1;
    while (*at < end && text[*at] >= '0' && text[*at] <= '9' && number < FIELD_WIDTH_MAX)
        number = (number < 0 ? 0 : number) * 10 + (text[(*at)++] - '0');
    return number;
}

static bool parse_field_format(const char *text, size_t at, size_t end, struct field_format *f)
{
    *f = (struct field_format){.fill = ' ', .width = -1, .precision = -1};
    if (end - at >= 2 && strchr("<>^", text[at + 1]) != NULL && text[at + 1] != '\0')
        f->fill = text[at++];
    if (at < end && strchr("<>^", text[at]) != NULL && text[at] != '\0')
        f->align = text[at++];
    if (at < end && (text[at] == '+' || text[at] == '-' || text[at] == ' '))
        f->sign = text[at++];
    if (at < end && text[at] == '0') {
        f->fill = f->align == 0 ? '0' : f->fill;
        f->align = f->align == 0 ? '=' : f->align;
        at++;
    }
    f->width = read_number(text, end, &at);
    if (at < end && text[at] == '.') {
        at++;
        f->precision = read_number(text, end, &at);
        if (f->precision < 0)
            return false;
    }
    if (at < end)
        f->type = text[at++];
    return at == end && f->width < FIELD_WIDTH_MAX && f->precision < 400;
}

static void add_fill(struct text_builder *b, char fill, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        text_builder_add(b, &fill, 1, true);
}

/* `sign_bytes`: how much of `text` stands before the fill with '=' alignment. */
static void add_aligned(struct text_builder *b, const struct text *text,
                        const struct field_format *f, char default_align, size_t sign_bytes)
{
    int64_t room = f->width - (int64_t)text_length(text);
    char align = f->align != 0 ? f->align : default_align;
    int64_t before = room <= 0 || align == '<' ? 0 : align == '^' ? room / 2 : room;
    size_t sign = align == '=' ? sign_bytes : 0;
    text_builder_add_part(b, text, 0, sign);
    add_fill(b, f->fill, before);
    text_builder_add_part(b, text, sign, text->bytes);
    add_fill(b, f->fill, room - before);
}

static void add_number(struct text_builder *b, struct value v, const struct field_format *f)
{
    char text[420], type = f->type;
    const char *sign = f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
    bool is_negative = value_real(v) < 0;
    int bytes;
    if (type == 'f' || type == 'F')
        bytes = snprintf(text, sizeof(text), "%s%.*f", is_negative ? "" : sign,
                         f->precision < 0 ? 6 : f->precision, value_real(v));
    else if ((type == 'd' || type == 0) && value_is_integer(v) && f->precision < 0)
        bytes =
            snprintf(text, sizeof(text), "%s%" PRId64, is_negative ? "" : sign, value_integer(v));
    else if ((type == 'x' || type == 'X') && value_is_integer(v) && !is_negative)
        bytes = snprintf(text, sizeof(text), type == 'x' ? "%s%" PRIx64 : "%s%" PRIX64, sign,
                         value_integer(v));
    else {
        jinja_fail(b->state, "this number format is not supported");
        return;
    }
    struct text made = {.data = text,
                        .bytes = bytes < (int)sizeof(text) ? (size_t)bytes : sizeof(text) - 1,
                        .trusted = true};
    add_aligned(b, &made, f, '>', is_negative || sign[0] != '\0');
}

static void add_formatted(struct text_builder *b, struct value v, const struct field_format *f,
                          bool is_plain)
{
    bool is_word = v.kind == VALUE_BOOL && (f->type == 0 || f->type == 's');
    if (is_plain || value_is_string(v) || (is_word && f->width < 0 && f->precision < 0)) {
        const struct text *text = value_text(b->state, v);
        struct text cut = *text;
        if (f->precision >= 0)
            cut.bytes = text_offset(text, (size_t)f->precision);
        if (f->type != 0 && f->type != 's')
            jinja_fail(b->state, "unknown format code '%c' for a string", f->type);
        add_aligned(b, &cut, f, '<', 0);
    } else if (value_is_number(v)) {
        add_number(b, v, f);
    } else {
        jinja_fail(b->state, "unsupported format string for %s", value_type_name(v));
    }
}

/* One %-conversion at format[at] (after the %); returns its end. */
static size_t add_percent(struct text_builder *b, const struct text *format, size_t at,
                          const struct value *items, uint32_t count, uint32_t *used)
{
    struct field_format f = {.fill = ' ', .width = -1, .precision = -1};
    for (;
         at < format->bytes && strchr("-+ 0", format->data[at]) != NULL && format->data[at] != '\0';
         at++) {
        if (format->data[at] == '-')
            f.align = '<';
        else if (format->data[at] == '0' && f.align == 0) {
            f.align = '=';
            f.fill = '0';
        } else if (format->data[at] != '0')
            f.sign = format->data[at];
    }
    f.width = read_number(format->data, format->bytes, &at);
    if (at < format->bytes && format->data[at] == '.') {
        at++;
        f.precision = read_number(format->data, format->bytes, &at);
        f.precision = f.precision < 0 ? 0 : f.precision;
    }
    char type = at < format->bytes ? format->data[at] : '\0';
    if (type == '%' && f.width < 0) {
        text_builder_add(b, "%", 1, text_trusted_at(format, at));
        return at + 1;
    }
    if (*used >= count || f.width >= FIELD_WIDTH_MAX || f.precision >= 400 || type == '\0' ||
        strchr("sdifrx", type) == NULL) {
        jinja_fail(b->state, "bad or unsupported %%-format, or too few arguments");
        return at + 1;
    }
    struct value v = items[(*used)++];
    if (type == 's' || type == 'r') {
        struct text_builder inner;
        text_builder_init(&inner, b->state);
        if (type == 'r')
            value_write_repr(&inner, v);
        else
            value_write(&inner, v);
        v = text_builder_value(&inner);
        f.type = 's';
        if (f.align == 0)
            f.align = '>';
        if (f.align == '=') {
            f.align = '>';
            f.fill = ' ';
        }
    } else if (!value_is_number(v) || ((type == 'd' || type == 'i') && v.kind == VALUE_FLOAT)) {
        jinja_fail(b->state, "%%%c needs a number", type);
        return at + 1;
    } else {
        f.type = type == 'i' ? 'd' : type;
        f.precision = type == 'f' ? f.precision : -1;
    }
    if (b->state->failed == STATUS_OK)
        add_formatted(b, v, &f, value_is_string(v));
    return at + 1;
}

struct value text_format_percent(struct call *c, const struct text *format,
                                 const struct value *items, uint32_t count, bool is_tuple)
{
    struct text_builder b;
    text_builder_init(&b, c->state);
    uint32_t used = 0;
    size_t at = 0;
    while (at < format->bytes && jinja_spend(c->state, 1)) {
        size_t percent = text_find(text_slice_from(format), (struct text_slice){"%", 1}, at);
        size_t stop = percent == SIZE_MAX ? format->bytes : percent;
        text_builder_add_part(&b, format, at, stop);
        at = percent == SIZE_MAX ? stop : add_percent(&b, format, percent + 1, items, count, &used);
    }
    /* Python lets a single mapping, or what it takes for one, go unused. */
    bool is_mapping = !is_tuple &&
                      (items[0].kind >= VALUE_LIST || items[0].kind == VALUE_UNDEFINED) &&
                      items[0].kind != VALUE_ITERATOR && items[0].kind != VALUE_VIEW;
    if (used < count && !is_mapping)
        jinja_fail(c->state, "not all arguments are used by the %%-format");
    return text_builder_value(&b);
}

/* {name!r:format} between its braces. */
static void add_brace(struct call *c, struct text_builder *b, const struct text *format, size_t at,
                      size_t end, uint32_t *automatic)
{
    const char *data = format->data;
    size_t name_end = at;
    while (name_end < end && data[name_end] != '!' && data[name_end] != ':')
        name_end++;
    struct text_slice name = {data + at, name_end - at};
    struct value v = value_undefined();
    const struct value *found = NULL;
    size_t digits = at;
    int number = name.bytes == 0 ? (int)(*automatic)++ : read_number(data, name_end, &digits);
    if (number >= 0 && (name.bytes == 0 || digits == name_end))
        found = (uint32_t)number < c->count ? &c->items[number] : NULL;
    else if (c->named != NULL)
        found = dict_find(c->state, c->named, value_string(c->state, name, true));
    if (found == NULL) {
        jinja_fail(c->state, "format() lacks an argument");
        return;
    }
    v = *found;
    bool is_plain = false;
    if (name_end < end && data[name_end] == '!') {
        struct text_builder inner;
        text_builder_init(&inner, c->state);
        char conversion = name_end + 1 < end ? data[name_end + 1] : '\0';
        if (conversion == 'r')
            value_write_repr(&inner, v);
        else if (conversion == 's')
            value_write(&inner, v);
        else
            jinja_fail(c->state, "unknown conversion in format()");
        v = text_builder_value(&inner);
        name_end += 2;
        if (name_end < end && data[name_end] != ':')
            jinja_fail(c->state, "expected ':' after a conversion in format()");
    }
    struct field_format f = {.fill = ' ', .width = -1, .precision = -1};
    if (name_end < end && end - name_end > 1) {
        if (!parse_field_format(data, name_end + 1, end, &f))
            jinja_fail(c->state, "this format is not supported");
    } else {
        is_plain = true;
    }
    if (c->state->failed == STATUS_OK)
        add_formatted(b, v, &f, is_plain);
}

struct value text_format_braces(struct call *c)
{
    const struct text *format = c->subject.text;
    struct text_builder b;
    text_builder_init(&b, c->state);
    uint32_t automatic = 0;
    for (size_t at = 0; at < format->bytes && jinja_spend(c->state, 1);) {
        char byte = format->data[at];
        bool is_double = at + 1 < format->bytes && format->data[at + 1] == byte;
        if (byte != '{' && byte != '}') {
            size_t stop = at;
            while (stop < format->bytes && format->data[stop] != '{' && format->data[stop] != '}')
                stop++;
            text_builder_add_part(&b, format, at, stop);
            at = stop;
        } else if (is_double) {
            text_builder_add_part(&b, format, at, at + 1);
            at += 2;
        } else {
            size_t end = text_find(text_slice_from(format), (struct text_slice){"}", 1}, at);
            if (byte == '}' || end == SIZE_MAX) {
                jinja_fail(c->state, "a brace in a format string has no partner");
                break;
            }
            add_brace(c, &b, format, at + 1, end, &automatic);
            at = end + 1;
        }
    }
    return text_builder_value(&b);
}
