#ifndef PENSTOCK_BASE_JSON_H
#define PENSTOCK_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* JSON in three parts, each for one job:
 *  - json_scan: one pass without recursion or allocation that checks a body against limits and finds a few top-level
 *    fields. It is all that the gateway role does with a request it only passes on.
 *  - json_load_limited: json_scan, then jansson's tree. The replica role uses it.
 *  - json_write_*: appends to a buffer; streams are written with it, no tree is built.
 * RFC 8259, strict: UTF-8 only, no duplicate keys, no lone surrogates, no text after the value, a BOM is refused. */

struct json_limits {
    uint32_t depth_max;       /* nesting of arrays and objects; at most 1024 */
    uint32_t value_count_max; /* values of every kind, keys not counted */
};

/* A top-level member that json_scan is asked to find. `value` is the raw text (strings with their quotes), inside the
 * scanned body; data == NULL when absent. */
struct json_field {
    const char *name;
    struct text_slice value;
};

/* Scans `body`, which must be one JSON object of at most 256 members with names of at most 256 bytes. On STATUS_INVALID or STATUS_TOO_LARGE the note says what and at which
 * byte offset. Thread: any. */
NODISCARD status json_scan(struct text_slice body, const struct json_limits *limits,
                           struct json_field *fields, size_t field_count, struct error_note *note);

/* Raw string value (with quotes) -> text in `out` (escapes resolved). STATUS_INVALID when it is no string. */
NODISCARD status json_field_text(struct text_slice raw, struct buffer *out);

/* Any JSON value. On success *out is the caller's (json_decref). Jansson's arrays and objects keep insertion order. Strings
 * may hold NUL bytes (json_string_length). STATUS_INVALID also for numbers that no int64 or double can hold. */
NODISCARD status json_load_limited(struct text_slice body, const struct json_limits *limits,
                                   json_t **out, struct error_note *note);

/* Writer. Every function appends to `out` and relies on the buffer's own `failed`. */
void json_write_string(
    struct buffer *out,
    struct text_slice text); /* quotes and escapes; broken UTF-8 becomes U+FFFD */
void json_write_text(struct buffer *out,
                     const char *text); /* the same for a C string; NULL writes null */
void json_write_double(struct buffer *out,
                       double value); /* shortest text that reads back equal; NaN, inf: null */
void json_write_bool(struct buffer *out, bool value);
/* `"name":` with a comma before it unless the buffer ends in '{' or '['. */
void json_write_key(struct buffer *out, const char *name);
void json_write_comma(struct buffer *out); /* ',' unless the buffer ends in '{', '[', ':' or ',' */
void json_write_value(struct buffer *out, const json_t *value); /* compact dump */

#endif
