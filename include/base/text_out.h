#ifndef PENSTOCK_BASE_TEXT_OUT_H
#define PENSTOCK_BASE_TEXT_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Writing heads piece by piece into memory that is known to suffice. Each returns the place behind what it wrote. (A
 * head through printf costs more than all else that is done for it.) */

#define DECIMAL_BYTES_MAX 20u
#define HEX_BYTES_MAX     16u

static inline char *text_out(char *at, const char *text, size_t bytes)
{
    if (bytes > 0)
        memcpy(at, text, bytes);
    return at + bytes;
}

static inline char *text_out_decimal(char *at, uint64_t number)
{
    char digits[DECIMAL_BYTES_MAX];
    size_t start = sizeof digits;
    do {
        digits[--start] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return text_out(at, digits + start, sizeof digits - start);
}

static inline char *text_out_hex(char *at, uint64_t number)
{
    char digits[HEX_BYTES_MAX];
    size_t start = sizeof digits;
    do {
        digits[--start] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number != 0);
    return text_out(at, digits + start, sizeof digits - start);
}

#endif
