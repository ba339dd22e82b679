/* Calls as JSON: objects with a name and arguments, and arguments behind a head that has the name. Arguments go out as
 * they come, byte for byte as the model wrote them. */

#include "call_reader.h"

#include "json.h"

enum {
    AT_START,     /* before the array or object */
    AT_OBJECT,    /* before an object of the array */
    AFTER_OBJECT, /* behind one */
    AT_KEY,       /* before a key or the object's end */
    IN_KEY,
    AT_COLON,
    AT_VALUE,
    IN_NAME,      /* a string, kept in `word` */
    IN_ARGUMENTS, /* passed on, or kept in `early` while there is no name */
    IN_TEXT,      /* arguments as a string that holds JSON, kept in `word` */
    IN_SCALAR,    /* a number or word, of no interest */
    IN_OTHER,     /* another key's string, object or array */
    AFTER_VALUE
};

/* Which value comes. */
static bool key_is(const struct call_reader *r, const char *key)
{
    return text_slice_is(buffer_slice(&r->word), key);
}

/* What is known so far goes out as soon as it is enough for a call: a name, and that arguments come. */
static bool begin_if_known(struct call_reader *r)
{
    if (r->has_begun || r->name.bytes == 0 || !r->has_arguments)
        return true;
    if (!call_name_is_fit(r, buffer_slice(&r->name)))
        return false;
    call_begin(r, buffer_slice(&r->name));
    call_arguments(r, r->early.data, r->early.bytes);
    buffer_clear(&r->early);
    return true;
}

static void put_arguments(struct call_reader *r, const char *data, size_t bytes)
{
    if (r->has_begun)
        call_arguments(r, data, bytes);
    else
        buffer_append(&r->early, data, bytes);
}

static enum call_step begin_object(struct call_reader *r)
{
    r->state = AT_KEY;
    r->has_arguments = false;
    buffer_clear(&r->name);
    buffer_clear(&r->early);
    return CALL_MORE;
}

/* An object without arguments is a call where only a call can stand. */
static enum call_step end_object(struct call_reader *r)
{
    if (!r->has_begun) {
        if (r->name.bytes == 0 || r->needs_known || r->has_arguments ||
            !call_name_is_fit(r, buffer_slice(&r->name)))
            return CALL_FAILED;
        call_begin(r, buffer_slice(&r->name));
        call_arguments(r, "{}", 2);
    }
    call_end(r);
    r->state = AFTER_OBJECT;
    return r->is_list ? CALL_MORE : CALL_DONE;
}

static enum call_step start_value(struct call_reader *r, char c)
{
    bool is_name = key_is(r, "name"), is_open = c == '{' || c == '[';
    bool is_arguments = key_is(r, "arguments") || key_is(r, "parameters");
    r->depth = 0;
    if (is_name && c != '"')
        return CALL_FAILED;
    if (is_name || (is_arguments && c == '"')) {
        r->state = is_name ? IN_NAME : IN_TEXT;
        r->has_arguments = r->has_arguments || is_arguments;
        buffer_clear(&r->word);
        buffer_append_byte(&r->word, c);
        r->in_string = true;
        return begin_if_known(r) ? CALL_MORE : CALL_FAILED;
    }
    if (is_arguments && is_open) {
        r->has_arguments = true;
        if (!begin_if_known(r))
            return CALL_FAILED;
        put_arguments(r, &c, 1);
        (void)call_json_pass(r, c);
        r->state = IN_ARGUMENTS;
        return CALL_MORE;
    }
    if (is_arguments) { /* null: none */
        r->has_arguments = true;
        if (c != 'n' || !begin_if_known(r))
            return CALL_FAILED;
        put_arguments(r, "{}", 2);
    }
    (void)call_json_pass(r, c);
    r->state = is_open || c == '"' ? IN_OTHER : IN_SCALAR;
    return CALL_MORE;
}

