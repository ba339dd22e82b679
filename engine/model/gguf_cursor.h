#ifndef PENSTOCK_GGUF_CURSOR_H
#define PENSTOCK_GGUF_CURSOR_H

#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* A reading position in untrusted bytes. Every take checks what is left first; on STATUS_INVALID
 * nothing has been taken and the note holds the offset. Numbers are little-endian, as the format
 * and every machine we build for. */
struct gguf_cursor {
    const uint8_t *data;     /* borrowed */
    uint64_t bytes;          /* of the whole file */
    uint64_t offset;         /* <= bytes */
    struct error_note *note; /* or NULL */
};

static inline uint64_t gguf_cursor_left(const struct gguf_cursor *cursor)
{
    return cursor->bytes - cursor->offset;
}

/* `what` names the thing in the note: "tensor count". */
NODISCARD status gguf_take_u32(struct gguf_cursor *cursor, const char *what, uint32_t *out);
NODISCARD status gguf_take_u64(struct gguf_cursor *cursor, const char *what, uint64_t *out);

/* A u64 length and that many bytes, at most `bytes_max` (else STATUS_TOO_LARGE). The slice lies
 * inside the data. */
NODISCARD status gguf_take_text(struct gguf_cursor *cursor, const char *what, uint64_t bytes_max,
                                struct text_slice *out);
NODISCARD status gguf_skip(struct gguf_cursor *cursor, const char *what, uint64_t bytes);

/* A name (key or tensor): 1..bytes_max bytes of printable ASCII, so that it may appear in notes and
 * logs as it is. */
NODISCARD status gguf_take_name(struct gguf_cursor *cursor, const char *what, uint64_t bytes_max,
                                struct text_slice *out);

#endif
