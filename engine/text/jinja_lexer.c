#include "jinja_lexer.h"

#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "utf8.h"

/* Newlines are one '\n' and a last one is dropped, before anything else. The copy is the lexer's
 * source. */
static struct text_slice normalize(struct jinja_state *s, struct text_slice source)
{
    char *copy = jinja_allocate(s, source.bytes + 1, 1);
    size_t written = 0;
    for (size_t i = 0; copy != NULL && i < source.bytes; i++) {
        char c = source.data[i];
        if (c == '\r' && i + 1 < source.bytes && source.data[i + 1] == '\n')
            continue;
        copy[written++] = c == '\r' ? '\n' : c;
    }
    if (written > 0 && copy[written - 1] == '\n')
        written--;
    return (struct text_slice){copy, written};
}

void lexer_init(struct lexer *l, struct jinja_state *s, struct text_slice source)
{
    *l = (struct lexer){.state = s, .line = 1, .at_line_start = true};
    l->source = normalize(s, source);
}

static bool has_at(const struct lexer *l, size_t at, const char *text)
{
    size_t bytes = strlen(text);
    return at <= l->source.bytes && l->source.bytes - at >= bytes &&
           memcmp(l->source.data + at, text, bytes) == 0;
}

/* Moves to `at`, counting lines. */
static void advance(struct lexer *l, size_t at)
{
    for (; l->at < at; l->at++)
        l->line += l->source.data[l->at] == '\n';
    l->at_line_start = at > 0 && l->source.data[at - 1] == '\n';
}

static size_t skip_spaces(const struct lexer *l, size_t at)
{
    while (at < l->source.bytes) {
        uint32_t c = 0;
        size_t bytes = utf8_decode(l->source.data + at, l->source.bytes - at, &c);
        if (bytes == 0 || !character_is_space(c))
            break;
        at += bytes;
    }
    return at;
}

/* End of [start, end) without the white space at its end. */
static size_t strip_right(const struct lexer *l, size_t start, size_t end)
{
    while (end > start) {
        size_t at = end - 1;
        while (at > start && ((uint8_t)l->source.data[at] & 0xC0) == 0x80)
            at--;
        uint32_t c = 0;
        if (utf8_decode(l->source.data + at, end - at, &c) == 0 || !character_is_space(c))
            break;
        end = at;
    }
    return end;
}

/* lstrip_blocks: end of the text when only white space stands between the line's start and the tag.
 */
static size_t strip_line(const struct lexer *l, size_t start, size_t end)
{
    size_t line = end;
    while (line > start && l->source.data[line - 1] != '\n')
        line--;
    bool begins_line = line > start || l->at_line_start;
    return begins_line && strip_right(l, line, end) == line ? line : end;
}

/* After a block's or comment's end at `at`: what its sign and trim_blocks take away. */
static size_t trim_after(const struct lexer *l, size_t at, char sign)
{
    if (sign == '-')
        return skip_spaces(l, at);
    return sign != '+' && has_at(l, at, "\n") ? at + 1 : at;
}

static size_t find_tag(const struct lexer *l, size_t from)
{
    for (size_t at = from; at + 1 < l->source.bytes; at++) {
        if (l->source.data[at] == '{' && strchr("{%#", l->source.data[at + 1]) != NULL &&
            l->source.data[at + 1] != '\0')
            return at;
    }
    return l->source.bytes;
}

static char sign_at(const struct lexer *l, size_t at, bool allow_plus)
{
    char c = at < l->source.bytes ? l->source.data[at] : '\0';
    return c == '-' || (c == '+' && allow_plus) ? c : '\0';
}

/* Skips a comment that begins at l->at. */
static void skip_comment(struct lexer *l)
{
    size_t end = text_find(l->source, text_slice_of("#}"), l->at + 2);
    if (end == SIZE_MAX) {
        jinja_fail(l->state, "a comment is not closed");
        return;
    }
    char sign = end > l->at + 2 ? l->source.data[end - 1] : '\0';
    advance(l, trim_after(l, end + 2, sign == '-' || sign == '+' ? sign : '\0'));
}

/* `{% raw %}` or `{% endraw %}` at `at`: its end, or 0. *sign: of its end, *begin_sign: of its begin. */
static size_t raw_tag_at(const struct lexer *l, size_t at, const char *word, char *begin_sign,
                         char *sign)
{
    if (!has_at(l, at, "{%"))
        return 0;
    at += 2;
    *begin_sign = sign_at(l, at, true);
    at += *begin_sign != '\0';
    at = skip_spaces(l, at);
    if (!has_at(l, at, word))
        return 0;
    at = skip_spaces(l, at + strlen(word));
    *sign = sign_at(l, at, true);
    at += *sign != '\0';
    return has_at(l, at, "%}") ? at + 2 : 0;
}

static struct token text_token(struct lexer *l, size_t start, size_t end)
{
    return (struct token){
        .kind = LEX_TEXT, .text = {l->source.data + start, end - start}, .line = l->line};
}

