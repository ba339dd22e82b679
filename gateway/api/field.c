#include "field.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INVALID_REQUEST "invalid_request_error"

struct field_path field_path_of(const char *format, ...)
{
    struct field_path path;
    va_list args;
    va_start(args, format);
    vsnprintf(path.text, sizeof path.text, format, args);
    va_end(args);
    return path;
}

static const char *type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a decimal number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

status field_fail_type(struct api_error *error, const char *param, const char *expected,
                       const json_t *got)
{
    api_error_set(error, 400, INVALID_REQUEST, "invalid_type", param,
                  "Invalid type for '%s': expected %s, but got %s instead.", param, expected,
                  type_of(got));
    return STATUS_INVALID;
}

status field_fail(struct api_error *error, const char *param, const char *code, const char *format,
                  ...)
{
    char text[sizeof error->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    api_error_set(error, 400, INVALID_REQUEST, code, param, "%s", text);
    return STATUS_INVALID;
}

status field_fail_missing(struct api_error *error, const char *param)
{
    return field_fail(error, param, "missing_required_parameter",
                      "Missing required parameter: '%s'.", param);
}

status field_fail_unsupported(struct api_error *error, const char *param, const char *why)
{
    api_error_set(error, 400, INVALID_REQUEST, "unsupported_parameter", param,
                  "Unsupported parameter: '%s'. %s", param, why);
    return STATUS_UNSUPPORTED;
}

status field_read_bool(const json_t *value, const char *param, bool *out, struct api_error *error)
{
    if (!json_is_boolean(value))
        return field_fail_type(error, param, "a boolean", value);
    *out = json_is_true(value);
    return STATUS_OK;
}

status field_read_integer(const json_t *value, const char *param, int64_t min, int64_t max,
                          int64_t *out, struct api_error *error)
{
    if (!json_is_integer(value))
        return field_fail_type(error, param, "an integer", value);
    int64_t number = json_integer_value(value);
    if (number < min)
        return field_fail(error, param, "integer_below_min_value",
                          "Invalid '%s': integer below minimum value. Expected a value >= %" PRId64
                          ", but got %" PRId64 " instead.",
                          param, min, number);
    if (number > max)
        return field_fail(error, param, "integer_above_max_value",
                          "Invalid '%s': integer above maximum value. Expected a value <= %" PRId64
                          ", but got %" PRId64 " instead.",
                          param, max, number);
    *out = number;
    return STATUS_OK;
}

status field_read_number(const json_t *value, const char *param, double min, double max,
                         double *out, struct api_error *error)
{
    if (!json_is_number(value))
        return field_fail_type(error, param, "a decimal", value);
    double number = json_number_value(value);
    if (number < min)
        return field_fail(error, param, "decimal_below_min_value",
                          "Invalid '%s': decimal below minimum value. Expected a value >= %g, but "
                          "got %g instead.",
                          param, min, number);
    if (number > max)
        return field_fail(error, param, "decimal_above_max_value",
                          "Invalid '%s': decimal above maximum value. Expected a value <= %g, but "
                          "got %g instead.",
                          param, max, number);
    *out = number;
    return STATUS_OK;
}

status field_read_text(const json_t *value, const char *param, size_t bytes_max,
                       struct text_slice *out, struct api_error *error)
{
    if (!json_is_string(value))
        return field_fail_type(error, param, "a string", value);
    struct text_slice text = {json_string_value(value), json_string_length(value)};
    if (text.bytes > bytes_max)
        return field_fail(error, param, "string_above_max_length",
                          "Invalid '%s': string too long. Expected a string with maximum length "
                          "%zu bytes, but got a string with length %zu instead.",
                          param, bytes_max, text.bytes);
    *out = text;
    return STATUS_OK;
}

status field_read_c_text(const json_t *value, const char *param, size_t bytes_max, const char **out,
                         struct api_error *error)
{
    struct text_slice text;
    status s = field_read_text(value, param, bytes_max, &text, error);
    if (s != STATUS_OK)
        return s;
    if (strlen(text.data) != text.bytes)
        return field_fail(error, param, "invalid_value",
                          "Invalid '%s': a NUL character is not allowed here.", param);
    *out = text.data;
    return STATUS_OK;
}

status field_check_array(const json_t *value, const char *param, size_t min, size_t max,
                         struct api_error *error)
{
    if (!json_is_array(value))
        return field_fail_type(error, param, "an array", value);
    size_t count = json_array_size(value);
    if (count == 0 && min > 0)
        return field_fail(error, param, "empty_array",
                          "Invalid '%s': empty array. Expected an array with minimum length %zu, "
                          "but got an empty array instead.",
                          param, min);
    if (count > max)
        return field_fail(error, param, "array_above_max_length",
                          "Invalid '%s': array too long. Expected an array with maximum length "
                          "%zu, but got an array with length %zu instead.",
                          param, max, count);
    return STATUS_OK;
}

status field_read_tokens(const json_t *value, const char *param, uint32_t vocabulary, int32_t *out,
                         struct api_error *error)
{
    int64_t id_max = vocabulary > 0 ? (int64_t)vocabulary - 1 : INT32_MAX;
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        int64_t id = 0;
        struct field_path path = field_path_of("%s[%zu]", param, index);
        status s = field_read_integer(item, path.text, 0, id_max, &id, error);
        if (s != STATUS_OK)
            return s;
        out[index] = (int32_t)id;
    }
    return STATUS_OK;
}

status field_load_body(struct text_slice body, const struct api_limits *limits, json_t **out,
                       struct api_error *error)
{
    struct json_limits json_limits = {limits->json_depth_max, limits->json_values_max};
    struct error_note note = {""};
    json_t *tree = NULL;
    status s = json_load_limited(body, &json_limits, &tree, &note);
    if (s == STATUS_NO_MEMORY) {
        api_error_from_status(error, s, NULL);
        return s;
    }
    if (s != STATUS_OK) {
        api_error_set(error, 400, INVALID_REQUEST,
                      s == STATUS_TOO_LARGE ? "request_too_large" : "invalid_json", "",
                      "We could not parse the JSON body of your request: %s.", note.text);
        return s;
    }
    if (!json_is_object(tree)) {
        api_error_set(error, 400, INVALID_REQUEST, "invalid_type", "",
                      "The body must be a JSON object, but it is %s.", type_of(tree));
        json_decref(tree);
        return STATUS_INVALID;
    }
    *out = tree;
    return STATUS_OK;
}
