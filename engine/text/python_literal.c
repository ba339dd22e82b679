#include "python_literal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_VALUE, /* before a value, or the end of the brackets */
    IN_WORD,
    IN_QUOTES, /* after the first or second quote: the string may be a triple one */
    IN_STRING,
    AFTER_STRING, /* it goes on if another string follows */
    AFTER_VALUE
};

static void put(struct python_literal *l, const char *json)
{
    l->put(l->context, json, strlen(json));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word_part(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 ||
           (c != 0 && strchr("_.+-", c) != NULL);
}

void python_literal_start(struct python_literal *l)
{
    l->state = AT_VALUE;
    l->depth = 0;
    l->is_key = l->can_close = l->needs_comma = false;
    l->word_bytes = 0;
}

/* A value follows: the comma that was held back, since one may stand before the end. */
static void begin_value(struct python_literal *l)
{
    if (l->needs_comma)
        put(l, ",");
    l->needs_comma = false;
}

/* --- brackets --- */

static bool is_dict(const struct python_literal *l)
{
    return l->depth > 0 && l->brackets[l->depth - 1] == '}';
}

static enum python_step open_bracket(struct python_literal *l, char c)
{
    if (l->is_key || l->depth == PYTHON_DEPTH_MAX)
        return PYTHON_FAILED;
    begin_value(l);
    put(l, c == '{' ? "{" : "[");
    l->brackets[l->depth++] = (char)(c == '{' ? '}' : c == '[' ? ']' : ')');
    l->can_close = true;
    l->is_key = is_dict(l);
    return PYTHON_MORE;
}

static enum python_step close_bracket(struct python_literal *l, char c)
{
    if (l->depth == 0 || l->brackets[l->depth - 1] != c)
        return PYTHON_FAILED;
    l->depth--;
    put(l, c == '}' ? "}" : "]");
    l->needs_comma = l->is_key = false; /* brackets are never a key */
    l->state = AFTER_VALUE;
    return PYTHON_MORE;
}

static enum python_step after_value(struct python_literal *l, char c)
{
    if (is_blank(c))
        return PYTHON_MORE;
    if (l->depth == 0)
        return PYTHON_ENDED;
    l->state = AT_VALUE;
    if (c == ':' && l->is_key) {
        put(l, ":");
        l->is_key = l->can_close = false;
        return PYTHON_MORE;
    }
    if (l->is_key) /* a set, which JSON has not */
        return PYTHON_FAILED;
    if (c != ',')
        return close_bracket(l, c);
    l->needs_comma = l->can_close = true;
    l->is_key = is_dict(l);
    return PYTHON_MORE;
}

/* --- words --- */

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* 0x1f, 0o17, 0b11 */
static bool write_based_number(const char *digits, char *out, size_t room)
{
    char kind = (char)tolower((unsigned char)digits[1]);
    int base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(digits + 2, &end, base);
    if (errno != 0 || end == digits + 2 || *end != 0 || !isxdigit((unsigned char)digits[2]))
        return false;
    return snprintf(out, room, "%llu", value) > 0;
}

/* JSON wants digits on both sides of the point, and no zero before others. `out` has room for two more. */
static bool write_decimal(const char *digits, char *out, size_t room)
{
    size_t whole = count_digits(digits), fraction = 0;
    const char *rest = digits + whole;
    bool has_point = *rest == '.';
    if (has_point) {
        fraction = count_digits(rest + 1);
        rest += 1 + fraction;
    }
    size_t exponent = 0;
    if (*rest == 'e' || *rest == 'E') {
        size_t sign = rest[1] == '+' || rest[1] == '-';
        if (count_digits(rest + 1 + sign) == 0)
            return false;
        exponent = 1 + sign + count_digits(rest + 1 + sign);
    }
    if (rest[exponent] != 0 || whole + fraction == 0 || (whole > 1 && digits[0] == '0'))
        return false;
    snprintf(out, room, "%.*s%s%.*s%.*s", (int)(whole > 0 ? whole : 1), whole > 0 ? digits : "0",
             has_point ? "." : "", (int)(fraction > 0 ? fraction : has_point),
             fraction > 0 ? digits + whole + 1 : "0", (int)exponent, rest);
    return true;
}

/* A number as JSON has it; false: it is none. */
static bool write_number(const char *word, char *out, size_t room)
{
    char digits[PYTHON_WORD_MAX + 1];
    size_t count = 0;
    if (*word == '-')
        *out++ = '-', room--;
    if (*word == '-' || *word == '+')
        word++;
    for (const char *at = word; *at != 0; at++) {
        bool is_separator = *at == '_' && at > word && isxdigit((unsigned char)at[-1]) &&
                            isxdigit((unsigned char)at[1]);
        if (!is_separator)
            digits[count++] = *at;
    }
    digits[count] = 0;
    if (digits[0] == '0' && digits[1] != 0 && strchr("xXoObB", digits[1]) != NULL)
        return write_based_number(digits, out, room);
    return write_decimal(digits, out, room);
}

static const char *find_constant(const char *word)
{
    static const char *const constants[][2] = {{"True", "true"},   {"False", "false"},
                                               {"None", "null"},   {"true", "true"},
                                               {"false", "false"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (strcmp(constants[i][0], word) == 0)
            return constants[i][1];
    return NULL;
}

static void end_word(struct python_literal *l)
{
    char word[PYTHON_WORD_MAX + 1], number[PYTHON_WORD_MAX + 4];
    memcpy(word, l->word, l->word_bytes);
    word[l->word_bytes] = 0;
    l->word_bytes = 0;
    const char *json = find_constant(word);
    if (json == NULL && write_number(word, number, sizeof number))
        json = number;
    bool is_quoted = json == NULL || l->is_key;
    if (is_quoted)
        put(l, "\"");
    put(l, json != NULL ? json : word);
    if (is_quoted)
        put(l, "\"");
    l->state = AFTER_VALUE;
}

static enum python_step begin_string(struct python_literal *l, char quote, bool is_raw)
{
    l->quote = quote;
    l->is_raw = is_raw;
    l->is_triple = l->is_escaped = false;
    l->quotes = 1;
    l->digits_left = 0;
    l->state = IN_QUOTES;
    return PYTHON_MORE;
}

/* The letters before a quote: u, b and f change nothing that JSON could say. */
static bool is_string_prefix(const struct python_literal *l)
{
    if (l->word_bytes > 2)
        return false;
    for (size_t i = 0; i < l->word_bytes; i++)
        if (strchr("rRuUbBfF", l->word[i]) == NULL)
            return false;
    return true;
}

static enum python_step in_word(struct python_literal *l, char c)
{
    if (is_word_part(c)) {
        if (l->word_bytes == PYTHON_WORD_MAX)
            return PYTHON_FAILED;
        l->word[l->word_bytes++] = c;
        return PYTHON_MORE;
    }
    if ((c == '"' || c == '\'') && is_string_prefix(l)) {
        bool is_raw = memchr(l->word, 'r', l->word_bytes) != NULL ||
                      memchr(l->word, 'R', l->word_bytes) != NULL;
        l->word_bytes = 0;
        put(l, "\"");
        return begin_string(l, c, is_raw);
    }
    bool is_sign = l->word_bytes == 1 && (l->word[0] == '-' || l->word[0] == '+');
    if (is_blank(c) && is_sign)
        return PYTHON_MORE;
    end_word(l);
    return after_value(l, c);
}

/* --- strings --- */

static void put_code_point(struct python_literal *l, uint32_t code)
{
    char text[16];
    if (code >= 0x10000) { /* JSON knows UTF-16 only */
        code -= 0x10000;
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800u + (unsigned)(code >> 10),
                 0xdc00u + (unsigned)(code & 0x3ff));
    } else {
        snprintf(text, sizeof text, "\\u%04x", (unsigned)code);
    }
    put(l, text);
}

static enum python_step put_character(struct python_literal *l, char c)
{
    if (c == '"')
        put(l, "\\\"");
    else if (c == '\\')
        put(l, "\\\\");
    else if (c == '\n' || c == '\t' || c == '\r')
        put(l, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
    else if ((unsigned char)c < 0x20)
        put_code_point(l, (unsigned char)c);
    else
        l->put(l->context, &c, 1);
    return PYTHON_MORE;
}

/* The character behind a backslash. */
static enum python_step in_escape(struct python_literal *l, char c)
{
    static const char names[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
    const char *name = c != 0 ? strchr(names, c) : NULL;
    bool is_octal = c >= '0' && c <= '7';
    l->is_escaped = false;
    if (l->is_raw)
        return put_character(l, c);
    if (name != NULL)
        return put_character(l, meanings[name - names]);
    if (c == '\n') /* the line goes on */
        return PYTHON_MORE;
    if (c != 'x' && c != 'u' && c != 'U' && !is_octal) { /* it means itself */
        put_character(l, '\\');
        return put_character(l, c);
    }
    l->digit_base = is_octal ? 8 : 16;
    l->digits_left = is_octal || c == 'x' ? 2 : c == 'u' ? 4 : 8;
    l->code = is_octal ? (uint32_t)(c - '0') : 0;
    return PYTHON_MORE;
}

/* A digit of a code; false: it is none. */
static bool take_digit(struct python_literal *l, char c)
{
    uint32_t digit = isdigit((unsigned char)c) ? (uint32_t)(c - '0')
                                               : (uint32_t)(tolower((unsigned char)c) - 'a') + 10;
    if (!isxdigit((unsigned char)c) || digit >= l->digit_base)
        return false;
    l->code = l->code * l->digit_base + digit;
    if (--l->digits_left == 0)
        put_code_point(l, l->code);
    return true;
}

static enum python_step in_string(struct python_literal *l, char c)
{
    if (l->digits_left > 0) {
        if (take_digit(l, c))
            return l->code <= 0x10ffff ? PYTHON_MORE : PYTHON_FAILED;
        if (l->digit_base != 8)
            return PYTHON_FAILED;
        l->digits_left = 0; /* octal: one to three digits */
        put_code_point(l, l->code);
    }
    if (l->is_escaped)
        return in_escape(l, c);
    if (c == l->quote && (!l->is_triple || ++l->quotes == 3)) {
        l->state = AFTER_STRING;
        return PYTHON_MORE;
    }
    if (c == l->quote)
        return PYTHON_MORE;
    for (; l->is_triple && l->quotes > 0; l->quotes--)
        put_character(l, l->quote);
    l->is_escaped = c == '\\';
    if (l->is_escaped && !l->is_raw)
        return PYTHON_MORE;
    return put_character(l, c);
}

static enum python_step after_string(struct python_literal *l, char c)
{
    if (is_blank(c))
        return PYTHON_MORE;
    if (c == '"' || c == '\'')
        return begin_string(l, c, false);
    put(l, "\"");
    l->state = AFTER_VALUE;
    return after_value(l, c);
}

/* Behind one quote, or two: an empty string or the start of a triple one. */
static enum python_step in_quotes(struct python_literal *l, char c)
{
    if (c == l->quote && ++l->quotes == 2)
        return PYTHON_MORE;
    if (c == l->quote) {
        l->is_triple = true;
        l->quotes = 0;
        l->state = IN_STRING;
        return PYTHON_MORE;
    }
    if (l->quotes == 2) {
        l->state = AFTER_STRING;
        return after_string(l, c);
    }
    l->quotes = 0;
    l->state = IN_STRING;
    return in_string(l, c);
}

/* --- all of it --- */

static enum python_step at_value(struct python_literal *l, char c)
{
    if (is_blank(c))
        return PYTHON_MORE;
    if (c == '[' || c == '(' || c == '{')
        return open_bracket(l, c);
    if (l->can_close && (c == ']' || c == ')' || c == '}'))
        return close_bracket(l, c);
    if (c == '"' || c == '\'') {
        begin_value(l);
        put(l, "\"");
        return begin_string(l, c, false);
    }
    if (!is_word_part(c))
        return PYTHON_FAILED;
    begin_value(l);
    l->state = IN_WORD;
    return in_word(l, c);
}

enum python_step python_literal_step(struct python_literal *l, char c)
{
    switch (l->state) {
    case AT_VALUE:
        return at_value(l, c);
    case IN_WORD:
        return in_word(l, c);
    case IN_QUOTES:
        return in_quotes(l, c);
    case IN_STRING:
        return in_string(l, c);
    case AFTER_STRING:
        return after_string(l, c);
    default:
        return after_value(l, c);
    }
}

bool python_literal_finish(struct python_literal *l)
{
    /* any sign that belongs to no value ends what may end */
    return l->depth == 0 && l->state != AT_VALUE && python_literal_step(l, ',') == PYTHON_ENDED;
}
