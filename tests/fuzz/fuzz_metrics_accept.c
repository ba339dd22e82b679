#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "metrics.h"

/* An Accept header in a piece of memory of just its length. What does not speak of OpenMetrics never gets it. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool speaks_of_it(const char *text, size_t bytes)
{
    static const char word[] = "openmetrics";
    size_t length = sizeof word - 1;

    for (size_t i = 0; i + length <= bytes; i++) {
        size_t at = 0;

        while (at < length && (text[i + at] | 0x20) == word[at])
            at++;
        if (at == length)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *copy = malloc(bytes > 0 ? bytes : 1);
    enum metrics_format format;

    CHECK(copy != NULL);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    format = metrics_format_accepted((struct text_slice){copy, bytes});
    CHECK(format == METRICS_TEXT || speaks_of_it(copy, bytes));
    free(copy);
    return 0;
}
