#include "json_text.h"

#include <stdio.h>

static const struct expr *set_of(struct compile *c, const char *characters)
{
    struct char_range ranges[32];
    uint32_t count = 0;
    for (; characters[count] != '\0'; count++)
        ranges[count].low = ranges[count].high = (uint8_t)characters[count];
    return expr_set(c, ranges, count, false);
}

static const struct expr *hex_digits(struct compile *c, uint32_t count)
{
    static const struct char_range ranges[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    return expr_repeat(c, expr_set(c, ranges, 3, false), NULL, count, count);
}

/* Four digits of no surrogate: not d800 to dfff. */
static const struct expr *escape_digits(struct compile *c)
{
    static const struct char_range no_d[] = {
        {'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}};
    const struct expr *plain =
        expr_join(c, expr_set(c, no_d, 5, false), hex_digits(c, 3), NULL, NULL);
    const struct expr *with_d =
        expr_join(c, set_of(c, "dD"), expr_range(c, '0', '7'), hex_digits(c, 2), NULL);
    return expr_either(c, plain, with_d);
}

static const struct expr *character(struct compile *c)
{
    static const struct char_range plain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
    const struct expr *code = expr_join(c, expr_word(c, "u"), escape_digits(c), NULL, NULL);
    const struct expr *letter = expr_either(c, set_of(c, "\"\\/bfnrt"), code);
    const struct expr *escape = expr_join(c, expr_word(c, "\\"), letter, NULL, NULL);
    return expr_either(c, expr_set(c, plain, 3, false), escape);
}

static const struct expr *characters(struct compile *c, uint32_t min, uint32_t max)
{
    const struct expr *one = character(c);
    return one != NULL ? expr_repeat(c, one, NULL, min, max) : NULL;
}

const struct expr *json_string_expr(struct compile *c, uint32_t min, uint32_t max)
{
    const struct expr *inside = characters(c, min, max);
    return expr_join(c, expr_word(c, "\""), inside, expr_word(c, "\""), NULL);
}

const struct expr *json_string_rest_expr(struct compile *c)
{
    return expr_join(c, characters(c, 0, EXPR_UNBOUNDED), expr_word(c, "\""), NULL, NULL);
}

static const struct expr *digits(struct compile *c, uint32_t min, uint32_t max)
{
    const struct expr *digit = expr_range(c, '0', '9');
    return digit != NULL ? expr_repeat(c, digit, NULL, min, max) : NULL;
}

const struct expr *json_integer_expr(struct compile *c)
{
    const struct expr *many =
        expr_join(c, expr_range(c, '1', '9'), digits(c, 0, JSON_WHOLE_DIGITS - 1), NULL, NULL);
    const struct expr *sign = expr_optional(c, expr_word(c, "-"));
    return expr_join(c, sign, expr_either(c, expr_word(c, "0"), many), NULL, NULL);
}

const struct expr *json_decimal_expr(struct compile *c)
{
    const struct expr *fraction =
        expr_join(c, expr_word(c, "."), digits(c, 1, JSON_FRACTION_DIGITS), NULL, NULL);
    return expr_join(c, json_integer_expr(c), expr_optional(c, fraction), NULL, NULL);
}

const struct expr *json_number_expr(struct compile *c)
{
    const struct expr *sign = expr_optional(c, set_of(c, "+-"));
    const struct expr *exponent =
        expr_join(c, set_of(c, "eE"), sign, digits(c, 1, JSON_EXPONENT_DIGITS), NULL);
    return expr_join(c, json_decimal_expr(c), expr_optional(c, exponent), NULL, NULL);
}

static const struct expr *comma(struct compile *c)
{
    return expr_join(c, expr_word(c, ","), c->whitespace, NULL, NULL);
}

/* `first` and `last` around `inside`, or around nothing. */
static const struct expr *brackets(struct compile *c, const char *first, const struct expr *inside,
                                   const char *last)
{
    const struct expr *filled = expr_join(c, c->whitespace, inside, c->whitespace, NULL);
    return expr_join(c, expr_word(c, first), expr_either(c, c->whitespace, filled),
                     expr_word(c, last), NULL);
}

bool json_rules_add(struct compile *c, struct json_rules *out)
{
    uint32_t *numbers[] = {&out->value, &out->object, &out->array, &out->string};
    for (size_t i = 0; i < 4; i++)
        *numbers[i] = compile_add_rule(c, (struct text_slice){NULL, 0});
    if (c->failed != STATUS_OK)
        return false;
    const struct expr *value = expr_rule(c, out->value);
    const struct expr *string = expr_rule(c, out->string);
    const struct expr *member = expr_join(c, string, expr_word(c, ":"), c->gap, value);
    const struct expr *kinds[] = {
        expr_rule(c, out->object), expr_rule(c, out->array), string,
        json_number_expr(c),       expr_word(c, "true"),     expr_word(c, "false"),
        expr_word(c, "null")};
    c->rules[out->value].body = expr_choice(c, kinds, 7);
    c->rules[out->string].body = json_string_expr(c, 0, EXPR_UNBOUNDED);
    c->rules[out->object].body =
        brackets(c, "{", expr_repeat(c, member, comma(c), 1, EXPR_UNBOUNDED), "}");
    c->rules[out->array].body =
        brackets(c, "[", expr_repeat(c, value, comma(c), 1, EXPR_UNBOUNDED), "]");
    return c->failed == STATUS_OK;
}

/* --- escaping --- */

/* The letter of a short escape; '\0': the character has none. */
static char escape_letter(unsigned byte)
{
    switch (byte) {
    case '"':
    case '\\':
        return (char)byte;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

/* States of the escaped automaton beside those of the plain one: of one state that can be left by characters which are
 * escaped. `start` is its first; after the backslash, then u, 0, 0, then after the third digit 0 or 1. */
enum escape_state {
    AFTER_BACKSLASH,
    AFTER_U,
    AFTER_U0,
    AFTER_U00,
    AFTER_U000,
    AFTER_U001,
    ESCAPE_STATES
};

static bool must_escape(struct edge edge)
{
    return edge.low < 0x20 || (edge.low <= '"' && '"' <= edge.high) ||
           (edge.low <= '\\' && '\\' <= edge.high);
}

static bool state_must_escape(const struct automaton *a, uint32_t s)
{
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        if (must_escape(a->edges[i]))
            return true;
    }
    return false;
}

static bool add_plain_part(struct automaton_builder *b, struct edge edge, unsigned low,
                           unsigned high)
{
    low = edge.low > low ? edge.low : low;
    high = edge.high < high ? edge.high : high;
    return low > high || builder_add_edge(b, (uint8_t)low, (uint8_t)high, edge.target);
}

static bool add_plain_edges(struct automaton_builder *b, const struct automaton *a, uint32_t s,
                            uint32_t escape_start)
{
    if (!builder_start_state(b, a->is_final[s]))
        return false;
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        if (!add_plain_part(b, a->edges[i], 0x20, '"' - 1) ||
            !add_plain_part(b, a->edges[i], '"' + 1, '\\' - 1) ||
            !add_plain_part(b, a->edges[i], '\\' + 1, 0xFF))
            return false;
    }
    return escape_start == 0 || builder_add_edge(b, '\\', '\\', escape_start);
}

static bool add_letters(struct automaton_builder *b, const struct automaton *a, uint32_t s)
{
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        struct edge edge = a->edges[i];
        for (unsigned byte = edge.low; byte <= edge.high && byte <= '\\'; byte++) {
            uint8_t letter = (uint8_t)escape_letter(byte);
            if (letter != 0 && !builder_add_edge(b, letter, letter, edge.target))
                return false;
        }
    }
    return true;
}

/* The last digit of \u00XX, for control characters without a letter: those of `first` .. first + 15. */
static bool add_last_digits(struct automaton_builder *b, const struct automaton *a, uint32_t s,
                            unsigned first)
{
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        struct edge edge = a->edges[i];
        for (unsigned byte = first; byte < first + 16; byte++) {
            if (byte < edge.low || byte > edge.high || escape_letter(byte) != '\0')
                continue;
            uint8_t digit = (uint8_t) "0123456789abcdef"[byte - first];
            if (!builder_add_edge(b, digit, digit, edge.target))
                return false;
        }
    }
    return true;
}

/* The ESCAPE_STATES states that belong to `s`. */
static bool add_escapes(struct automaton_builder *b, const struct automaton *a, uint32_t s,
                        uint32_t start)
{
    return builder_start_state(b, false) && add_letters(b, a, s) &&
           builder_add_edge(b, 'u', 'u', start + AFTER_U) && builder_start_state(b, false) &&
           builder_add_edge(b, '0', '0', start + AFTER_U0) && builder_start_state(b, false) &&
           builder_add_edge(b, '0', '0', start + AFTER_U00) && builder_start_state(b, false) &&
           builder_add_edge(b, '0', '0', start + AFTER_U000) &&
           builder_add_edge(b, '1', '1', start + AFTER_U001) && builder_start_state(b, false) &&
           add_last_digits(b, a, s, 0x00) && builder_start_state(b, false) &&
           add_last_digits(b, a, s, 0x10);
}

const struct automaton *json_escape_automaton(struct compile *c, const struct automaton *a)
{
    if (a == NULL)
        return NULL;
    struct automaton_builder b = {.c = c};
    uint32_t start = a->state_count;
    for (uint32_t s = 0; s < a->state_count; s++) {
        bool has_escapes = state_must_escape(a, s);
        if (!add_plain_edges(&b, a, s, has_escapes ? start : 0))
            return NULL;
        start += has_escapes ? ESCAPE_STATES : 0;
    }
    start = a->state_count;
    for (uint32_t s = 0; s < a->state_count; s++) {
        if (!state_must_escape(a, s))
            continue;
        if (!add_escapes(&b, a, s, start))
            return NULL;
        start += ESCAPE_STATES;
    }
    return automaton_trim(c, builder_finish(&b));
}

const struct expr *json_inside_expr(struct compile *c, struct text_slice text)
{
    char *out = compile_allocate(c, text.bytes, 6);
    size_t used = 0;
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned byte = (uint8_t)text.data[i];
        char letter = escape_letter(byte);
        if (letter != '\0') {
            out[used++] = '\\';
            out[used++] = letter;
        } else if (byte < 0x20) {
            char code[8];
            used += (size_t)snprintf(code, sizeof code, "\\u%04x", byte);
            memcpy(out + used - 6, code, 6);
        } else {
            out[used++] = (char)byte;
        }
    }
    return expr_text(c, (struct text_slice){out, used});
}

