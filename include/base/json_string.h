#ifndef PENSTOCK_BASE_JSON_STRING_H
#define PENSTOCK_BASE_JSON_STRING_H

#include <stddef.h>

/* The inside of JSON strings. Pure: any thread. */

/* How many of the first bytes stand for themselves inside of a string: ASCII without quotes, backslashes and control
 * characters. */
size_t json_string_plain(const char *at, const char *end);

/* `at` stands behind the opening quote. Returns the place behind the closing quote, or NULL with
 * *wrong at the first byte that is wrong and *what saying what (static text). */
const char *json_string_skip(const char *at, const char *end, const char **wrong,
                             const char **what);

/* Decodes one character or escape of a string that json_string_skip found good. Writes its 1..4
 * UTF-8 bytes, returns how many, and moves *at behind it. */
size_t json_string_next(const char **at, char out[4]);

#endif
