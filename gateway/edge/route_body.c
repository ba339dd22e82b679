#include "route_body.h"

#include "check.h"
#include "decimal.h"
#include "request_wishes.h"

#define MODEL_BYTES_MAX   256u
#define SUGGEST_WORDS_MAX 256u
#define NAMES_SHOWN_MAX   8u
#define NUMBER_DIGITS_MAX 9u  /* a thousand million tokens or choices are beyond every limit */
#define PROMPT_AT         13u /* of the fields that are looked for */

/* "did you mean", or the names there are. */
static void unknown_model(const struct config *config, struct text_slice name,
                          struct api_error *error)
{
    const char *words[SUGGEST_WORDS_MAX], *nearest;
    size_t count = 0;
    struct buffer list;

    for (uint32_t i = 0; i < config->models.count && count < SUGGEST_WORDS_MAX; i++) {
        const struct config_model *model = config_model_at(config, i);
        const char *const *aliases = model->aliases.items;
        const struct config_adapter *adapters = model->adapters.items;

        words[count++] = model->name;
        for (uint32_t j = 0; j < model->aliases.count && count < SUGGEST_WORDS_MAX; j++)
            words[count++] = aliases[j];
        for (uint32_t j = 0; j < model->adapters.count && count < SUGGEST_WORDS_MAX; j++)
            words[count++] = adapters[j].name;
    }
    nearest = settings_nearest(name, words, count);
    buffer_init(&list, 512);
    if (nearest != NULL) {
        buffer_append_format(&list, "did you mean '%s'?", nearest);
    } else {
        buffer_append_text(&list, "served here:");
        for (size_t i = 0; i < count && i < NAMES_SHOWN_MAX; i++)
            buffer_append_format(&list, "%s %s", i > 0 ? "," : "", words[i]);
        if (count > NAMES_SHOWN_MAX)
            buffer_append_text(&list, ", and more at /v1/models");
    }
    api_error_set(error, 404, "invalid_request_error", "model_not_found", "model",
                  "The model '%.*s' does not exist; %s", (int)name.bytes, name.data,
                  list.failed == STATUS_OK ? list.data : "see /v1/models");
    buffer_deinit(&list);
}

static status model_find(const struct config *config, struct text_slice raw, uint32_t *model,
                         struct api_error *error)
{
    struct buffer name;
    int32_t found;
    status result;

    buffer_init(&name, MODEL_BYTES_MAX);
    result = json_field_text(raw, &name);
    if (result == STATUS_OK && name.failed == STATUS_OK) {
        found = config_model_find(config, buffer_slice(&name));
        if (found >= 0)
            *model = (uint32_t)found;
        else
            unknown_model(config, buffer_slice(&name), error);
        result = found >= 0 ? STATUS_OK : STATUS_NOT_FOUND;
    } else if (name.failed == STATUS_TOO_LARGE) {
        api_error_set(error, 404, "invalid_request_error", "model_not_found", "model",
                      "The name of a model has at most %u bytes", MODEL_BYTES_MAX);
        result = STATUS_NOT_FOUND;
    } else {
        api_error_set(error, 400, "invalid_request_error", "", "model", "'model' must be a string");
        result = STATUS_INVALID;
    }
    buffer_deinit(&name);
    return result;
}

/* What is between a string's quotes. */
static struct text_slice string_inside(struct text_slice raw)
{
    if (raw.bytes < 2 || raw.data[0] != '"')
        return (struct text_slice){NULL, 0};
    return (struct text_slice){raw.data + 1, raw.bytes - 2};
}

/* A plain number; what else it may be, the replica judges. */
static bool number_read(struct text_slice raw, uint64_t *out)
{
    return raw.bytes <= NUMBER_DIGITS_MAX && decimal_read(raw, UINT64_MAX, out);
}

