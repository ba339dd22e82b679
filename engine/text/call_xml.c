/* Calls as tags, arguments without quotes: whole arguments are kept until their end, since what they mean depends on the
 * tool's schema and on where they end. */

#include "call_reader.h"

#include <string.h>

/* A name longer than this is none; text that never ends must not be kept and read again and again. */
#define NAME_BYTES_MAX 256u

/* Does the word end in `tag`? Then without it. */
static bool cut_tag(struct buffer *word, const char *tag)
{
    if (!text_slice_ends_with(buffer_slice(word), tag))
        return false;
    word->bytes -= strlen(tag);
    word->data[word->bytes] = 0;
    return true;
}

/* Without the line breaks that set the value apart from its tags, one at each end. */
static struct text_slice without_breaks(struct text_slice text)
{
    if (text.bytes > 0 && text.data[0] == '\n')
        text.data++, text.bytes--;
    if (text.bytes > 0 && text.data[text.bytes - 1] == '\n')
        text.bytes--;
    return text;
}

static void begin_arguments(struct call_reader *r, struct text_slice name)
{
    call_begin(r, name);
    call_arguments(r, "{", 1);
    r->has_arguments = false;
}

static void end_arguments(struct call_reader *r)
{
    call_arguments(r, "}", 1);
    call_end(r);
}

/* `early` holds the argument's name. */
static void put_argument(struct call_reader *r, struct text_slice value)
{
    struct buffer json;
    buffer_init(&json, r->word.bytes_max * 6); /* an escape takes at most six */
    if (r->has_arguments)
        buffer_append_text(&json, ", ");
    json_write_string(&json, buffer_slice(&r->early));
    buffer_append_text(&json, ": ");
    call_types_write_value(r->types, buffer_slice(&r->name), buffer_slice(&r->early), value, &json);
    if (json.failed != STATUS_OK)
        r->word.failed = json.failed;
    else
        call_arguments(r, json.data, json.bytes);
    r->has_arguments = true;
    buffer_deinit(&json);
}

static void keep(struct buffer *to, struct text_slice text)
{
    buffer_clear(to);
    buffer_append_slice(to, text);
}

/* --- Qwen3-Coder --- */

enum { QWEN_OPEN, QWEN_NAME, QWEN_BETWEEN, QWEN_KEY, QWEN_VALUE, QWEN_OBJECT, QWEN_END };

static bool is_start_of(const struct buffer *word, const char *tag)
{
    return word->bytes <= strlen(tag) && memcmp(word->data, tag, word->bytes) == 0;
}

/* Arguments as an object, which some families put where the others have tags. Its first brace is out already. */
static enum call_step qwen_object(struct call_reader *r, char c)
{
    if (r->state == QWEN_OBJECT) {
        call_arguments(r, &c, 1);
        r->state = call_json_pass(r, c) ? QWEN_END : QWEN_OBJECT;
        return CALL_MORE;
    }
    if (r->word.bytes == 0 && is_blank(c))
        return CALL_MORE;
    buffer_append_byte(&r->word, c);
    if (!is_start_of(&r->word, "</function>"))
        return CALL_FAILED;
    if (!cut_tag(&r->word, "</function>"))
        return CALL_MORE;
    call_end(r);
    return CALL_DONE;
}

/* Before a tag: white space, then nothing but one of two tags. */
static enum call_step qwen_between(struct call_reader *r, char c)
{
    if (r->word.bytes == 0 && is_blank(c))
        return CALL_MORE;
    if (c == '{' && r->state == QWEN_BETWEEN && r->word.bytes == 0 && !r->has_arguments) {
        (void)call_json_pass(r, c);
        r->state = QWEN_OBJECT;
        return CALL_MORE;
    }
    buffer_append_byte(&r->word, c);
    if (r->state == QWEN_OPEN) {
        if (!is_start_of(&r->word, "<function="))
            return CALL_FAILED;
        if (cut_tag(&r->word, "<function="))
            r->state = QWEN_NAME;
        return CALL_MORE;
    }
    if (cut_tag(&r->word, "<parameter=")) {
        r->state = QWEN_KEY;
        return CALL_MORE;
    }
    if (cut_tag(&r->word, "</function>")) {
        end_arguments(r);
        return CALL_DONE;
    }
    bool may_be = is_start_of(&r->word, "<parameter=") || is_start_of(&r->word, "</function>");
    return may_be ? CALL_MORE : CALL_FAILED;
}

