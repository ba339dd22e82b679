#include "base64.h"

#include <string.h>

#define ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char *const digits[] = {
    [BASE64_STANDARD] = ALPHABET "+/", [BASE64_URL] = ALPHABET "-_"};

void base64_write(struct buffer *out, enum base64_kind kind, const void *data, size_t bytes)
{
    const unsigned char *at = data;

    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i < 3 ? bytes - i : 3;
        uint32_t bits = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                        (left > 2 ? at[i + 2] : 0);
        char four[4] = {'=', '=', '=', '='};

        for (size_t digit = 0; digit <= left; digit++)
            four[digit] = digits[kind][bits >> (18 - 6 * digit) & 63];
        buffer_append(out, four, kind == BASE64_STANDARD ? 4 : left + 1);
    }
}

static int sextet(enum base64_kind kind, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == digits[kind][62] ? 62 : c == digits[kind][63] ? 63 : -1;
}

status base64_read(struct text_slice text, enum base64_kind kind, uint8_t *out, size_t *bytes)
{
    uint32_t bits = 0, held = 0;
    size_t count = 0, padding = 0, written = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];
        int value = sextet(kind, c);

        if (kind == BASE64_STANDARD && memchr(" \t\r\n", c, 4) != NULL)
            continue;
        if (kind == BASE64_STANDARD && c == '=') {
            padding++;
            continue;
        }
        if (value < 0 || padding > 0)
            return STATUS_INVALID;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        count++;
        if (held >= 8) {
            held -= 8;
            out[written++] = (uint8_t)(bits >> held);
        }
    }
    if (count % 4 == 1 || (bits & ((1u << held) - 1)) != 0)
        return STATUS_INVALID;
    if (kind == BASE64_STANDARD && padding != (4 - count % 4) % 4)
        return STATUS_INVALID;
    *bytes = written;
    return STATUS_OK;
}
