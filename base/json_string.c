#include "json_string.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "hex.h"
#include "utf8.h"

/* The high bits of those of eight bytes that are a quote, a backslash, a control character or not ASCII. A byte is
 * zero exactly when (w - 0x01..) & ~w has its high bit set (Hacker's Delight, 6-1); borrows can
 * only add false alarms above a true one, so the lowest is none. */
static inline uint64_t specials_of(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101ull;
    const uint64_t highs = 0x8080808080808080ull;
    uint64_t quote = word ^ (ones * '"');
    uint64_t backslash = word ^ (ones * '\\');
    uint64_t found = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
                     ((word - ones * 0x20) & ~word) | word;
    return found & highs;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte of a word is the first");

size_t json_string_plain(const char *at, const char *end)
{
    const char *start = at;

    while (end - at >= (ptrdiff_t)sizeof(uint64_t)) {
        uint64_t word, found;

        memcpy(&word, at, sizeof word);
        found = specials_of(word);
        if (found != 0)
            return (size_t)(at - start) + (unsigned)__builtin_ctzll(found) / 8;
        at += sizeof word;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' &&
           *at != '\\')
        at++;
    return (size_t)(at - start);
}

/* Four hexadecimal digits; -1 when they are not there. */
static int hex_quad(const char *at, const char *end)
{
    if (end - at < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit_value(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool is_high_surrogate(int unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low_surrogate(int unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* `at` stands on the backslash. Returns the place behind the escape or NULL with *what. */
static const char *escape_skip(const char *at, const char *end, const char **what)
{
    if (end - at < 2) {
        *what = "string without an end";
        return NULL;
    }
    if (at[1] != 'u') {
        if (at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL)
            return at + 2;
        *what = "unknown escape in a string";
        return NULL;
    }
    int unit = hex_quad(at + 2, end);
    if (unit < 0) {
        *what = "\\u without four hexadecimal digits";
        return NULL;
    }
    if (is_low_surrogate(unit)) {
        *what = "low surrogate without a high one";
        return NULL;
    }
    if (!is_high_surrogate(unit))
        return at + 6;
    if (end - at < 12 || at[6] != '\\' || at[7] != 'u' ||
        !is_low_surrogate(hex_quad(at + 8, end))) {
        *what = "high surrogate without a low one";
        return NULL;
    }
    return at + 12;
}

const char *json_string_skip(const char *at, const char *end, const char **wrong, const char **what)
{
    while ((at += json_string_plain(at, end)) < end) {
        *wrong = at;
        if (*at == '"')
            return at + 1;
        if (*at == '\\') {
            at = escape_skip(at, end, what);
            if (at == NULL)
                return NULL;
            continue;
        }
        if ((unsigned char)*at < 0x20) {
            *what = "control character in a string";
            return NULL;
        }
        uint32_t code_point;
        size_t length = utf8_decode(at, (size_t)(end - at), &code_point);
        if (length == 0) {
            *what = "broken UTF-8 in a string";
            return NULL;
        }
        at += length;
    }
    *wrong = end;
    *what = "string without an end";
    return NULL;
}

size_t json_string_next(const char **at, char out[4])
{
    const char *c = *at;
    if (*c != '\\') {
        out[0] = *c;
        *at = c + 1;
        return 1;
    }
    if (c[1] != 'u') {
        static const char codes[] = "\"\\/bfnrt";
        static const char bytes[] = "\"\\/\b\f\n\r\t";
        const char *found = strchr(codes, c[1]);
        CHECK(found != NULL);
        out[0] = bytes[found - codes];
        *at = c + 2;
        return 1;
    }
    int unit = hex_quad(c + 2, c + 6);
    CHECK(unit >= 0);
    uint32_t code_point = (uint32_t)unit;
    *at = c + 6;
    if (is_high_surrogate(unit)) {
        int low = hex_quad(c + 8, c + 12);
        code_point = 0x10000 + (((uint32_t)unit - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
        *at = c + 12;
    }
    return utf8_encode(code_point, out);
}