static enum call_step qwen_name(struct call_reader *r, char c)
{
    if (c != '>') {
        buffer_append_byte(&r->word, c);
        return r->word.bytes <= NAME_BYTES_MAX ? CALL_MORE : CALL_FAILED;
    }
    struct text_slice name = call_trim(buffer_slice(&r->word));
    if (r->state == QWEN_KEY) {
        keep(&r->early, name);
        r->state = QWEN_VALUE;
    } else {
        if (!call_name_is_fit(r, name))
            return CALL_FAILED;
        keep(&r->name, name);
        begin_arguments(r, buffer_slice(&r->name));
        r->state = QWEN_BETWEEN;
    }
    buffer_clear(&r->word);
    return CALL_MORE;
}

enum call_step call_qwen_step(struct call_reader *r, char c)
{
    if (r->state == QWEN_OPEN && r->body == CALL_BODY_QWEN_FUNCTION)
        r->state = QWEN_NAME;
    if (r->state == QWEN_OPEN || r->state == QWEN_BETWEEN)
        return qwen_between(r, c);
    if (r->state == QWEN_NAME || r->state == QWEN_KEY)
        return qwen_name(r, c);
    if (r->state == QWEN_OBJECT || r->state == QWEN_END)
        return qwen_object(r, c);
    buffer_append_byte(&r->word, c);
    if (cut_tag(&r->word, "</parameter>")) {
        put_argument(r, without_breaks(buffer_slice(&r->word)));
        buffer_clear(&r->word);
        r->state = QWEN_BETWEEN;
    }
    return CALL_MORE;
}

/* --- GLM-4.5 --- */

#define GLM_END "</tool_call>"

enum { GLM_NAME, GLM_BETWEEN, GLM_KEY, GLM_OPEN_VALUE, GLM_VALUE };

static enum call_step glm_name(struct call_reader *r)
{
    bool has_arguments = cut_tag(&r->word, "<arg_key>");
    if (!has_arguments && !cut_tag(&r->word, GLM_END))
        return r->word.bytes <= NAME_BYTES_MAX ? CALL_MORE : CALL_FAILED;
    struct text_slice name = call_trim(buffer_slice(&r->word));
    if (!call_name_is_fit(r, name))
        return CALL_FAILED;
    keep(&r->name, name);
    buffer_clear(&r->word);
    begin_arguments(r, buffer_slice(&r->name));
    r->state = GLM_KEY;
    if (!has_arguments)
        end_arguments(r);
    return has_arguments ? CALL_MORE : CALL_DONE;
}

static enum call_step glm_between(struct call_reader *r)
{
    bool has_more = cut_tag(&r->word, "<arg_key>");
    bool is_end = !has_more && cut_tag(&r->word, GLM_END);
    if (has_more || is_end) {
        buffer_clear(&r->word);
        r->state = GLM_KEY;
    }
    if (is_end)
        end_arguments(r);
    return is_end ? CALL_DONE : CALL_MORE;
}

enum call_step call_glm_step(struct call_reader *r, char c)
{
    buffer_append_byte(&r->word, c);
    switch (r->state) {
    case GLM_NAME:
        return glm_name(r);
    case GLM_BETWEEN:
        return glm_between(r);
    case GLM_KEY:
        if (cut_tag(&r->word, "</arg_key>")) {
            keep(&r->early, call_trim(buffer_slice(&r->word)));
            buffer_clear(&r->word);
            r->state = GLM_OPEN_VALUE;
        }
        return CALL_MORE;
    case GLM_OPEN_VALUE:
        if (cut_tag(&r->word, "<arg_value>")) {
            buffer_clear(&r->word);
            r->state = GLM_VALUE;
        }
        return CALL_MORE;
    default:
        if (cut_tag(&r->word, "</arg_value>")) {
            put_argument(r, without_breaks(buffer_slice(&r->word)));
            buffer_clear(&r->word);
            r->state = GLM_BETWEEN;
        }
        return CALL_MORE;
    }
}
