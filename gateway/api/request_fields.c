/* Readers of the fields that are more than one number or boolean. */

#include "request_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *request_allocate(struct request_parse *parse, size_t count, size_t item_bytes)
{
    void *memory = arena_allocate_array(parse->out->memory, count > 0 ? count : 1, item_bytes);
    if (memory == NULL)
        api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
    return memory;
}

status request_copy_tokens(struct request_parse *parse, const json_t *value, const char *path,
                           const int32_t **out, uint32_t *count)
{
    int32_t *tokens = request_allocate(parse, json_array_size(value), sizeof *tokens);
    if (tokens == NULL)
        return STATUS_NO_MEMORY;
    *out = tokens;
    *count = (uint32_t)json_array_size(value);
    return field_read_tokens(value, path, parse->limits->vocabulary, tokens, parse->error);
}

status request_copy_text(struct request_parse *parse, const json_t *value, const char *path,
                         size_t bytes_max, const char *what, struct text_slice *out)
{
    struct text_slice text;
    status s = field_read_text(value, path, bytes_max, &text, parse->error);
    if (s != STATUS_OK)
        return s;
    if (text.bytes == 0)
        return field_fail(parse->error, path, "invalid_value", "Invalid '%s': %s cannot be empty.",
                          path, what);
    char *copy = request_allocate(parse, text.bytes, 1);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    memcpy(copy, text.data, text.bytes);
    *out = (struct text_slice){copy, text.bytes};
    return STATUS_OK;
}

static status stop_add(struct request_parse *parse, const json_t *value, const char *path)
{
    return request_copy_text(parse, value, path, parse->limits->stop_bytes_max, "a stop string",
                             &parse->out->stops[parse->out->stop_count++]);
}

status request_read_stop(struct request_parse *parse, const struct request_field *field,
                         json_t *value)
{
    if (!json_is_string(value) && !json_is_array(value))
        return field_fail_type(parse->error, field->name, "a string or an array of strings", value);
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    status s = STATUS_OK;
    if (json_is_array(value))
        s = field_check_array(value, field->name, 0, parse->limits->stops_max, parse->error);
    if (s != STATUS_OK)
        return s;
    parse->out->stops = request_allocate(parse, count, sizeof *parse->out->stops);
    if (parse->out->stops == NULL)
        return STATUS_NO_MEMORY;
    if (json_is_string(value))
        return stop_add(parse, value, field->name);
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        struct field_path path = field_path_of("%s[%zu]", field->name, i);
        s = stop_add(parse, json_array_get(value, i), path.text);
    }
    return s;
}

status request_read_stop_tokens(struct request_parse *parse, const struct request_field *field,
                                json_t *value)
{
    status s = field_check_array(value, field->name, 0, API_STOP_TOKENS_MAX, parse->error);
    return s == STATUS_OK
               ? request_copy_tokens(parse, value, field->name, &parse->out->sampling.stop_tokens,
                                     &parse->out->sampling.stop_token_count)
               : s;
}

/* A key of logit_bias: the decimal text of a token id. */
static status bias_token(struct request_parse *parse, const char *key, int32_t *out)
{
    int64_t id_max =
        parse->limits->vocabulary > 0 ? (int64_t)parse->limits->vocabulary - 1 : INT32_MAX;
    char *end = NULL;
    errno = 0;
    long long id = strtoll(key, &end, 10);
    bool is_number = key[0] >= '0' && key[0] <= '9' && *end == '\0' && errno == 0;
    if (!is_number || id > id_max)
        return field_fail(parse->error, "logit_bias", "invalid_value",
                          "Invalid key in 'logit_bias': expected a token id from 0 to %lld, but "
                          "got '%.64s' instead.",
                          (long long)id_max, key);
    *out = (int32_t)id;
    return STATUS_OK;
}

status request_read_logit_bias(struct request_parse *parse, const struct request_field *field,
                               json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    size_t count = json_object_size(value);
    if (count > parse->limits->logit_bias_max)
        return field_fail(parse->error, field->name, "object_above_max_properties",
                          "Invalid 'logit_bias': too many properties. Expected at most %u, but "
                          "got %zu instead.",
                          parse->limits->logit_bias_max, count);
    struct logit_bias *biases = request_allocate(parse, count, sizeof *biases);
    if (biases == NULL)
        return STATUS_NO_MEMORY;
    uint32_t used = 0;
    const char *key;
    json_t *item;
    json_object_foreach(value, key, item)
    {
        double bias = 0;
        struct field_path path = field_path_of("logit_bias.%s", key);
        status s = bias_token(parse, key, &biases[used].token);
        if (s == STATUS_OK)
            s = field_read_number(item, path.text, -100, 100, &bias, parse->error);
        if (s != STATUS_OK)
            return s;
        biases[used++].bias = (float)bias;
    }
    parse->out->sampling.biases = biases;
    parse->out->sampling.bias_count = used;
    return STATUS_OK;
}

status request_read_seed(struct request_parse *parse, const struct request_field *field,
                         json_t *value)
{
    int64_t seed = 0;
    status s = field_read_integer(value, field->name, INT64_MIN, INT64_MAX, &seed, parse->error);
    parse->out->sampling.seed = (uint64_t)seed;
    parse->out->has_seed = s == STATUS_OK;
    return s;
}

status request_read_logprobs_count(struct request_parse *parse, const struct request_field *field,
                                   json_t *value)
{
    int64_t count = 0;
    status s = field_read_integer(value, field->name, 0, (int64_t)field->max, &count, parse->error);
    if (s == STATUS_OK)
        parse->out->sampling.logprobs = (int32_t)count;
    return s;
}

