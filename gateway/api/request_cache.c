/* Up to where, and how long, a prompt is to stay in the prefix cache: prompt_cache_options and prompt_cache_retention of a
 * request, prompt_cache_breakpoint of a part of a message. Anthropic's cache_control becomes such a breakpoint
 * (messages_content.c). */

#include "request_cache.h"

#include <string.h>

#define MINUTE_NS (60ull * 1000 * 1000 * 1000)

const uint64_t api_cache_ttl_ns[CACHE_TTL_COUNT] = {[CACHE_TTL_5M] = 5 * MINUTE_NS,
                                                    [CACHE_TTL_30M] = 30 * MINUTE_NS,
                                                    [CACHE_TTL_1H] = 60 * MINUTE_NS,
                                                    [CACHE_TTL_12H] = 12 * 60 * MINUTE_NS,
                                                    [CACHE_TTL_24H] = 24 * 60 * MINUTE_NS};

static bool is_deeper(const struct api_cache_mark *a, const struct api_cache_mark *b)
{
    if (a->place != b->place)
        return a->place > b->place;
    return a->message != b->message ? a->message > b->message : a->bytes > b->bytes;
}

void request_cache_mark(struct api_completion_request *out, enum api_cache_ttl ttl,
                        struct api_cache_mark mark)
{
    if (is_deeper(&mark, &out->cache_marks[ttl]))
        out->cache_marks[ttl] = mark;
}

/* The member ttl of `object`; absent: untouched. */
static status ttl_read(const json_t *object, const char *path, enum api_cache_ttl *out,
                       struct api_error *error)
{
    static const char *const words[CACHE_TTL_COUNT] = {"5m", "30m", "1h", "12h", "24h"};
    const json_t *value = json_object_get(object, "ttl");
    struct field_path ttl_path = field_path_of("%s.ttl", path);
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    if (!json_is_string(value))
        return field_fail_type(error, ttl_path.text, "a string", value);
    for (int i = 0; i < CACHE_TTL_COUNT; i++) {
        if (strcmp(json_string_value(value), words[i]) == 0) {
            *out = (enum api_cache_ttl)i;
            return STATUS_OK;
        }
    }
    return field_fail(error, ttl_path.text, "invalid_value",
                      "Invalid '%s': supported values are '5m', '30m', '1h', '12h' and '24h'.",
                      ttl_path.text);
}

/* The member mode of `object`; absent: untouched. */
static status mode_read(const json_t *object, const char *path, bool takes_implicit,
                        bool *is_implicit, struct api_error *error)
{
    const json_t *value = json_object_get(object, "mode");
    struct field_path mode_path = field_path_of("%s.mode", path);
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    if (!json_is_string(value))
        return field_fail_type(error, mode_path.text, "a string", value);
    bool says_implicit = strcmp(json_string_value(value), "implicit") == 0;
    if (strcmp(json_string_value(value), "explicit") != 0 && !(takes_implicit && says_implicit))
        return field_fail(error, mode_path.text, "invalid_value",
                          "Invalid '%s': supported values are %s'explicit'.", mode_path.text,
                          takes_implicit ? "'implicit' and " : "");
    *is_implicit = says_implicit;
    return STATUS_OK;
}

status request_breakpoint_read(const json_t *value, const char *path, struct api_cache_mark mark,
                               struct api_completion_request *out, struct api_error *error)
{
    bool is_implicit = false;
    enum api_cache_ttl ttl = CACHE_TTL_30M;
    if (!json_is_object(value))
        return field_fail_type(error, path, "an object", value);
    status s = mode_read(value, path, false, &is_implicit, error);
    if (s == STATUS_OK)
        s = ttl_read(value, path, &ttl, error);
    if (s == STATUS_OK)
        request_cache_mark(out, ttl, mark);
    return s;
}

/* {"mode":"implicit"|"explicit","ttl":...}: implicit, which it is unless it says otherwise, marks the whole prompt. */
status request_read_cache_options(struct request_parse *parse, const struct request_field *field,
                                  json_t *value)
{
    bool is_implicit = true;
    enum api_cache_ttl ttl = CACHE_TTL_30M;
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    status s = mode_read(value, field->name, true, &is_implicit, parse->error);
    if (s == STATUS_OK)
        s = ttl_read(value, field->name, &ttl, parse->error);
    if (s != STATUS_OK)
        return s;
    if (!parse->limits->pins_prompts)
        return request_field_ignored(parse, field->name, "unsupported_parameter");
    if (is_implicit)
        request_cache_mark(parse->out, ttl, (struct api_cache_mark){.place = CACHE_PROMPT});
    return STATUS_OK;
}

/* "in_memory" asks for nothing beyond what the cache does; older clients write it with a hyphen. */
status request_read_cache_retention(struct request_parse *parse, const struct request_field *field,
                                    json_t *value)
{
    const char *text = NULL;
    status s = field_read_c_text(value, field->name, API_TEXT_BYTES_MAX, &text, parse->error);
    if (s != STATUS_OK || strcmp(text, "in_memory") == 0 || strcmp(text, "in-memory") == 0)
        return s;
    if (strcmp(text, "24h") != 0)
        return field_fail(parse->error, field->name, "invalid_value",
                          "Invalid '%s': supported values are 'in_memory' and '24h'.", field->name);
    if (!parse->limits->pins_prompts)
        return request_field_ignored(parse, field->name, "unsupported_parameter");
    request_cache_mark(parse->out, CACHE_TTL_24H, (struct api_cache_mark){.place = CACHE_PROMPT});
    return STATUS_OK;
}
