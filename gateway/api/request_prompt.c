/* Readers of what is asked about the prompt of a text completion, and of any prompt; and of what an
 * answer may be made of. */

#include "request_parse.h"

static status prompt_item_read(struct request_parse *parse, const json_t *item, const char *path,
                               struct api_prompt *out)
{
    if (json_is_string(item))
        return field_read_text(item, path, parse->limits->prompt_bytes_max, &out->text,
                               parse->error);
    if (!json_is_array(item))
        return field_fail_type(parse->error, path, "a string or an array of token ids", item);
    status s = field_check_array(item, path, 1, UINT32_MAX, parse->error);
    return s == STATUS_OK ? request_copy_tokens(parse, item, path, &out->tokens, &out->token_count)
                          : s;
}

/* A text, a list of token ids, or a list of either. */
status request_read_prompt(struct request_parse *parse, const struct request_field *field,
                           json_t *value)
{
    parse->has_prompt = true;
    bool is_list = json_is_array(value) && !json_is_integer(json_array_get(value, 0));
    if (!json_is_array(value) && !json_is_string(value))
        return field_fail_type(parse->error, field->name,
                               "a string, an array of strings, an array of token ids or an array "
                               "of such arrays",
                               value);
    status s = STATUS_OK;
    if (is_list)
        s = field_check_array(value, field->name, 1, API_CHOICES_MAX, parse->error);
    if (s != STATUS_OK)
        return s;
    size_t count = is_list ? json_array_size(value) : 1;
    struct api_prompt *prompts = request_allocate(parse, count, sizeof *prompts);
    if (prompts == NULL)
        return STATUS_NO_MEMORY;
    parse->out->prompts = prompts;
    parse->out->prompt_count = (uint32_t)count;
    if (!is_list)
        return prompt_item_read(parse, value, field->name, &prompts[0]);
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        struct field_path path = field_path_of("%s[%zu]", field->name, i);
        s = prompt_item_read(parse, json_array_get(value, i), path.text, &prompts[i]);
    }
    return s;
}

status request_read_suffix(struct request_parse *parse, const struct request_field *field,
                           json_t *value)
{
    return field_read_text(value, field->name, parse->limits->prompt_bytes_max, &parse->out->suffix,
                           parse->error);
}

status request_read_best_of(struct request_parse *parse, const struct request_field *field,
                            json_t *value)
{
    int64_t count = 0;
    status s =
        field_read_integer(value, field->name, 1, parse->limits->n_max, &count, parse->error);
    if (s == STATUS_OK)
        parse->best_of = (uint32_t)count;
    return s;
}

status request_read_prompt_logprobs(struct request_parse *parse, const struct request_field *field,
                                    json_t *value)
{
    int64_t count = 0;
    status s = field_read_integer(value, field->name, 0, (int64_t)field->max, &count, parse->error);
    parse->out->has_prompt_scores = s == STATUS_OK;
    parse->out->prompt_alternatives = (uint32_t)count;
    return s;
}

/* -1: as many as the model can take. */
status request_read_truncate_prompt_tokens(struct request_parse *parse,
                                           const struct request_field *field, json_t *value)
{
    int64_t count = 0;
    status s = field_read_integer(value, field->name, (int64_t)field->min, (int64_t)field->max,
                                  &count, parse->error);
    if (s == STATUS_OK && count == 0)
        s = field_fail(parse->error, field->name, "invalid_value",
                       "Invalid '%s': expected -1 or a value >= 1, but got 0 instead.",
                       field->name);
    if (s == STATUS_OK)
        parse->out->prompt_tokens_max = count > 0 ? (uint32_t)count : UINT32_MAX;
    return s;
}

status request_read_allowed_tokens(struct request_parse *parse, const struct request_field *field,
                                   json_t *value)
{
    status s = field_check_array(value, field->name, 0, UINT32_MAX, parse->error);
    return s == STATUS_OK ? request_copy_tokens(parse, value, field->name,
                                                &parse->out->sampling.allowed_tokens,
                                                &parse->out->sampling.allowed_token_count)
                          : s;
}

