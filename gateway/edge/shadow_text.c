#include "shadow_text.h"

#include <ctype.h>
#include <jansson.h>

/* --- answers --- */

static bool choice_read(const json_t *answer, struct buffer *out)
{
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
    const json_t *part = json_object_get(choice, "message"), *text;

    if (part == NULL)
        part = json_object_get(choice, "delta");
    text = json_object_get(part != NULL ? part : choice, part != NULL ? "content" : "text");
    if (json_is_string(text))
        buffer_append(out, json_string_value(text), json_string_length(text));
    return json_object_get(answer, "error") == NULL && json_is_object(answer);
}

static bool object_read(struct text_slice text, struct buffer *out)
{
    json_t *answer = json_loadb(text.data, text.bytes, 0, NULL);
    bool is_good = answer != NULL && choice_read(answer, out);

    json_decref(answer);
    return is_good;
}

static bool events_read(struct text_slice text, struct buffer *out)
{
    static const char field[] = "data: ";
    bool is_done = false;

    while (text.bytes > 0) {
        const char *end = memchr(text.data, '\n', text.bytes);
        size_t bytes = end != NULL ? (size_t)(end - text.data) : text.bytes;
        struct text_slice line = {text.data, bytes};

        text.data += bytes + (end != NULL);
        text.bytes -= bytes + (end != NULL);
        if (line.bytes > 0 && line.data[line.bytes - 1] == '\r')
            line.bytes--;
        if (line.bytes < sizeof(field) - 1 || memcmp(line.data, field, sizeof(field) - 1) != 0)
            continue;
        line.data += sizeof(field) - 1;
        line.bytes -= sizeof(field) - 1;
        is_done |= text_slice_is(line, "[DONE]");
        if (!text_slice_is(line, "[DONE]") && !object_read(line, out))
            return false;
    }
    return is_done;
}

bool shadow_text_read(struct text_slice answer, struct buffer *out)
{
    while (answer.bytes > 0 && isspace((unsigned char)answer.data[0])) {
        answer.data++;
        answer.bytes--;
    }
    return answer.bytes > 0 && answer.data[0] == '{' ? object_read(answer, out)
                                                     : events_read(answer, out);
}

/* --- tokens --- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '_' || c == '\'';
}

/* The next token; moves on behind it. */
static struct text_slice token_next(struct text_slice *text)
{
    size_t bytes = 0;
    struct text_slice token = {text->data, 0};

    while (bytes < text->bytes && isspace((unsigned char)text->data[bytes]))
        bytes++;
    if (bytes < text->bytes && !is_word(text->data[bytes]))
        bytes++;
    else
        while (bytes < text->bytes && is_word(text->data[bytes]))
            bytes++;
    token.bytes = bytes;
    text->data += bytes;
    text->bytes -= bytes;
    return token;
}

struct shadow_difference shadow_text_compare(struct text_slice a, struct text_slice b)
{
    struct shadow_difference out = {{0, 0}, 0};
    bool is_equal = true;

    while (a.bytes > 0 || b.bytes > 0) {
        struct text_slice left = token_next(&a), right = token_next(&b);

        out.tokens[0] += left.bytes > 0;
        out.tokens[1] += right.bytes > 0;
        is_equal = is_equal && text_slice_equals(left, right);
        out.equal_tokens += is_equal;
    }
    return out;
}
