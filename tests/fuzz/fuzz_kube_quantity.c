#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kube_quantity.h"

/* Against the C library's reading of the same number: what strtod makes of digits and exponent, times the suffix. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static double factor_of(const char *suffix)
{
    static const struct {
        const char *text;
        double factor;
    } factors[] = {{"", 1},        {"n", 1e-9},    {"u", 1e-6},    {"m", 1e-3},
                   {"k", 1e3},     {"M", 1e6},     {"G", 1e9},     {"T", 1e12},
                   {"P", 1e15},    {"E", 1e18},    {"Ki", 0x1p10}, {"Mi", 0x1p20},
                   {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"Pi", 0x1p50}, {"Ei", 0x1p60}};
    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++)
        if (strcmp(factors[i].text, suffix) == 0)
            return factors[i].factor;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char text[256], *rest;
    int64_t milli = 0;
    if (bytes >= sizeof(text))
        return 0;
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    if (kube_quantity_milli(text, &milli) != STATUS_OK)
        return 0;
    double number = strtod(text, &rest);
    double factor = factor_of(rest);
    CHECK(factor > 0);
    double truth = number * factor * 1000;
    /* Rounded away from zero by less than one, which a double cannot tell from one where the truth is tiny. */
    CHECK(fabs((double)milli) >= fabs(truth) * (1 - 1e-12));
    CHECK(fabs((double)milli) <= fabs(truth) * (1 + 1e-12) + 1);
    return 0;
}
