#include "record_text.h"

#include <inttypes.h>
#include <time.h>

#define NANO 1000000000u

void record_time_write(struct buffer *out, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL)
        return;
    buffer_append_format(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", utc.tm_year + 1900,
                         utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                         (unsigned)(wall_ms % 1000));
}

void record_nano_write(struct buffer *out, uint64_t nano)
{
    uint64_t part = nano % NANO;
    int digits = 9;

    buffer_append_u64(out, nano / NANO);
    if (part == 0)
        return;
    while (part % 10 == 0) {
        part /= 10;
        digits--;
    }
    buffer_append_format(out, ".%0*" PRIu64, digits, part);
}