/* `fields`: the three names of the most tokens of an answer, then the number of answers. */
static void output_read(const struct json_field fields[4], struct route_target *out)
{
    uint64_t count = 1;

    out->output_tokens_max = 0;
    out->has_output_tokens_max = false;
    for (size_t i = 0; i < 3; i++)
        out->has_output_tokens_max |= number_read(fields[i].value, &out->output_tokens_max);
    out->choice_count = number_read(fields[3].value, &count) ? (uint32_t)count : 1;
}

status route_body(const struct config *config, struct text_slice body, struct route_target *out,
                  struct api_error *error)
{
    const struct json_limits limits = {(uint32_t)config->limits.json_depth,
                                       (uint32_t)config->limits.json_values};
    struct json_field fields[PROMPT_AT + PROMPT_FIELD_COUNT] = {{.name = "model"},
                                                                {.name = "previous_response_id"},
                                                                {.name = "prompt_cache_key"},
                                                                {.name = "max_tokens"},
                                                                {.name = "max_completion_tokens"},
                                                                {.name = "max_output_tokens"},
                                                                {.name = "n"},
                                                                {.name = "stream"},
                                                                {.name = "user"},
                                                                {.name = "cache_salt"},
                                                                {.name = "priority"},
                                                                {.name = "service_tier"},
                                                                {.name = "stream_options"}};
    struct error_note note = {""};
    status result;

    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++)
        fields[PROMPT_AT + i].name = prompt_field_names[i];
    result = json_scan(body, &limits, fields, ARRAY_COUNT(fields), &note);
    if (result != STATUS_OK) {
        api_error_set(error, 400, "invalid_request_error", "", "",
                      "The body is not a valid JSON object: %s", note.text);
        return result;
    }
    out->has_name = fields[0].value.data != NULL;
    out->name = string_inside(fields[0].value);
    out->previous_response_id = string_inside(fields[1].value);
    out->prompt_cache_key = string_inside(fields[2].value);
    output_read(&fields[3], out);
    out->wants_stream = text_slice_is(fields[7].value, "true");
    out->user = string_inside(fields[8].value);
    out->cache_salt = fields[9].value;
    out->stream_options = fields[12].value;
    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++)
        out->prompt.fields[i] = fields[PROMPT_AT + i].value;
    out->priority = request_priority_read(fields[10].value, fields[11].value);
    if (out->has_name)
        return model_find(config, fields[0].value, &out->model, error);
    if (config->models.count != 1) {
        api_error_set(error, 400, "invalid_request_error", "", "model",
                      "'model' is missing, and more than one model is served; see /v1/models");
        return STATUS_INVALID;
    }
    out->model = 0;
    return STATUS_OK;
}

size_t route_body_rename(struct text_slice body, struct text_slice old, const char *name, char *out)
{
    size_t before = (size_t)(old.data - body.data), bytes = strlen(name);

    CHECK(before + old.bytes <= body.bytes);
    memcpy(out, body.data, before);
    memcpy(out + before, name, bytes);
    memcpy(out + before + bytes, old.data + old.bytes, body.bytes - before - old.bytes);
    return body.bytes - old.bytes + bytes;
}

#define NAME_PREFIX "{\"model\":\""

/* Names need no escaping: the config allows only letters, digits and . _ : / @ + - in them. */
size_t route_body_named_bytes(struct text_slice body, const char *name)
{
    return body.bytes + strlen(NAME_PREFIX) + strlen(name) + strlen("\",");
}

size_t route_body_name(struct text_slice body, const char *name, char *out)
{
    const char *rest = memchr(body.data, '{', body.bytes), *end = body.data + body.bytes;
    char *at = stpcpy(stpcpy(stpcpy(out, NAME_PREFIX), name), "\"");

    CHECK(rest != NULL);
    for (rest++; rest < end && strchr(" \t\r\n", *rest) != NULL; rest++)
        continue;
    CHECK(rest < end);
    if (*rest != '}')
        *at++ = ',';
    memcpy(at, rest, (size_t)(end - rest));
    return (size_t)(at - out) + (size_t)(end - rest);
}
