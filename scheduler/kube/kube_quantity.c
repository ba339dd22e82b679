#include "kube_quantity.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef unsigned __int128 wide;

#define DIGITS_MAX   19 /* of the mantissa: below 2^64 */
#define EXPONENT_MAX 18

static const struct {
    const char *text;
    int8_t tens;
    uint8_t twos;
} suffixes[] = {
    {"", 0, 0},    {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},   {"G", 9, 0},   {"T", 12, 0},
    {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20}, {"Gi", 0, 30}, {"Ti", 0, 40},
    {"Pi", 0, 50}, {"Ei", 0, 60}, {"u", -6, 0},  {"n", -9, 0},
};

struct number {
    wide mantissa;
    int tens; /* decimal exponent */
    unsigned twos;
};

/* Digits with at most one point; zeros behind the point cost nothing. NULL: none, or too many. */
static const char *digits_read(const char *at, struct number *number)
{
    bool has_point = false;
    int digits = 0, significant = 0;
    for (;; at++) {
        if (*at == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (*at < '0' || *at > '9')
            break;
        digits++;
        if (significant > 0 || *at != '0')
            significant++;
        if (significant > DIGITS_MAX || digits > 64)
            return NULL;
        number->mantissa = number->mantissa * 10 + (wide)(*at - '0');
        number->tens -= has_point;
    }
    return digits > 0 ? at : NULL;
}

/* "e3", "E-2": only with a digit behind it ("E" alone is exa). */
static bool exponent_read(const char *at, struct number *number)
{
    bool is_negative = at[1] == '-';
    at += at[1] == '-' || at[1] == '+' ? 2 : 1;
    int value = 0;
    if (*at == '\0')
        return false;
    for (; *at >= '0' && *at <= '9' && value <= EXPONENT_MAX; at++)
        value = value * 10 + (*at - '0');
    if (*at != '\0' || value > EXPONENT_MAX)
        return false;
    number->tens += is_negative ? -value : value;
    return true;
}

static bool suffix_read(const char *at, struct number *number)
{
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(at, suffixes[i].text) == 0) {
            number->tens += suffixes[i].tens;
            number->twos = suffixes[i].twos;
            return true;
        }
    }
    return (*at == 'e' || *at == 'E') && exponent_read(at, number);
}

/* mantissa * 2^twos * 10^tens, rounded up. */
static status number_round(struct number number, uint64_t *out)
{
    wide value = number.mantissa << number.twos; /* 64 + 60 bits */
    for (; number.tens > 0 && value > 0; number.tens--) {
        if (value > (wide)INT64_MAX)
            return STATUS_TOO_LARGE;
        value *= 10;
    }
    bool is_cut = false;
    for (; number.tens < 0 && value > 0; number.tens++) {
        is_cut |= value % 10 != 0;
        value /= 10;
    }
    value += is_cut;
    if (value > (wide)INT64_MAX)
        return STATUS_TOO_LARGE;
    *out = (uint64_t)value;
    return STATUS_OK;
}

status kube_quantity_milli(const char *text, int64_t *out)
{
    if (text == NULL)
        return STATUS_INVALID;
    bool is_negative = *text == '-';
    text += *text == '-' || *text == '+';
    struct number number = {.tens = 3};
    const char *rest = digits_read(text, &number);
    if (rest == NULL || !suffix_read(rest, &number))
        return STATUS_INVALID;
    uint64_t value = 0;
    status result = number_round(number, &value);
    if (result == STATUS_OK)
        *out = is_negative ? -(int64_t)value : (int64_t)value;
    return result;
}

uint64_t kube_quantity_units(const char *text)
{
    int64_t milli = 0;
    status result = kube_quantity_milli(text, &milli);
    if (result == STATUS_TOO_LARGE)
        return UINT64_MAX / 2;
    if (result != STATUS_OK || milli <= 0)
        return 0;
    return (uint64_t)milli / 1000 + ((uint64_t)milli % 1000 != 0);
}