/* A string in `word` is complete. */
static enum call_step end_string(struct call_reader *r)
{
    struct buffer *out = r->state == IN_NAME ? &r->name : &r->early;
    buffer_clear(out);
    if (json_field_text(buffer_slice(&r->word), out) != STATUS_OK)
        return CALL_FAILED;
    if (r->state == IN_TEXT && out->bytes == 0) /* none */
        buffer_append(out, "{}", 2);
    if (r->state == IN_TEXT && r->has_begun) {
        call_arguments(r, out->data, out->bytes);
        buffer_clear(out);
    }
    r->state = AFTER_VALUE;
    return begin_if_known(r) ? CALL_MORE : CALL_FAILED;
}

static enum call_step after_value(struct call_reader *r, char c)
{
    if (is_blank(c))
        return CALL_MORE;
    if (c == ',') {
        r->state = AT_KEY;
        return CALL_MORE;
    }
    return c == '}' ? end_object(r) : CALL_FAILED;
}

static enum call_step in_value(struct call_reader *r, char c)
{
    switch (r->state) {
    case IN_NAME:
    case IN_TEXT:
        buffer_append_byte(&r->word, c);
        return call_json_pass(r, c) ? end_string(r) : CALL_MORE;
    case IN_ARGUMENTS:
        put_arguments(r, &c, 1);
        if (call_json_pass(r, c))
            r->state = AFTER_VALUE;
        return CALL_MORE;
    case IN_OTHER:
        if (call_json_pass(r, c))
            r->state = AFTER_VALUE;
        return CALL_MORE;
    default: /* IN_SCALAR */
        if (c != ',' && c != '}' && !is_blank(c))
            return CALL_MORE;
        r->state = AFTER_VALUE;
        return after_value(r, c);
    }
}

static enum call_step at_key(struct call_reader *r, char c)
{
    if (r->state == IN_KEY) {
        if (c == '"')
            r->state = AT_COLON;
        else
            buffer_append_byte(&r->word, c);
        return CALL_MORE;
    }
    if (is_blank(c))
        return CALL_MORE;
    if (r->state == AT_COLON) {
        r->state = AT_VALUE;
        return c == ':' ? CALL_MORE : CALL_FAILED;
    }
    if (c == '}')
        return end_object(r);
    r->state = IN_KEY;
    buffer_clear(&r->word);
    return c == '"' ? CALL_MORE : CALL_FAILED;
}

static enum call_step between_objects(struct call_reader *r, char c)
{
    if (is_blank(c))
        return CALL_MORE;
    if (c == '{' && r->state != AFTER_OBJECT)
        return begin_object(r);
    if (c == '[' && r->state == AT_START) {
        r->is_list = true;
        r->state = AT_OBJECT;
        return CALL_MORE;
    }
    if (r->state == AFTER_OBJECT && c == ',') {
        r->state = AT_OBJECT;
        return CALL_MORE;
    }
    return r->state == AFTER_OBJECT && c == ']' ? CALL_DONE : CALL_FAILED;
}

enum call_step call_json_step(struct call_reader *r, char c)
{
    switch (r->state) {
    case AT_START:
    case AT_OBJECT:
    case AFTER_OBJECT:
        return between_objects(r, c);
    case AT_KEY:
    case IN_KEY:
    case AT_COLON:
        return at_key(r, c);
    case AT_VALUE:
        return is_blank(c) ? CALL_MORE : start_value(r, c);
    case AFTER_VALUE:
        return after_value(r, c);
    default:
        return in_value(r, c);
    }
}

/* --- a head, then the arguments --- */

enum { IN_HEAD, IN_BODY };

enum call_step call_named_step(struct call_reader *r, char c)
{
    if (r->state == IN_HEAD && c != '{') {
        buffer_append_byte(&r->name, c);
        return CALL_MORE;
    }
    if (r->state == IN_HEAD) {
        struct text_slice name = r->head_name(buffer_slice(&r->name));
        if (!call_name_is_fit(r, name))
            return CALL_FAILED;
        call_begin(r, name);
        r->state = IN_BODY;
    }
    call_arguments(r, &c, 1);
    if (!call_json_pass(r, c))
        return CALL_MORE;
    call_end(r);
    return CALL_DONE;
}
