/* Readers of what samplers other than temperature, top-k, top-p and min-p take. The names are llama.cpp's; vLLM's for what ends an
 * output that repeats itself. */

#include "request_parse.h"

#include <string.h>

#include "check.h"

static status breaker_add(struct request_parse *parse, const json_t *value, const char *path,
                          struct text_slice *out)
{
    return request_copy_text(parse, value, path, API_DRY_BREAKER_BYTES_MAX, "a sequence breaker",
                             out);
}

status request_read_dry_breakers(struct request_parse *parse, const struct request_field *field,
                                 json_t *value)
{
    status s = field_check_array(value, field->name, 0, DRY_BREAKERS_MAX, parse->error);
    if (s != STATUS_OK)
        return s;
    size_t count = json_array_size(value);
    struct text_slice *breakers = request_allocate(parse, count, sizeof *breakers);
    if (breakers == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        struct field_path path = field_path_of("%s[%zu]", field->name, i);
        s = breaker_add(parse, json_array_get(value, i), path.text, &breakers[i]);
    }
    parse->out->sampling.dry.breakers = breakers;
    parse->out->sampling.dry.breaker_count = (uint32_t)count;
    return s;
}

/* 0: none, or 2: the second version of the algorithm. */
status request_read_mirostat(struct request_parse *parse, const struct request_field *field,
                             json_t *value)
{
    int64_t version = 0;
    status s = field_read_integer(value, field->name, 0, 2, &version, parse->error);
    if (s == STATUS_OK && version == 1)
        return field_fail_unsupported(parse->error, field->name,
                                      "Version 2 of the algorithm is served, or 0 for none.");
    parse->out->sampling.mirostat.is_on = version == 2;
    return s;
}

status request_read_repetition_detection(struct request_parse *parse,
                                         const struct request_field *field, json_t *value)
{
    struct repetition_params read = {0};
    const struct {
        const char *name;
        uint32_t max;
        uint32_t *target;
    } parts[] = {{"max_pattern_size", REPETITION_PATTERN_MAX, &read.max_pattern},
                 {"min_pattern_size", REPETITION_PATTERN_MAX, &read.min_pattern},
                 {"min_count", REPETITION_COUNT_MAX, &read.min_count}};
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    const char *name;
    json_t *item;
    json_object_foreach(value, name, item)
    {
        struct field_path path = field_path_of("%s.%s", field->name, name);
        size_t i = 0;
        while (i < ARRAY_COUNT(parts) && strcmp(parts[i].name, name) != 0)
            i++;
        int64_t number = 0;
        status s = STATUS_OK;
        if (i == ARRAY_COUNT(parts))
            s = request_field_ignored(parse, path.text, "unknown_parameter");
        else
            s = field_read_integer(item, path.text, 0, parts[i].max, &number, parse->error);
        if (s != STATUS_OK)
            return s;
        if (i < ARRAY_COUNT(parts))
            *parts[i].target = (uint32_t)number;
    }
    if (read.min_pattern > read.max_pattern)
        return field_fail(parse->error, "repetition_detection.min_pattern_size",
                          "integer_above_max_value",
                          "Invalid 'repetition_detection.min_pattern_size': expected at most "
                          "'max_pattern_size' (%u), but got %u instead.",
                          read.max_pattern, read.min_pattern);
    if (read.max_pattern > 0 && read.min_count < 2)
        return field_fail(parse->error, "repetition_detection.min_count", "integer_below_min_value",
                          "Invalid 'repetition_detection.min_count': expected at least 2, but got "
                          "%u instead.",
                          read.min_count);
    parse->out->sampling.repetition = read;
    return STATUS_OK;
}
