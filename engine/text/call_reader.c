#include "call_reader.h"

#include <ctype.h>
#include <string.h>

/* Longest name of a function that is believed. */
#define NAME_BYTES_MAX 256u

static void put_literal(void *context, const char *json, size_t bytes)
{
    call_arguments(context, json, bytes);
}

void call_reader_init(struct call_reader *r, size_t bytes_max)
{
    *r = (struct call_reader){.literal = {.put = put_literal, .context = r}};
    buffer_init(&r->word, bytes_max);
    buffer_init(&r->name, NAME_BYTES_MAX);
    buffer_init(&r->early, bytes_max);
}

void call_reader_deinit(struct call_reader *r)
{
    buffer_deinit(&r->word);
    buffer_deinit(&r->name);
    buffer_deinit(&r->early);
}

void call_reader_start(struct call_reader *r, enum call_body body, head_name_fn *head_name,
                       bool needs_known)
{
    r->body = body;
    r->head_name = head_name;
    r->needs_known = needs_known && call_types_has_tools(r->types);
    r->state = 0;
    r->is_list = r->has_begun = r->has_arguments = false;
    r->depth = 0;
    r->in_string = r->is_escaped = false;
    buffer_clear(&r->word);
    buffer_clear(&r->name);
    buffer_clear(&r->early);
}

enum call_step call_reader_step(struct call_reader *r, char c)
{
    enum call_step step = CALL_FAILED;
    switch (r->body) {
    case CALL_BODY_JSON:
        step = call_json_step(r, c);
        break;
    case CALL_BODY_LIST_OR_NAMED:
        if (r->state == 0 && is_blank(c))
            return CALL_MORE;
        r->body = c == '[' ? CALL_BODY_JSON : CALL_BODY_NAMED_JSON;
        return call_reader_step(r, c);
    case CALL_BODY_NAMED_JSON:
        step = call_named_step(r, c);
        break;
    case CALL_BODY_PYTHON_LIST:
    case CALL_BODY_PYTHON:
        step = call_python_step(r, c);
        break;
    case CALL_BODY_QWEN_XML:
    case CALL_BODY_QWEN_FUNCTION:
        step = call_qwen_step(r, c);
        break;
    case CALL_BODY_GLM:
        step = call_glm_step(r, c);
        break;
    }
    bool has_overflowed =
        r->word.failed != STATUS_OK || r->name.failed != STATUS_OK || r->early.failed != STATUS_OK;
    return has_overflowed ? CALL_FAILED : step;
}

void call_reader_finish(struct call_reader *r)
{
    if (r->has_begun)
        call_end(r);
}

bool call_name_is_fit(const struct call_reader *r, struct text_slice name)
{
    for (size_t i = 0; i < name.bytes; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (!isalnum(c) && strchr("_-.:/", c) == NULL && c < 0x80)
            return false;
    }
    return name.bytes > 0 && name.bytes <= NAME_BYTES_MAX &&
           (!r->needs_known || call_types_has_tool(r->types, name));
}

void call_begin(struct call_reader *r, struct text_slice name)
{
    r->has_begun = true;
    r->sink->begin(r->sink->context, name);
}

void call_arguments(struct call_reader *r, const char *data, size_t bytes)
{
    if (bytes > 0)
        r->sink->arguments(r->sink->context, (struct text_slice){data, bytes});
}

void call_end(struct call_reader *r)
{
    r->has_begun = false;
    r->sink->end(r->sink->context);
}

bool call_json_pass(struct call_reader *r, char c)
{
    if (r->in_string) {
        if (r->is_escaped)
            r->is_escaped = false;
        else if (c == '\\')
            r->is_escaped = true;
        else if (c == '"')
            r->in_string = false;
    } else if (c == '"') {
        r->in_string = true;
    } else if (c == '{' || c == '[') {
        r->depth++;
    } else if (c == '}' || c == ']') {
        r->depth--;
    }
    return r->depth == 0 && !r->in_string;
}

struct text_slice call_trim(struct text_slice text)
{
    while (text.bytes > 0 && is_blank(text.data[0]))
        text.data++, text.bytes--;
    while (text.bytes > 0 && is_blank(text.data[text.bytes - 1]))
        text.bytes--;
    return text;
}
