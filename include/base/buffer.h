#ifndef PENSTOCK_BASE_BUFFER_H
#define PENSTOCK_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* Growable bytes with a ceiling stated at creation. The first failed append (ceiling or memory) is remembered
 * in `failed`, and every later append does nothing, so a writer may append many pieces and check once at the end.
 * Owned by one thread. `data` is NULL or holds `bytes` bytes followed by a NUL that is not counted. */
struct buffer {
    char *data;       /* owned */
    size_t bytes;     /* used */
    size_t capacity;  /* allocated, the NUL's byte not counted */
    size_t bytes_max; /* ceiling of `bytes` */
    status failed;    /* STATUS_OK, STATUS_TOO_LARGE or STATUS_NO_MEMORY */
};

void buffer_init(struct buffer *buffer, size_t bytes_max);
void buffer_deinit(struct buffer *buffer);

/* Forgets content and failure, keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Makes room for `extra` more bytes. Returns `failed`. */
status buffer_reserve(struct buffer *buffer, size_t extra);

void buffer_append(struct buffer *buffer, const void *data, size_t bytes);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_slice(struct buffer *buffer, struct text_slice slice);
void buffer_append_byte(struct buffer *buffer, char byte);
void buffer_append_u64(struct buffer *buffer, uint64_t value);
void buffer_append_i64(struct buffer *buffer, int64_t value);
void buffer_append_format(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* Removes the first `bytes` bytes (they must be there). */
void buffer_consume(struct buffer *buffer, size_t bytes);

static inline struct text_slice buffer_slice(const struct buffer *buffer)
{
    return (struct text_slice){buffer->data, buffer->bytes};
}

#endif
