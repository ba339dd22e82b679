#include "gguf_cursor.h"

#include <inttypes.h>
#include <string.h>

static status cursor_need(const struct gguf_cursor *cursor, const char *what, uint64_t bytes)
{
    if (gguf_cursor_left(cursor) >= bytes)
        return STATUS_OK;
    error_note_set(cursor->note,
                   "byte %" PRIu64 ": the file ends inside the %s (needs %" PRIu64
                   " bytes, %" PRIu64 " are left)",
                   cursor->offset, what, bytes, gguf_cursor_left(cursor));
    return STATUS_INVALID;
}

status gguf_skip(struct gguf_cursor *cursor, const char *what, uint64_t bytes)
{
    status s = cursor_need(cursor, what, bytes);
    if (s == STATUS_OK)
        cursor->offset += bytes;
    return s;
}

status gguf_take_u32(struct gguf_cursor *cursor, const char *what, uint32_t *out)
{
    const uint8_t *from = cursor->data + cursor->offset;
    status s = gguf_skip(cursor, what, sizeof *out);
    if (s == STATUS_OK)
        memcpy(out, from, sizeof *out);
    return s;
}

status gguf_take_u64(struct gguf_cursor *cursor, const char *what, uint64_t *out)
{
    const uint8_t *from = cursor->data + cursor->offset;
    status s = gguf_skip(cursor, what, sizeof *out);
    if (s == STATUS_OK)
        memcpy(out, from, sizeof *out);
    return s;
}

status gguf_take_text(struct gguf_cursor *cursor, const char *what, uint64_t bytes_max,
                      struct text_slice *out)
{
    uint64_t start = cursor->offset, bytes;
    status s = gguf_take_u64(cursor, what, &bytes);
    if (s != STATUS_OK)
        return s;
    if (bytes > bytes_max) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": the %s has a length of %" PRIu64
                       " bytes; the limit is %" PRIu64,
                       start, what, bytes, bytes_max);
        s = STATUS_TOO_LARGE;
    } else {
        out->data = (const char *)cursor->data + cursor->offset;
        out->bytes = bytes;
        s = gguf_skip(cursor, what, bytes);
    }
    if (s != STATUS_OK)
        cursor->offset = start;
    return s;
}

status gguf_take_name(struct gguf_cursor *cursor, const char *what, uint64_t bytes_max,
                      struct text_slice *out)
{
    uint64_t start = cursor->offset;
    struct text_slice name;
    status s = gguf_take_text(cursor, what, bytes_max, &name);
    if (s != STATUS_OK)
        return s;
    bool is_good = name.bytes > 0;
    for (size_t i = 0; i < name.bytes && is_good; i++)
        is_good = name.data[i] >= ' ' && name.data[i] <= '~';
    if (!is_good) {
        error_note_set(cursor->note, "byte %" PRIu64 ": the %s is empty or not printable ASCII",
                       start, what);
        cursor->offset = start;
        return STATUS_INVALID;
    }
    *out = name;
    return STATUS_OK;
}
