#ifndef PENSTOCK_BASE_TEXT_SLICE_H
#define PENSTOCK_BASE_TEXT_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A run of bytes that somebody else owns; not NUL-terminated. */
struct text_slice {
    const char *data;
    size_t bytes;
};

static inline struct text_slice text_slice_of(const char *text)
{
    return (struct text_slice){text, text != NULL ? strlen(text) : 0};
}

static inline bool text_slice_equals(struct text_slice a, struct text_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static inline bool text_slice_is(struct text_slice a, const char *text)
{
    return text_slice_equals(a, text_slice_of(text));
}

static inline bool text_slice_starts_with(struct text_slice a, const char *text)
{
    size_t bytes = strlen(text);
    return a.bytes >= bytes && (bytes == 0 || memcmp(a.data, text, bytes) == 0);
}

static inline bool text_slice_ends_with(struct text_slice a, const char *text)
{
    size_t bytes = strlen(text);
    return a.bytes >= bytes && (bytes == 0 || memcmp(a.data + a.bytes - bytes, text, bytes) == 0);
}

/* Does it begin with `text`? Then it begins behind it. */
static inline bool text_slice_skip(struct text_slice *a, const char *text)
{
    if (!text_slice_starts_with(*a, text))
        return false;
    size_t bytes = strlen(text);
    a->data += bytes;
    a->bytes -= bytes;
    return true;
}

/* Without the spaces and tabs at both ends. */
static inline struct text_slice text_slice_trim(struct text_slice a)
{
    while (a.bytes > 0 && (a.data[0] == ' ' || a.data[0] == '\t')) {
        a.data++;
        a.bytes--;
    }
    while (a.bytes > 0 && (a.data[a.bytes - 1] == ' ' || a.data[a.bytes - 1] == '\t'))
        a.bytes--;
    return a;
}

/* As a string of at most `bytes` bytes, its NUL included (1 or more); what has no room is cut off. */
static inline void text_slice_copy(char *out, size_t bytes, struct text_slice a)
{
    size_t length = a.bytes < bytes ? a.bytes : bytes - 1;
    if (length > 0)
        memcpy(out, a.data, length);
    out[length] = '\0';
}

#endif
