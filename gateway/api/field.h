#ifndef PENSTOCK_GATEWAY_API_FIELD_H
#define PENSTOCK_GATEWAY_API_FIELD_H

#include <stdarg.h>

#include "openai.h"

/* Readers of one JSON value each. On a wrong type or range they fill `error` with OpenAI's code
 * ("invalid_type", "integer_above_max_value", ...), the field's name, its range and what came, and
 * return STATUS_INVALID with the result untouched. `param` is the path: "messages[0].content". */

/* A path that is built on the way down; too long ones are cut. */
struct field_path {
    char text[128];
};
struct field_path field_path_of(const char *format, ...) PRINTF_LIKE(1, 2);

/* "expected <expected>, but got <what came> instead". Returns STATUS_INVALID. */
status field_fail_type(struct api_error *error, const char *param, const char *expected,
                       const json_t *got);
/* Any other 400 of one field. Returns STATUS_INVALID. */
status field_fail(struct api_error *error, const char *param, const char *code, const char *format,
                  ...) PRINTF_LIKE(4, 5);
status field_fail_missing(struct api_error *error, const char *param);
/* A value that we understand and cannot serve. Returns STATUS_UNSUPPORTED. */
status field_fail_unsupported(struct api_error *error, const char *param, const char *why);

NODISCARD status field_read_bool(const json_t *value, const char *param, bool *out,
                                 struct api_error *error);
NODISCARD status field_read_integer(const json_t *value, const char *param, int64_t min,
                                    int64_t max, int64_t *out, struct api_error *error);
/* An integer is a number too. */
NODISCARD status field_read_number(const json_t *value, const char *param, double min, double max,
                                   double *out, struct api_error *error);
NODISCARD status field_read_text(const json_t *value, const char *param, size_t bytes_max,
                                 struct text_slice *out, struct api_error *error);
/* The same without NUL bytes inside, as a C string that lives as long as `value`. */
NODISCARD status field_read_c_text(const json_t *value, const char *param, size_t bytes_max,
                                   const char **out, struct api_error *error);
/* An array with a number of items in [min, max]. */
NODISCARD status field_check_array(const json_t *value, const char *param, size_t min, size_t max,
                                   struct api_error *error);
/* An array of token ids, each below `vocabulary` (0: any that is not negative). `out` has room for
 * all. */
NODISCARD status field_read_tokens(const json_t *value, const char *param, uint32_t vocabulary,
                                   int32_t *out, struct api_error *error);

/* Loads a body that must be an object; a failure is complete in `error`. */
NODISCARD status field_load_body(struct text_slice body, const struct api_limits *limits,
                                 json_t **out, struct api_error *error);

#endif
