/* The length of a message stands before it and is known behind it. One byte is left for it, enough for up to 127; what is
 * longer is moved by the few bytes that its length takes more. */
#include "protobuf_out.h"

#include <string.h>

#include "utf8.h"

#define VARINT_BYTES_MAX 10u

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static size_t varint(uint64_t value, uint8_t out[VARINT_BYTES_MAX])
{
    size_t count = 0;

    while (value >= 0x80) {
        out[count++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[count++] = (uint8_t)value;
    return count;
}

static void varint_append(struct buffer *out, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES_MAX];

    buffer_append(out, bytes, varint(value, bytes));
}

static void tag(struct buffer *out, uint32_t field, enum wire wire)
{
    varint_append(out, (uint64_t)field << 3 | wire);
}

void protobuf_uint(struct buffer *out, uint32_t field, uint64_t value)
{
    tag(out, field, WIRE_VARINT);
    varint_append(out, value);
}

void protobuf_int(struct buffer *out, uint32_t field, int64_t value)
{
    protobuf_uint(out, field, (uint64_t)value);
}

void protobuf_raw_fixed64(struct buffer *out, uint64_t value)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buffer_append(out, bytes, sizeof(bytes));
}

void protobuf_raw_double(struct buffer *out, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    protobuf_raw_fixed64(out, bits);
}

void protobuf_fixed32(struct buffer *out, uint32_t field, uint32_t value)
{
    uint8_t bytes[4];

    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    tag(out, field, WIRE_FIXED32);
    buffer_append(out, bytes, sizeof(bytes));
}

void protobuf_fixed64(struct buffer *out, uint32_t field, uint64_t value)
{
    tag(out, field, WIRE_FIXED64);
    protobuf_raw_fixed64(out, value);
}

void protobuf_double(struct buffer *out, uint32_t field, double value)
{
    tag(out, field, WIRE_FIXED64);
    protobuf_raw_double(out, value);
}

void protobuf_bytes(struct buffer *out, uint32_t field, const void *data, size_t bytes)
{
    tag(out, field, WIRE_BYTES);
    varint_append(out, bytes);
    buffer_append(out, data, bytes);
}

static void broken_append(struct buffer *out, struct text_slice text)
{
    while (text.bytes > 0) {
        uint32_t code_point;
        size_t bytes = utf8_decode(text.data, text.bytes, &code_point);

        if (bytes > 0) {
            buffer_append(out, text.data, bytes);
        } else {
            bytes = utf8_broken_length(text.data, text.bytes);
            buffer_append_text(out, "\xef\xbf\xbd");
        }
        text.data += bytes;
        text.bytes -= bytes;
    }
}

void protobuf_text(struct buffer *out, uint32_t field, const char *text)
{
    struct text_slice slice = text_slice_of(text);
    size_t mark;

    if (utf8_is_valid(slice.data, slice.bytes)) {
        protobuf_bytes(out, field, slice.data, slice.bytes);
        return;
    }
    mark = protobuf_begin(out, field);
    broken_append(out, slice);
    protobuf_end(out, mark);
}

size_t protobuf_begin(struct buffer *out, uint32_t field)
{
    tag(out, field, WIRE_BYTES);
    buffer_append_byte(out, 0);
    return out->bytes;
}

void protobuf_end(struct buffer *out, size_t mark)
{
    uint8_t length[VARINT_BYTES_MAX];
    size_t bytes = out->bytes - mark, count = varint(bytes, length);

    if (count > 1)
        buffer_append(out, length, count - 1); /* room; what is in it is overwritten */
    if (out->failed != STATUS_OK)
        return;
    memmove(out->data + mark + count - 1, out->data + mark, bytes);
    memcpy(out->data + mark - 1, length, count);
}

/* --- reading --- */

static bool varint_take(struct text_slice *rest, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && i < rest->bytes; i++) {
        uint8_t byte = (uint8_t)rest->data[i];

        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            rest->data += i + 1;
            rest->bytes -= i + 1;
            return true;
        }
    }
    return false;
}

static bool content_take(struct text_slice *rest, uint32_t wire, struct protobuf_field *field)
{
    uint64_t bytes = wire == WIRE_FIXED64 ? 8 : 4;

    if (wire == WIRE_VARINT)
        return varint_take(rest, &field->value);
    if (wire == WIRE_BYTES && !varint_take(rest, &bytes))
        return false;
    if ((wire != WIRE_BYTES && wire != WIRE_FIXED64 && wire != WIRE_FIXED32) || bytes > rest->bytes)
        return false;
    field->bytes = (struct text_slice){rest->data, (size_t)bytes};
    rest->data += bytes;
    rest->bytes -= (size_t)bytes;
    return true;
}

bool protobuf_next(struct text_slice *rest, struct protobuf_field *field)
{
    uint64_t head;

    *field = (struct protobuf_field){0};
    if (rest->bytes > 0 && varint_take(rest, &head) && head >> 3 <= UINT32_MAX) {
        field->number = (uint32_t)(head >> 3);
        if (content_take(rest, head & 7, field))
            return true;
    }
    rest->bytes = 0;
    return false;
}