/* The text of a raw block whose begin tag ended at `start`. */
static struct token lex_raw(struct lexer *l, size_t start)
{
    uint32_t line = l->line;
    for (size_t at = start; at < l->source.bytes; at++) {
        char begin_sign = '\0', sign = '\0';
        size_t end =
            l->source.data[at] == '{' ? raw_tag_at(l, at, "endraw", &begin_sign, &sign) : 0;
        if (end == 0)
            continue;
        l->at_line_start = false;
        size_t stop = begin_sign == '-'   ? strip_right(l, start, at)
                      : begin_sign == '+' ? at
                                          : strip_line(l, start, at);
        struct token token = text_token(l, start, stop);
        token.line = line;
        advance(l, trim_after(l, end, sign));
        return token;
    }
    jinja_fail(l->state, "a raw block is not closed");
    return (struct token){.kind = LEX_END, .line = line};
}

static struct token begin_tag(struct lexer *l)
{
    struct token token = {.kind = LEX_BLOCK_BEGIN, .line = l->line};
    char begin_sign = '\0', sign = '\0';
    size_t raw = raw_tag_at(l, l->at, "raw", &begin_sign, &sign);
    if (raw > 0) {
        advance(l, sign == '-' ? skip_spaces(l, raw) : raw);
        return lex_raw(l, l->at);
    }
    l->in_block = has_at(l, l->at, "{%");
    token.kind = l->in_block ? LEX_BLOCK_BEGIN : LEX_PRINT_BEGIN;
    advance(l, l->at + 2 + (sign_at(l, l->at + 2, true) != '\0'));
    l->in_tag = true;
    l->bracket_count = 0;
    return token;
}

