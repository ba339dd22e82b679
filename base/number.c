#include "number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

void number_write_shortest(struct buffer *out, double value)
{
    CHECK(isfinite(value));
    /* 15 digits always survive text -> double -> text, 17 always the other way (IEEE 754). The
     * process never leaves the C locale, so the point is a point. */
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        int bytes = snprintf(text, sizeof text, "%.*g", digits, value);
        CHECK(bytes > 0 && (size_t)bytes < sizeof text);
        if (strtod(text, NULL) == value)
            break;
    }
    buffer_append_text(out, text);
}
