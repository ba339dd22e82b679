#include "prompt_marks.h"

#include <string.h>

#include "block_allocator.h"
#include "json_string.h"
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

/* The beginning of a string's text; returns its bytes. */
static size_t needle_read(const char *at, const char *end, char out[NEEDLE_BYTES_MAX])
{
    size_t bytes = 0;

    while (at < end && bytes + 4 <= NEEDLE_BYTES_MAX)
        bytes += json_string_next(&at, out + bytes);
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
        const char *next = at;
        char unit[4];
        size_t unit_bytes = json_string_next(&next, unit);

        if (a->rendered.bytes - a->cursor < unit_bytes ||
            memcmp(a->rendered.data + a->cursor, unit, unit_bytes) != 0)
            break;
        pass(a,
             (uint64_t)(next - at) - 1); /* of a chunk that ends within an escape it is no part */
        a->cursor += unit_bytes;
        pass(a, 1);
        at = next;
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
