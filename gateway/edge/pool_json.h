#ifndef PENSTOCK_EDGE_POOL_JSON_H
#define PENSTOCK_EDGE_POOL_JSON_H

#include <stdio.h>

#include "clock.h"
#include "json.h"

/* Members of JSON objects, as the writers of pool_admin.h need them. */

static inline void pool_json_number(struct buffer *out, const char *key, double value)
{
    char text[32];

    json_write_key(out, key);
    /* Six digits are enough for people, and single precision has no more. */
    (void)snprintf(text, sizeof(text), "%.6g", value);
    if (value - value != 0) /* infinite, or no number */
        json_write_text(out, NULL);
    else
        buffer_append_text(out, text);
}

static inline void pool_json_count(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static inline void pool_json_signed(struct buffer *out, const char *key, int64_t value)
{
    json_write_key(out, key);
    buffer_append_i64(out, value);
}

/* NULL writes null. */
static inline void pool_json_text(struct buffer *out, const char *key, const char *text)
{
    json_write_key(out, key);
    json_write_text(out, text);
}

static inline void pool_json_bool(struct buffer *out, const char *key, bool value)
{
    json_write_key(out, key);
    json_write_bool(out, value);
}

/* From one moment to another, 0 if that is over. */
static inline double pool_json_seconds(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / NS_PER_SECOND : 0;
}

static inline void pool_json_uid(struct buffer *out, uint64_t uid)
{
    char text[20];

    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)uid);
    pool_json_text(out, "uid", text);
}

static inline void pool_json_devices(struct buffer *out, const char *key, uint64_t milli)
{
    json_write_key(out, key);
    json_write_double(out, (double)milli / 1000);
}

static inline void pool_json_price(struct buffer *out, const char *key, uint64_t nano_hour)
{
    json_write_key(out, key);
    json_write_double(out, (double)nano_hour / 1e9);
}

#endif
