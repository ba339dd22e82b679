/* Strings. A built string owns a block with room behind it; concatenation to the string that ends
 * where the block ends goes on in place (older strings see only their own prefix), so that a
 * template that collects its output by `ns.text = ns.text + piece` takes linear and not quadratic
 * memory. */
#include <string.h>

#include "jinja_value.h"
#include "utf8.h"

struct text_block {
    size_t used, capacity; /* of data[] and of the trust flags that follow it */
    char *data;
    uint8_t *trust;
};

void text_builder_init(struct text_builder *b, struct jinja_state *s)
{
    *b = (struct text_builder){.state = s};
}

static bool builder_reserve(struct text_builder *b, size_t extra)
{
    if (b->state->failed != STATUS_OK)
        return false;
    if (extra <= b->capacity - b->bytes)
        return true;
    if (extra > JINJA_TEXT_MAX - b->bytes) {
        jinja_fail_status(b->state, STATUS_TOO_LARGE, "a string is longer than 64 MiB");
        return false;
    }
    size_t capacity = 2 * (b->bytes + extra) + 32;
    char *data = jinja_allocate(b->state, 2, capacity);
    if (data == NULL)
        return false;
    if (b->bytes > 0) {
        memcpy(data, b->data, b->bytes);
        memcpy(data + capacity, b->trust, b->bytes);
    }
    b->data = data;
    b->trust = (uint8_t *)data + capacity;
    b->capacity = capacity;
    return true;
}

void text_builder_add(struct text_builder *b, const char *data, size_t bytes, bool trusted)
{
    if (bytes == 0 || !builder_reserve(b, bytes))
        return;
    memcpy(b->data + b->bytes, data, bytes);
    memset(b->trust + b->bytes, trusted, bytes);
    b->bytes += bytes;
}

void text_builder_add_part(struct text_builder *b, const struct text *text, size_t start,
                           size_t end)
{
    if (text->trust == NULL) {
        text_builder_add(b, text->data + start, end - start, text->trusted);
        return;
    }
    if (start == end || !builder_reserve(b, end - start))
        return;
    memcpy(b->data + b->bytes, text->data + start, end - start);
    memcpy(b->trust + b->bytes, text->trust + start, end - start);
    b->bytes += end - start;
}

void text_builder_add_text(struct text_builder *b, const struct text *text)
{
    text_builder_add_part(b, text, 0, text->bytes);
}

static struct value string_of(struct jinja_state *s, struct text made)
{
    struct text *text = jinja_allocate(s, 1, sizeof(*text));
    if (text == NULL)
        return value_undefined();
    *text = made;
    return (struct value){.kind = VALUE_STRING, .text = text};
}

struct value text_builder_value(struct text_builder *b)
{
    if (b->bytes == 0)
        return string_of(b->state, (struct text){.data = "", .trusted = true});
    struct text_block *block = jinja_allocate(b->state, 1, sizeof(*block));
    if (block == NULL)
        return value_undefined();
    *block = (struct text_block){b->bytes, b->capacity, b->data, b->trust};
    jinja_spend(b->state, b->bytes / 64);
    return string_of(b->state, (struct text){b->data, b->trust, b->bytes, false, false, block});
}

bool text_is_trusted(const struct text *text)
{
    if (text->trust == NULL)
        return text->trusted;
    return text->bytes == 0 || memchr(text->trust, 0, text->bytes) == NULL;
}

struct value text_part(struct jinja_state *s, const struct text *text, size_t start, size_t end)
{
    struct text part = {.data = text->data + start,
                        .trust = text->trust != NULL ? text->trust + start : NULL,
                        .bytes = end - start,
                        .trusted = text->trusted};
    return string_of(s, part);
}

struct value text_concat(struct jinja_state *s, const struct text *a, const struct text *b)
{
    struct text_block *block = a->block;
    bool in_place = block != NULL && a->data + a->bytes == block->data + block->used &&
                    b->bytes <= block->capacity - block->used;
    struct text_builder builder;
    text_builder_init(&builder, s);
    if (!in_place) {
        text_builder_add_text(&builder, a);
        text_builder_add_text(&builder, b);
        return text_builder_value(&builder);
    }
    builder.data = (char *)a->data;
    builder.trust = block->trust + (a->data - block->data);
    builder.bytes = a->bytes;
    builder.capacity = a->bytes + block->capacity - block->used;
    text_builder_add_text(&builder, b);
    block->used += b->bytes;
    jinja_spend(s, b->bytes / 64 + 1);
    return string_of(s, (struct text){a->data, builder.trust, builder.bytes, false, false, block});
}

size_t text_character(const struct text *text, size_t at, uint32_t *code_point)
{
    size_t bytes = utf8_decode(text->data + at, text->bytes - at, code_point);
    if (bytes > 0)
        return bytes;
    *code_point = 0xFFFD;
    return 1;
}

size_t text_length(const struct text *text)
{
    size_t count = 0;
    for (size_t i = 0; i < text->bytes; i++)
        count += ((uint8_t)text->data[i] & 0xC0) != 0x80;
    return count;
}

size_t text_offset(const struct text *text, size_t code_points)
{
    size_t at = 0;
    for (; at < text->bytes; at++) {
        if (((uint8_t)text->data[at] & 0xC0) != 0x80 && code_points-- == 0)
            break;
    }
    return at;
}

size_t text_find(struct text_slice text, struct text_slice part, size_t from)
{
    if (from > text.bytes || part.bytes > text.bytes - from)
        return SIZE_MAX;
    if (part.bytes == 0)
        return from;
    const char *found = memmem(text.data + from, text.bytes - from, part.data, part.bytes);
    return found != NULL ? (size_t)(found - text.data) : SIZE_MAX;
}

bool character_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool character_is_line_end(uint32_t c)
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

struct value value_string(struct jinja_state *s, struct text_slice bytes, bool trusted)
{
    return string_of(s, (struct text){.data = bytes.data != NULL ? bytes.data : "",
                                      .bytes = bytes.bytes,
                                      .trusted = trusted});
}
