#include "prompt_marks.h"

#include <string.h>

#include "block_allocator.h"
#include "memory.h"

/* Shorter strings (roles, types, names) stand in many places and are not looked for. */
#define NEEDLE_BYTES_MIN 16u
#define NEEDLE_BYTES_MAX 64u
/* How far ahead a string is looked for: what a template puts between two, and what was skipped. */
#define WINDOW_BYTES (64u << 10)
/* Strings that are not found, after which no more are looked for: bounds the work for hostile bodies. */
#define MISSES_MAX 64u
/* How the last word before a chunk's end is cut into tokens may depend on what follows it: so much is left out. */
#define WORD_BYTES 16u

struct alignment {
    struct text_slice rendered;
    size_t cursor;   /* what has been found so far ends here */
    uint64_t offset; /* in the canonical text */
    size_t *ends;
    uint32_t count, count_max;
    uint32_t miss_count;
};

/* Moves on in the canonical text: chunks that end on the way end where the cursor is. */
static void pass(struct alignment *a, uint64_t bytes)
{
    a->offset += bytes;
    while (a->count < a->count_max && a->offset >= (uint64_t)(a->count + 1) * PROMPT_CHUNK_BYTES)
        a->ends[a->count++] = a->cursor;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 0x20) - 'a' + 10;
}

static uint32_t hex4(const char *at)
{
    return (uint32_t)(hex_value(at[0]) << 12 | hex_value(at[1]) << 8 | hex_value(at[2]) << 4 |
                      hex_value(at[3]));
}

static uint32_t utf8_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* One character of a JSON string, or one byte of it: writes what it means to `out` and its length there to `*out_bytes`;
 * returns its length in the string. The body was checked, so escapes are whole. */
static size_t unit_read(const char *at, char out[4], uint32_t *out_bytes)
{
    static const char plain[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *found;
    uint32_t c;

    *out_bytes = 1;
    out[0] = at[0];
    if (at[0] != '\\')
        return 1;
    if (at[1] != 'u') {
        found = memchr(plain, at[1], sizeof(plain) - 1);
        out[0] = found != NULL ? meant[found - plain] : at[1];
        return 2;
    }
    c = hex4(at + 2);
    if (c >= 0xd800 && c < 0xdc00) {
        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(at + 8) - 0xdc00);
        *out_bytes = utf8_put(c, out);
        return 12;
    }
    *out_bytes = utf8_put(c, out);
    return 6;
}

/* The beginning of a string's text; returns its bytes. */
static size_t needle_read(const char *at, const char *end, char out[NEEDLE_BYTES_MAX])
{
    size_t bytes = 0;

    while (at < end && bytes + 4 <= NEEDLE_BYTES_MAX) {
        uint32_t unit_bytes;
        char unit[4];

        at += unit_read(at, unit, &unit_bytes);
        memcpy(out + bytes, unit, unit_bytes);
        bytes += unit_bytes;
    }
    return bytes;
}

/* The string [at, end) of the body: finds it behind the cursor, and walks along both while they are the same. */
static void string_follow(struct alignment *a, const char *at, const char *end)
{
    char needle[NEEDLE_BYTES_MAX];
    size_t needle_bytes = needle_read(at, end, needle);
    size_t room = a->rendered.bytes - a->cursor;
    const char *found = NULL;

    if (needle_bytes >= NEEDLE_BYTES_MIN && a->miss_count < MISSES_MAX) {
        found = memmem(a->rendered.data + a->cursor, room < WINDOW_BYTES ? room : WINDOW_BYTES,
                       needle, needle_bytes);
        a->miss_count += found == NULL;
    }
    if (found != NULL)
        a->cursor = (size_t)(found - a->rendered.data);
    while (found != NULL && at < end) {
        uint32_t unit_bytes;
        char unit[4];
        size_t raw_bytes = unit_read(at, unit, &unit_bytes);

        if (a->rendered.bytes - a->cursor < unit_bytes ||
            memcmp(a->rendered.data + a->cursor, unit, unit_bytes) != 0)
            break;
        pass(a, raw_bytes - 1); /* of a chunk that ends within an escape it is no part */
        a->cursor += unit_bytes;
        pass(a, 1);
        at += raw_bytes;
    }
    pass(a, (uint64_t)(end - at));
}

/* Past the closing quote of the string whose text begins at `at`. */
static const char *string_end(const char *at, const char *end)
{
    while (at < end && *at != '"')
        at += *at == '\\' ? 2 : 1;
    return at < end ? at : end;
}

static bool is_key(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n", *at) != NULL && *at != '\0')
        at++;
    return at < end && *at == ':';
}

static void field_follow(struct alignment *a, struct text_slice field)
{
    const char *at = field.data, *end = field.data + field.bytes;

    pass(a, 1);
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at)), *close;

        if (quote == NULL)
            break;
        pass(a, (uint64_t)(quote + 1 - at));
        at = quote + 1;
        close = string_end(at, end);
        if (close < end && is_key(close + 1, end))
            pass(a, (uint64_t)(close - at));
        else
            string_follow(a, at, close);
        at = close;
        if (at < end) {
            pass(a, 1);
            at++;
        }
    }
    pass(a, (uint64_t)(end - at));
}

void prompt_marks_align(const struct prompt_text *text, struct text_slice rendered, size_t *ends)
{
    struct alignment a = {
        .rendered = rendered, .ends = ends, .count_max = prompt_chunk_count(text)};

    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++) {
        if (text->fields[i].data != NULL)
            field_follow(&a, text->fields[i]);
    }
}

/* Where the token ends in the text, if it is there; false: text and tokens part here. */
static bool token_follow(struct text_slice rendered, struct text_slice piece, bool is_first,
                         size_t *at)
{
    size_t room = rendered.bytes - *at;

    if (piece.bytes <= room && memcmp(rendered.data + *at, piece.data, piece.bytes) == 0) {
        *at += piece.bytes;
        return true;
    }
    if (!is_first)
        return false;
    /* Before the text: a token that begins every sequence; or the space before its first word. */
    if (piece.bytes > 1 && piece.data[0] == ' ' && piece.bytes - 1 <= room &&
        memcmp(rendered.data, piece.data + 1, piece.bytes - 1) == 0)
        *at = piece.bytes - 1;
    return true;
}

uint32_t prompt_marks_make(const struct prompt_text *text, uint64_t root,
                           struct text_slice rendered, const tokenizer *t, const int32_t *tokens,
                           size_t token_count, struct prefix_mark *out)
{
    uint32_t chunk_count = prompt_chunk_count(text), count = 0;
    size_t *ends = memory_allocate_array(chunk_count, sizeof(*ends));
    uint64_t *names = memory_allocate_array(chunk_count, sizeof(*names));
    size_t token = 0, at = 0;

    if (ends == NULL || names == NULL)
        chunk_count = 0;
    if (chunk_count > 0) {
        prompt_marks_align(text, rendered, ends);
        prompt_chunks_name(text, root, names);
    }
    for (uint32_t i = 0; i < chunk_count; i++) {
        while (token < token_count) {
            size_t next = at;

            if (!token_follow(rendered, tokenizer_piece(t, tokens[token], true), token == 0,
                              &next)) {
                token_count = token;
                break;
            }
            if (next + WORD_BYTES > ends[i])
                break;
            at = next;
            token++;
        }
        if (token >= BLOCK_TOKENS)
            out[count++] = (struct prefix_mark){names[i], (uint32_t)(token / BLOCK_TOKENS) - 1};
    }
    memory_release(names);
    memory_release(ends);
    return count;
}
