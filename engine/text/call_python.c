/* Calls as Python: f(a=1, b=["x", None]), in a list or a line each. Literals become JSON as they come. */

#include "call_reader.h"

#include <ctype.h>
#include <string.h>

enum {
    AT_LIST, /* before '[' */
    AT_NAME, /* before a function's name, or the end */
    IN_NAME,
    AT_KEY, /* before an argument's name, or ')' */
    IN_KEY,
    AT_VALUE,
    IN_VALUE,
    AFTER_CALL /* before ',' or the end */
};

static bool is_name_part(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

/* --- values --- */

/* The word so far: a constant of Python, or a number as it is. */
static bool flush_word(struct call_reader *r)
{
    static const struct {
        const char *python, *json;
    } constants[] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                     {"true", "true"}, {"false", "false"}, {"null", "null"}};
    struct text_slice word = buffer_slice(&r->word);
    if (word.bytes == 0)
        return true;
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (word.bytes == strlen(constants[i].python) &&
            memcmp(word.data, constants[i].python, word.bytes) == 0) {
            call_arguments(r, constants[i].json, strlen(constants[i].json));
            buffer_clear(&r->word);
            return true;
        }
    }
    for (size_t i = 0; i < word.bytes; i++) {
        if (!isdigit((unsigned char)word.data[i]) && strchr("+-.eE", word.data[i]) == NULL)
            return false;
    }
    call_arguments(r, word.data, word.bytes);
    buffer_clear(&r->word);
    return true;
}