/* --- literals --- */

static const struct expr *string_literal(struct compile *c, const char *data, size_t bytes)
{
    const struct expr *inside = json_inside_expr(c, (struct text_slice){data, bytes});
    return expr_join(c, expr_word(c, "\""), inside, expr_word(c, "\""), NULL);
}

static const struct expr *number_literal(struct compile *c, const json_t *value)
{
    struct buffer text;
    buffer_init(&text, 64);
    if (json_is_integer(value))
        buffer_append_i64(&text, json_integer_value(value));
    else
        json_write_double(&text, json_real_value(value));
    const struct expr *e = expr_text(c, buffer_slice(&text));
    buffer_deinit(&text);
    return e;
}

static const struct expr *enclose(struct compile *c, const char *first,
                                  const struct expr_list *parts, const char *last)
{
    const struct expr *inside = expr_sequence(c, parts->items, parts->count);
    const struct expr *filled = expr_join(c, c->whitespace, inside, c->whitespace, NULL);
    return expr_join(c, expr_word(c, first), parts->count > 0 ? filled : c->whitespace,
                     expr_word(c, last), NULL);
}

static const struct expr *object_literal(struct compile *c, const json_t *value)
{
    struct expr_list list = {0};
    const char *key;
    size_t key_bytes;
    json_t *item;
    json_object_keylen_foreach((json_t *)(uintptr_t)value, key, key_bytes, item)
    {
        const struct expr *name = string_literal(c, key, key_bytes);
        const struct expr *literal = json_literal_expr(c, item);
        if ((list.count > 0 && !expr_list_add(c, &list, comma(c))) ||
            !expr_list_add(c, &list, expr_join(c, name, expr_word(c, ":"), c->gap, literal)))
            return NULL;
    }
    return enclose(c, "{", &list, "}");
}

static const struct expr *array_literal(struct compile *c, const json_t *value)
{
    struct expr_list list = {0};
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        if ((index > 0 && !expr_list_add(c, &list, comma(c))) ||
            !expr_list_add(c, &list, json_literal_expr(c, item)))
            return NULL;
    }
    return enclose(c, "[", &list, "]");
}

/* Recursion is as deep as the limit of the JSON that was loaded. */
const struct expr *json_literal_expr(struct compile *c, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return object_literal(c, value);
    case JSON_ARRAY:
        return array_literal(c, value);
    case JSON_STRING:
        return string_literal(c, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL:
        return number_literal(c, value);
    case JSON_TRUE:
        return expr_word(c, "true");
    case JSON_FALSE:
        return expr_word(c, "false");
    case JSON_NULL:
        break;
    }
    return expr_word(c, "null");
}
