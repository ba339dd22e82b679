#include "figures.h"

#include <math.h>
#include <stdio.h>

#include "check.h"

static const struct figure unknown = {"\xE2\x80\x93"};

/* Three digits that count, with a unit. */
static struct figure digits_write(double value, const char *unit)
{
    struct figure out;
    double size = fabs(value);
    int decimals = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.1 ? 2 : 3;

    /* No zeros at the end: "5", not "5.00". */
    while (decimals > 0 &&
           fabs(value * pow(10, decimals - 1) - round(value * pow(10, decimals - 1))) < 1e-9)
        decimals--;
    (void)snprintf(out.text, sizeof(out.text), "%.*f%s", decimals, value, unit);
    return out;
}

struct figure figure_short(double value)
{
    static const struct {
        double from, unit;
        const char *name;
    } units[] = {
        {1e15, 1e15, "P"}, {1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}};

    if (!isfinite(value) || fabs(value) >= 1e18)
        return unknown;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (fabs(value) >= units[i].from)
            return digits_write(value / units[i].unit, units[i].name);
    }
    return digits_write(value, "");
}

struct figure figure_percent(double share)
{
    struct figure out;

    if (!isfinite(share) || fabs(share) >= 1e6)
        return unknown;
    (void)snprintf(out.text, sizeof(out.text), "%.*f%%", share >= 0.0005 && share < 0.0995 ? 1 : 0,
                   100 * share);
    return out;
}

struct figure figure_seconds(double value)
{
    if (!isfinite(value) || fabs(value) >= 1e12)
        return unknown;
    if (value < 1)
        return digits_write(value * 1e3, " ms");
    if (value < 120)
        return digits_write(value, " s");
    if (value < 7200)
        return digits_write(round(value / 60), " min");
    return value < 172800 ? digits_write(value / 3600, " h") : digits_write(value / 86400, " d");
}