static void put_code_point(struct call_reader *r)
{
    unsigned code = 0;
    for (size_t i = 0; i < r->word.bytes; i++) {
        char c = r->word.data[i];
        code = code * 16 + (unsigned)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    char text[16];
    static const char hex[] = "0123456789abcdef";
    size_t bytes = 6;
    memcpy(text, "\\u", 2);
    for (unsigned i = 0; i < 4; i++)
        text[2 + i] = hex[code >> (12 - 4 * i) & 15];
    call_arguments(r, text, bytes);
    buffer_clear(&r->word);
}

/* A character behind a backslash. JSON knows fewer escapes, and none of its own apostrophe. */
static enum call_step in_escape(struct call_reader *r, char c)
{
    r->is_escaped = false;
    if (c == 'x' || c == 'u') {
        r->escape_left = c == 'x' ? 2 : 4;
        return CALL_MORE;
    }
    if (c == '\n') /* a line that goes on */
        return CALL_MORE;
    char pair[2] = {'\\', c};
    if (c == '\'')
        call_arguments(r, &c, 1);
    else if (strchr("\"\\nrtbf", c) != NULL)
        call_arguments(r, pair, 2);
    else { /* Python keeps a backslash that means nothing */
        call_arguments(r, "\\\\", 2);
        call_arguments(r, &c, 1);
    }
    return CALL_MORE;
}

static enum call_step in_string(struct call_reader *r, char c)
{
    if (r->escape_left > 0) {
        if (!isxdigit((unsigned char)c))
            return CALL_FAILED;
        buffer_append_byte(&r->word, c);
        if (--r->escape_left == 0)
            put_code_point(r);
        return CALL_MORE;
    }
    if (r->is_escaped)
        return in_escape(r, c);
    if (c == '\\') {
        r->is_escaped = true;
    } else if (c == r->quote) {
        r->quote = 0;
        call_arguments(r, "\"", 1);
    } else if (c == '"') {
        call_arguments(r, "\\\"", 2);
    } else if (c == '\n' || c == '\t' || c == '\r') {
        call_arguments(r, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r", 2);
    } else {
        call_arguments(r, &c, 1);
    }
    return CALL_MORE;
}

static enum call_step end_call(struct call_reader *r)
{
    call_arguments(r, "}", 1);
    call_end(r);
    r->state = AFTER_CALL;
    return CALL_MORE;
}

/* Outside strings; depth counts the brackets within the value. */
static enum call_step in_value(struct call_reader *r, char c)
{
    if (is_name_part(c) || c == '+') {
        buffer_append_byte(&r->word, c);
        return CALL_MORE;
    }
    if (!flush_word(r))
        return CALL_FAILED;
    if (is_blank(c))
        return CALL_MORE;
    if (c == '"' || c == '\'') {
        r->quote = c;
        call_arguments(r, "\"", 1);
    } else if (c == '[' || c == '(' || c == '{') {
        r->depth++;
        call_arguments(r, c == '{' ? "{" : "[", 1);
    } else if ((c == ']' || c == ')' || c == '}') && r->depth > 0) {
        r->depth--;
        call_arguments(r, c == '}' ? "}" : "]", 1);
    } else if (c == ')') {
        return end_call(r);
    } else if (c == ',' && r->depth == 0) {
        r->state = AT_KEY;
    } else if ((c == ',' || c == ':') && r->depth > 0) {
        call_arguments(r, &c, 1);
    } else {
        return CALL_FAILED;
    }
    return CALL_MORE;
}

/* --- calls --- */

static enum call_step in_name(struct call_reader *r, char c)
{
    if (is_name_part(c)) {
        buffer_append_byte(&r->name, c);
        return CALL_MORE;
    }
    if (c != '(' || !call_name_is_fit(r, buffer_slice(&r->name)))
        return CALL_FAILED;
    call_begin(r, buffer_slice(&r->name));
    call_arguments(r, "{", 1);
    r->has_arguments = false;
    r->state = AT_KEY;
    return CALL_MORE;
}

static enum call_step in_key(struct call_reader *r, char c)
{
    if (r->state == AT_KEY && is_blank(c))
        return CALL_MORE;
    if (r->state == AT_KEY && c == ')')
        return end_call(r);
    if (is_name_part(c)) {
        r->state = IN_KEY;
        buffer_append_byte(&r->word, c);
        return CALL_MORE;
    }
    if (is_blank(c) && r->word.bytes > 0)
        return CALL_MORE;
    if (c != '=' || r->word.bytes == 0)
        return CALL_FAILED;
    if (r->has_arguments)
        call_arguments(r, ", ", 2);
    r->has_arguments = true;
    call_arguments(r, "\"", 1);
    call_arguments(r, r->word.data, r->word.bytes);
    call_arguments(r, "\": ", 3);
    buffer_clear(&r->word);
    r->depth = 0;
    r->state = AT_VALUE;
    return CALL_MORE;
}

/* Before a name. Lines of calls end where something else begins; a list ends with its bracket. */
static enum call_step between_calls(struct call_reader *r, char c)
{
    bool is_list = r->body == CALL_BODY_PYTHON_LIST;
    if (is_blank(c))
        return CALL_MORE;
    if (r->state == AT_LIST) {
        if (is_list && c != '[')
            return CALL_FAILED;
        r->state = AT_NAME;
        if (is_list)
            return CALL_MORE;
    }
    if (r->state == AFTER_CALL && (c == ',' || c == ';')) {
        r->state = AT_NAME;
        return CALL_MORE;
    }
    if (is_list && c == ']' && r->state == AFTER_CALL)
        return CALL_DONE;
    if (!is_name_part(c) || (is_list && r->state == AFTER_CALL))
        return !is_list && r->state == AFTER_CALL ? CALL_UNREAD : CALL_FAILED;
    buffer_clear(&r->name);
    r->state = IN_NAME;
    return in_name(r, c);
}

enum call_step call_python_step(struct call_reader *r, char c)
{
    switch (r->state) {
    case IN_NAME:
        return in_name(r, c);
    case AT_KEY:
    case IN_KEY:
        return in_key(r, c);
    case AT_VALUE:
        if (is_blank(c))
            return CALL_MORE;
        r->state = IN_VALUE;
        return in_value(r, c);
    case IN_VALUE:
        return r->quote != 0 ? in_string(r, c) : in_value(r, c);
    default:
        return between_calls(r, c);
    }
}
