/* Calls as Python: f(a=1, b=["x", None]), in a list or a line each. Literals become JSON as they come
 * (python_literal.h). */

#include "call_reader.h"

#include <ctype.h>

enum {
    AT_LIST, /* before '[' */
    AT_NAME, /* before a function's name, or the end */
    IN_NAME,
    AT_KEY, /* before an argument's name, or ')' */
    IN_KEY,
    IN_VALUE,
    AFTER_CALL /* before ',' or the end */
};

static bool is_name_part(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

static enum call_step end_call(struct call_reader *r)
{
    call_arguments(r, "}", 1);
    call_end(r);
    r->state = AFTER_CALL;
    return CALL_MORE;
}

static enum call_step in_value(struct call_reader *r, char c)
{
    enum python_step step = python_literal_step(&r->literal, c);
    if (step != PYTHON_ENDED)
        return step == PYTHON_MORE ? CALL_MORE : CALL_FAILED;
    if (c == ')')
        return end_call(r);
    r->state = AT_KEY;
    return c == ',' ? CALL_MORE : CALL_FAILED;
}

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
    python_literal_start(&r->literal);
    r->state = IN_VALUE;
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
    if (is_list && c == ']' && (r->state == AFTER_CALL || r->name.bytes > 0))
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
    case IN_VALUE:
        return in_value(r, c);
    default:
        return between_calls(r, c);
    }
}
