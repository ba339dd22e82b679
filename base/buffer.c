#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "check.h"
#include "memory.h"

#define BUFFER_FIRST_BYTES 256u

void buffer_init(struct buffer *buffer, size_t bytes_max)
{
    CHECK(bytes_max < SIZE_MAX); /* room for the NUL */
    *buffer = (struct buffer){.bytes_max = bytes_max};
}

void buffer_deinit(struct buffer *buffer)
{
    memory_release(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->bytes = 0;
    buffer->failed = STATUS_OK;
    if (buffer->data != NULL)
        buffer->data[0] = '\0';
}

/* Doubling, so that n appended bytes cost O(n) copies; the last step stops at the ceiling. */
static size_t next_capacity(const struct buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : BUFFER_FIRST_BYTES;
    while (capacity < needed && capacity <= buffer->bytes_max / 2)
        capacity *= 2;
    if (capacity < needed || capacity > buffer->bytes_max)
        capacity = buffer->bytes_max;
    return capacity;
}

status buffer_reserve(struct buffer *buffer, size_t extra)
{
    if (buffer->failed != STATUS_OK)
        return buffer->failed;
    if (extra > buffer->bytes_max - buffer->bytes)
        return buffer->failed = STATUS_TOO_LARGE;
    size_t needed = buffer->bytes + extra;
    if (buffer->data != NULL && needed <= buffer->capacity)
        return STATUS_OK;
    size_t capacity = next_capacity(buffer, needed);
    char *data = memory_resize(buffer->data, capacity + 1);
    if (data == NULL)
        return buffer->failed = STATUS_NO_MEMORY;
    data[buffer->bytes] = '\0';
    buffer->data = data;
    buffer->capacity = capacity;
    return STATUS_OK;
}

void buffer_append(struct buffer *buffer, const void *data, size_t bytes)
{
    if (buffer_reserve(buffer, bytes) != STATUS_OK || bytes == 0)
        return;
    memcpy(buffer->data + buffer->bytes, data, bytes);
    buffer->bytes += bytes;
    buffer->data[buffer->bytes] = '\0';
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_slice(struct buffer *buffer, struct text_slice slice)
{
    buffer_append(buffer, slice.data, slice.bytes);
}

void buffer_append_byte(struct buffer *buffer, char byte)
{
    buffer_append(buffer, &byte, 1);
}

void buffer_append_u64(struct buffer *buffer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    buffer_append(buffer, digits + at, sizeof digits - at);
}

void buffer_append_i64(struct buffer *buffer, int64_t value)
{
    if (value >= 0) {
        buffer_append_u64(buffer, (uint64_t)value);
        return;
    }
    buffer_append_byte(buffer, '-');
    buffer_append_u64(buffer, 0 - (uint64_t)value);
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    if (buffer_reserve(buffer, 0) != STATUS_OK)
        return;
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buffer->capacity - buffer->bytes;
    int bytes = vsnprintf(buffer->data + buffer->bytes, room + 1, format, args);
    CHECK(bytes >= 0); /* only a wrong format string can fail */
    if ((size_t)bytes <= room) {
        buffer->bytes += (size_t)bytes;
    } else {
        buffer->data[buffer->bytes] = '\0';
        if (buffer_reserve(buffer, (size_t)bytes) == STATUS_OK) {
            int written = vsnprintf(buffer->data + buffer->bytes, (size_t)bytes + 1, format, again);
            CHECK(written == bytes);
            buffer->bytes += (size_t)bytes;
        }
    }
    va_end(again);
    va_end(args);
}

void buffer_consume(struct buffer *buffer, size_t bytes)
{
    CHECK(bytes <= buffer->bytes);
    if (bytes == 0)
        return;
    buffer->bytes -= bytes;
    memmove(buffer->data, buffer->data + bytes, buffer->bytes + 1);
}
