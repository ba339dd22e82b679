#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "trace_context.h"

/* What is read is written back as it came: the first 55 bytes, but for the version and for flags that we do not pass on. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool is_lower_hex(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* Exactly so long, so that a byte too far is seen. */
    char *copy = malloc(bytes > 0 ? bytes : 1);
    struct trace_context context, again;
    char written[TRACEPARENT_BYTES];

    CHECK(copy != NULL);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    struct text_slice text = {copy, bytes};
    if (trace_context_read(text, &context)) {
        trace_context_write(&context, written);
        CHECK(bytes >= TRACEPARENT_BYTES - 1);
        CHECK(memcmp(copy, "ff", 2) != 0);
        CHECK(memcmp(copy + 2, written + 2, 51) == 0);
        CHECK(is_lower_hex(copy, 2) && is_lower_hex(copy + 3, 32) && is_lower_hex(copy + 36, 16) &&
              is_lower_hex(copy + 53, 2));
        CHECK(trace_context_read(text_slice_of(written), &again));
        CHECK(memcmp(context.trace_id, again.trace_id, sizeof(again.trace_id)) == 0);
        CHECK(memcmp(context.span_id, again.span_id, sizeof(again.span_id)) == 0);
        CHECK((context.flags & 3) == again.flags);
    }
    if (tracestate_is_good(text)) {
        CHECK(bytes <= TRACESTATE_BYTES_MAX && memchr(copy, '=', bytes) != NULL);
        for (size_t i = 0; i < bytes; i++)
            CHECK(copy[i] == '\t' || (copy[i] >= 0x20 && copy[i] <= 0x7e));
    }
    free(copy);
    return 0;
}