/* Outside tags: the text up to the next tag, then the tag. */
static struct token lex_outside(struct lexer *l)
{
    for (;;) {
        if (l->state->failed != STATUS_OK || l->at >= l->source.bytes)
            return (struct token){.kind = LEX_END, .line = l->line};
        size_t start = l->at, tag = find_tag(l, l->at), stop = tag;
        if (!l->is_end_due && tag > start) {
            char sign = tag < l->source.bytes ? sign_at(l, tag + 2, true) : '+';
            if (sign == '-')
                stop = strip_right(l, start, tag);
            else if (sign != '+' && l->source.data[tag + 1] != '{')
                stop = strip_line(l, start, tag);
            struct token token = text_token(l, start, stop);
            advance(l, tag);
            l->is_end_due = tag < l->source.bytes;
            if (stop > start)
                return token;
            continue;
        }
        l->is_end_due = false;
        if (!has_at(l, l->at, "{#"))
            return begin_tag(l);
        skip_comment(l);
    }
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits_end(const struct lexer *l, size_t at)
{
    while (at < l->source.bytes && (is_digit(l->source.data[at]) ||
                                    (l->source.data[at] == '_' && at + 1 < l->source.bytes &&
                                     is_digit(l->source.data[at + 1]))))
        at++;
    return at;
}

/* Number: digits with underscores, a fraction, an exponent; 0x, 0o and 0b integers. */
static struct token lex_number(struct lexer *l)
{
    struct token token = {.kind = LEX_INTEGER, .line = l->line};
    const char *data = l->source.data;
    size_t start = l->at, end = digits_end(l, start);
    int base = 10;
    if (data[start] == '0' && end == start + 1 && end + 1 < l->source.bytes &&
        strchr("xXoObB", data[end]) != NULL) {
        base = strchr("xX", data[end]) != NULL ? 16 : strchr("oO", data[end]) != NULL ? 8 : 2;
        start = ++end;
        while (end < l->source.bytes && (is_name_start(data[end]) || is_digit(data[end])))
            end++;
    } else {
        if (has_at(l, end, ".") && end + 1 < l->source.bytes && is_digit(data[end + 1])) {
            end = digits_end(l, end + 1);
            token.kind = LEX_FLOAT;
        }
        size_t exponent = end;
        if (has_at(l, exponent, "e") || has_at(l, exponent, "E")) {
            exponent++;
            exponent += has_at(l, exponent, "+") || has_at(l, exponent, "-");
            if (exponent < l->source.bytes && is_digit(data[exponent])) {
                end = digits_end(l, exponent);
                token.kind = LEX_FLOAT;
            }
        }
    }
    char text[64];
    size_t written = 0;
    for (size_t i = start; i < end; i++) {
        if (data[i] != '_' && written + 1 < sizeof(text))
            text[written++] = data[i];
    }
    text[written] = '\0';
    char *rest = text;
    token.value = token.kind == LEX_FLOAT ? value_float(strtod(text, &rest))
                                          : value_int(strtoll(text, &rest, base));
    if (*rest != '\0' || written == 0 || written + 1 == sizeof(text))
        jinja_fail(l->state, "malformed number");
    if (token.kind == LEX_INTEGER && (token.value.integer == INT64_MAX))
        jinja_fail(l->state, "an integer is too large");
    advance(l, end);
    return token;
}

/* Reads `count` hex digits at `at`; false when they are not there. */
static bool read_hex(const struct lexer *l, size_t at, size_t count, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = at + i < l->source.bytes ? hex_digit_value(l->source.data[at + i]) : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* The escape after a backslash at `at`; appends what it stands for and returns its end. */
static size_t lex_escape(struct lexer *l, size_t at, struct text_builder *b)
{
    static const char names[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
    char c = l->source.data[at];
    const char *found = c != '\0' ? strchr(names, c) : NULL;
    if (found != NULL) {
        text_builder_add(b, &meanings[found - names], 1, true);
        return at + 1;
    }
    if (c == '\n')
        return at + 1;
    uint32_t code_point = 0;
    size_t end = at;
    if (c >= '0' && c <= '7') {
        while (end < l->source.bytes && end < at + 3 && l->source.data[end] >= '0' &&
               l->source.data[end] <= '7')
            code_point = code_point * 8 + (uint32_t)(l->source.data[end++] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (!read_hex(l, at + 1, count, &code_point) || code_point > 0x10FFFF ||
            (code_point >= 0xD800 && code_point < 0xE000))
            jinja_fail(l->state, "malformed escape in a string");
        end = at + 1 + count;
    } else {
        text_builder_add(b, "\\", 1, true);
        return at;
    }
    char encoded[4];
    if (l->state->failed == STATUS_OK)
        text_builder_add(b, encoded, utf8_encode(code_point, encoded), true);
    return end;
}

static struct token lex_string(struct lexer *l)
{
    struct token token = {.kind = LEX_STRING, .line = l->line};
    char quote = l->source.data[l->at];
    struct text_builder builder;
    text_builder_init(&builder, l->state);
    size_t at = l->at + 1;
    while (l->state->failed == STATUS_OK && at < l->source.bytes && l->source.data[at] != quote) {
        if (l->source.data[at] == '\\' && at + 1 < l->source.bytes) {
            at = lex_escape(l, at + 1, &builder);
            continue;
        }
        text_builder_add(&builder, l->source.data + at++, 1, true);
    }
    if (at >= l->source.bytes)
        jinja_fail(l->state, "a string is not closed");
    token.value = text_builder_value(&builder);
    advance(l, at < l->source.bytes ? at + 1 : at);
    return token;
}

static void track_bracket(struct lexer *l, char c)
{
    const char *open = strchr("([{", c);
    if (open != NULL) {
        if (l->bracket_count == LEX_BRACKETS_MAX) {
            jinja_fail_status(l->state, STATUS_TOO_LARGE, "too many brackets");
            return;
        }
        l->brackets[l->bracket_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) != NULL) {
        if (l->bracket_count == 0 || l->brackets[l->bracket_count - 1] != c)
            jinja_fail(l->state, "unexpected '%c'", c);
        else
            l->bracket_count--;
    }
}

static struct token lex_operator(struct lexer *l)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
        if (has_at(l, l->at, two[i]))
            bytes = 2;
    }
    char c = l->source.data[l->at];
    struct token token = {
        .kind = LEX_OPERATOR, .text = {l->source.data + l->at, bytes}, .line = l->line};
    if (c == '\0' || (bytes == 1 && strchr("+-/*%~[](){}><=.:|,;", c) == NULL))
        jinja_fail(l->state, "unexpected character in a tag");
    else if (bytes == 1)
        track_bracket(l, c);
    advance(l, l->at + bytes);
    return token;
}

/* The tag's end at l->at: its length, or 0. */
static size_t tag_end(const struct lexer *l, char *sign)
{
    if (l->bracket_count > 0)
        return 0;
    *sign = sign_at(l, l->at, l->in_block);
    size_t at = l->at + (*sign != '\0');
    return has_at(l, at, l->in_block ? "%}" : "}}") ? at + 2 - l->at : 0;
}

static struct token lex_inside(struct lexer *l)
{
    char sign = '\0';
    size_t length = tag_end(l, &sign);
    if (length == 0) {
        advance(l, skip_spaces(l, l->at));
        length = tag_end(l, &sign);
    }
    if (length > 0) {
        struct token token = {.kind = l->in_block ? LEX_BLOCK_END : LEX_PRINT_END, .line = l->line};
        size_t end = l->at + length;
        advance(l, l->in_block   ? trim_after(l, end, sign)
                   : sign == '-' ? skip_spaces(l, end)
                                 : end);
        l->in_tag = false;
        return token;
    }
    if (l->at >= l->source.bytes) {
        jinja_fail(l->state, "a tag is not closed");
        return (struct token){.kind = LEX_END, .line = l->line};
    }
    char c = l->source.data[l->at];
    if (is_digit(c))
        return lex_number(l);
    if (c == '\'' || c == '"')
        return lex_string(l);
    if (!is_name_start(c))
        return lex_operator(l);
    struct token token = {.kind = LEX_NAME, .text = {l->source.data + l->at, 0}, .line = l->line};
    size_t end = l->at;
    while (end < l->source.bytes &&
           (is_name_start(l->source.data[end]) || is_digit(l->source.data[end])))
        end++;
    token.text.bytes = end - l->at;
    advance(l, end);
    return token;
}

struct token lexer_next(struct lexer *l)
{
    if (l->state->failed != STATUS_OK)
        return (struct token){.kind = LEX_END, .line = l->line};
    l->state->line = l->line;
    return l->in_tag ? lex_inside(l) : lex_outside(l);
}