status request_read_top_logprobs(struct request_parse *parse, const struct request_field *field,
                                 json_t *value)
{
    return field_read_integer(value, field->name, 0, (int64_t)field->max, &parse->top_logprobs,
                              parse->error);
}

status request_read_max_completion_tokens(struct request_parse *parse,
                                          const struct request_field *field, json_t *value)
{
    parse->has_max_completion = true;
    return field_read_integer(value, field->name, 1, INT32_MAX, &parse->out->max_tokens,
                              parse->error);
}

status request_read_max_tokens(struct request_parse *parse, const struct request_field *field,
                               json_t *value)
{
    int64_t count = 0;
    status s = field_read_integer(value, field->name, parse->out->is_chat ? 1 : 0, INT32_MAX,
                                  &count, parse->error);
    if (s == STATUS_OK && !parse->has_max_completion)
        parse->out->max_tokens = count;
    return s;
}

status request_read_stream_options(struct request_parse *parse, const struct request_field *field,
                                   json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    parse->has_stream_options = true;
    const char *name;
    json_t *item;
    json_object_foreach(value, name, item)
    {
        struct field_path path = field_path_of("stream_options.%s", name);
        bool ignored = false;
        bool *target = strcmp(name, "include_usage") == 0            ? &parse->out->include_usage
                       : strcmp(name, "continuous_usage_stats") == 0 ? &parse->out->continuous_usage
                                                                     : &ignored;
        status s = STATUS_OK;
        if (target != &ignored || strcmp(name, "include_obfuscation") == 0)
            s = json_is_null(item) ? STATUS_OK
                                   : field_read_bool(item, path.text, target, parse->error);
        else
            s = request_field_ignored(parse, path.text, "unknown_parameter");
        if (s == STATUS_OK && ignored) /* obfuscation was asked for */
            s = request_field_ignored(parse, path.text, "unsupported_parameter");
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

status request_read_modalities(struct request_parse *parse, const struct request_field *field,
                               json_t *value)
{
    status s = field_check_array(value, field->name, 1, 8, parse->error);
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        struct field_path path = field_path_of("%s[%zu]", field->name, index);
        if (s == STATUS_OK && !json_is_string(item))
            s = field_fail_type(parse->error, path.text, "a string", item);
        if (s == STATUS_OK && strcmp(json_string_value(item), "text") != 0)
            s = field_fail_unsupported(parse->error, field->name,
                                       "This model answers in 'text' only.");
    }
    return s;
}

const char *const api_service_tier_names[TIER_COUNT] = {
    [TIER_DEFAULT] = "default", [TIER_FLEX] = "flex", [TIER_PRIORITY] = "priority"};

/* What OpenAI sells more of is one of three here. */
status request_read_service_tier(struct request_parse *parse, const struct request_field *field,
                                 json_t *value)
{
    static const struct {
        const char *name;
        enum api_service_tier tier;
    } tiers[] = {{"auto", TIER_DEFAULT}, {"default", TIER_DEFAULT},   {"scale", TIER_DEFAULT},
                 {"flex", TIER_FLEX},    {"priority", TIER_PRIORITY}, {"fast", TIER_PRIORITY}};
    struct text_slice text;
    status s = field_read_text(value, field->name, API_TEXT_BYTES_MAX, &text, parse->error);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++) {
        if (!text_slice_is(text, tiers[i].name))
            continue;
        parse->out->service_tier = tiers[i].tier;
        return STATUS_OK;
    }
    return field_fail(parse->error, field->name, "invalid_value",
                      "Invalid value: '%.64s'. Supported values are: 'auto', 'default', 'flex', "
                      "'scale', 'priority' and 'fast'.",
                      text.data);
}

/* The client's notes: nothing is made of them, but what OpenAI would refuse is refused. */
status request_read_metadata(struct request_parse *parse, const struct request_field *field,
                             json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    if (json_object_size(value) > API_METADATA_MAX)
        return field_fail(parse->error, field->name, "object_above_max_properties",
                          "Invalid 'metadata': too many properties. Expected at most %u, but got "
                          "%zu instead.",
                          API_METADATA_MAX, json_object_size(value));
    const char *name;
    json_t *item;
    json_object_foreach(value, name, item)
    {
        struct field_path path = field_path_of("metadata.%.80s", name);
        struct text_slice text;
        if (strlen(name) > API_METADATA_KEY_MAX)
            return field_fail(parse->error, path.text, "string_above_max_length",
                              "Invalid 'metadata': a key has at most %u bytes, but one with %zu "
                              "came.",
                              API_METADATA_KEY_MAX, strlen(name));
        status s = field_read_text(item, path.text, API_METADATA_TEXT_MAX, &text, parse->error);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

status request_read_skip_special_tokens(struct request_parse *parse,
                                        const struct request_field *field, json_t *value)
{
    bool skips = true;
    status s = field_read_bool(value, field->name, &skips, parse->error);
    if (s == STATUS_OK)
        parse->out->shows_special = !skips;
    return s;
}

status request_read_priority(struct request_parse *parse, const struct request_field *field,
                             json_t *value)
{
    int64_t number = 0;
    status s = field_read_integer(value, field->name, (int64_t)field->min, (int64_t)field->max,
                                  &number, parse->error);
    parse->has_priority = s == STATUS_OK;
    parse->out->priority = (int32_t)number;
    return s;
}