/* What they are in tokens is found out with the tokenizer (prompt.c). */
status request_read_bad_words(struct request_parse *parse, const struct request_field *field,
                              json_t *value)
{
    status s = field_check_array(value, field->name, 0, API_BAD_WORDS_MAX, parse->error);
    if (s != STATUS_OK)
        return s;
    size_t count = json_array_size(value);
    parse->out->bad_words = request_allocate(parse, count, sizeof *parse->out->bad_words);
    if (parse->out->bad_words == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        struct field_path path = field_path_of("%s[%zu]", field->name, i);
        s = request_copy_text(parse, json_array_get(value, i), path.text, API_TEXT_BYTES_MAX,
                              "a bad word", &parse->out->bad_words[i]);
    }
    parse->out->bad_word_count = (uint32_t)count;
    return s;
}

status request_read_chat_template(struct request_parse *parse, const struct request_field *field,
                                  json_t *value)
{
    if (!parse->limits->trusts_templates)
        return field_fail_unsupported(parse->error, field->name,
                                      "This server renders the model's own template only; its "
                                      "setting trust_request_chat_template is off.");
    return field_read_text(value, field->name, parse->limits->prompt_bytes_max,
                           &parse->out->chat_template, parse->error);
}

/* Texts of {"type":"text","text":...}, one after the other. */
static status prediction_join(struct request_parse *parse, const json_t *parts)
{
    struct buffer joined;
    buffer_init(&joined, parse->limits->prompt_bytes_max);
    status s = field_check_array(parts, "prediction.content", 1, parse->limits->json_values_max,
                                 parse->error);
    for (size_t i = 0; s == STATUS_OK && i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        struct field_path path = field_path_of("prediction.content[%zu].text", i);
        struct text_slice text;
        const json_t *value = json_object_get(part, "text");
        if (type == NULL || strcmp(type, "text") != 0)
            s = field_fail_type(parse->error, path.text, "a part of type 'text'", part);
        else if (value == NULL)
            s = field_fail_missing(parse->error, path.text);
        else
            s = field_read_text(value, path.text, parse->limits->prompt_bytes_max, &text,
                                parse->error);
        if (s == STATUS_OK)
            buffer_append_slice(&joined, text);
    }
    if (s == STATUS_OK && joined.failed != STATUS_OK) {
        s = joined.failed;
        api_error_from_status(parse->error, s, NULL);
    }
    char *copy = s == STATUS_OK ? request_allocate(parse, joined.bytes, 1) : NULL;
    if (copy != NULL && joined.bytes > 0)
        memcpy(copy, joined.data, joined.bytes);
    parse->out->prediction = (struct text_slice){copy, copy != NULL ? joined.bytes : 0};
    buffer_deinit(&joined);
    return s == STATUS_OK && copy == NULL ? STATUS_NO_MEMORY : s;
}

/* {"type":"content","content":...}: a text, or an array of parts. */
status request_read_prediction(struct request_parse *parse, const struct request_field *field,
                               json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    const char *type = json_string_value(json_object_get(value, "type"));
    const json_t *content = json_object_get(value, "content");
    if (type == NULL || strcmp(type, "content") != 0)
        return field_fail(parse->error, "prediction.type", "invalid_value",
                          "Invalid 'prediction.type': the supported value is 'content'.");
    if (content == NULL)
        return field_fail_missing(parse->error, "prediction.content");
    if (json_is_array(content))
        return prediction_join(parse, content);
    if (!json_is_string(content))
        return field_fail_type(parse->error, "prediction.content", "a string or an array of parts",
                               content);
    return field_read_text(content, "prediction.content", parse->limits->prompt_bytes_max,
                           &parse->out->prediction, parse->error);
}
