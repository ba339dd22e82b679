#include "http1_chunked.h"

#include <string.h>

#include "hex.h"

#define SIZE_DIGITS_MAX 15u /* 60 bits */

enum state {
    STATE_SIZE,      /* hex digits */
    STATE_EXTENSION, /* after ';' up to CR */
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER, /* first byte of a trailer line */
    STATE_TRAILER_LINE,
    STATE_TRAILER_LF,
    STATE_END_LF /* of the last, empty line */
};

void chunked_init(struct chunked *chunked)
{
    *chunked = (struct chunked){.state = STATE_SIZE};
}

static status on_size_byte(struct chunked *chunked, char c)
{
    int digit = hex_digit_value(c);
    if (digit >= 0) {
        chunked->left = chunked->left << 4 | (uint64_t)digit;
        return ++chunked->digits <= SIZE_DIGITS_MAX ? STATUS_AGAIN : STATUS_INVALID;
    }
    if (chunked->digits == 0 || (c != '\r' && c != ';'))
        return STATUS_INVALID;
    chunked->state = c == '\r' ? STATE_SIZE_LF : STATE_EXTENSION;
    return STATUS_AGAIN;
}

/* A byte of an extension or a trailer line; CR ends it. */
static status on_overhead_byte(struct chunked *chunked, char c, int state_after)
{
    if (c == '\n' || c == '\0' || ++chunked->overhead_bytes > CHUNKED_OVERHEAD_BYTES_MAX)
        return STATUS_INVALID;
    if (c == '\r')
        chunked->state = state_after;
    return STATUS_AGAIN;
}

static status expect_byte(struct chunked *chunked, char c, char expected, int state_after)
{
    chunked->state = state_after;
    return c == expected ? STATUS_AGAIN : STATUS_INVALID;
}

/* One byte of anything but payload. STATUS_OK: the body ended with it. */
static status on_byte(struct chunked *chunked, char c)
{
    switch (chunked->state) {
    case STATE_SIZE:
        return on_size_byte(chunked, c);
    case STATE_EXTENSION:
        return on_overhead_byte(chunked, c, STATE_SIZE_LF);
    case STATE_SIZE_LF:
        chunked->digits = 0;
        return expect_byte(chunked, c, '\n', chunked->left != 0 ? STATE_DATA : STATE_TRAILER);
    case STATE_DATA_CR:
        return expect_byte(chunked, c, '\r', STATE_DATA_LF);
    case STATE_DATA_LF:
        return expect_byte(chunked, c, '\n', STATE_SIZE);
    case STATE_TRAILER:
        chunked->state = STATE_TRAILER_LINE;
        return on_overhead_byte(chunked, c, STATE_END_LF);
    case STATE_TRAILER_LINE:
        return on_overhead_byte(chunked, c, STATE_TRAILER_LF);
    case STATE_TRAILER_LF:
        return expect_byte(chunked, c, '\n', STATE_TRAILER);
    default:
        return c == '\n' ? STATUS_OK : STATUS_INVALID;
    }
}

status chunked_decode(struct chunked *chunked, char *bytes, size_t *count, size_t *start,
                      size_t *taken)
{
    size_t from = 0, to = 0, first = 0;
    status s = STATUS_AGAIN;
    while (from < *count && s == STATUS_AGAIN) {
        if (chunked->state != STATE_DATA) {
            s = on_byte(chunked, bytes[from++]);
            continue;
        }
        if (to == 0 && start != NULL)
            to = first = from;
        size_t piece = *count - from < chunked->left ? *count - from : (size_t)chunked->left;
        if (to != from)
            memmove(bytes + to, bytes + from, piece);
        from += piece;
        to += piece;
        chunked->left -= piece;
        if (chunked->left == 0)
            chunked->state = STATE_DATA_CR;
    }
    *count = to - first;
    if (start != NULL)
        *start = first;
    if (taken != NULL)
        *taken = from;
    return s;
}
