/* Bodies of /tokenize and /detokenize, as vLLM has them. */

#include "request_parse.h"

#include "memory.h"

static status read_optional_bool(const json_t *body, const char *name, bool *out,
                                 struct api_error *error)
{
    const json_t *value = json_object_get(body, name);
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    return field_read_bool(value, name, out, error);
}

static status read_model(const json_t *body, const char **out, struct api_error *error)
{
    const json_t *value = json_object_get(body, "model");
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    return field_read_c_text(value, "model", API_TEXT_BYTES_MAX, out, error);
}

static status read_chat(const struct api_limits *limits, struct api_tokenize_request *out,
                        json_t *messages, struct api_error *error)
{
    status s = messages_normalize(messages, limits, NULL, error);
    out->messages = messages;
    const json_t *tools = json_object_get(out->body, "tools");
    if (s == STATUS_OK && tools != NULL && !json_is_null(tools)) {
        s = tools_check(tools, error);
        out->tools = json_array_size(tools) > 0 ? tools : NULL;
    }
    const json_t *variables = json_object_get(out->body, "chat_template_kwargs");
    if (s == STATUS_OK && variables != NULL && !json_is_null(variables)) {
        if (!json_is_object(variables))
            return field_fail_type(error, "chat_template_kwargs", "an object", variables);
        out->template_variables = variables;
    }
    if (s == STATUS_OK)
        s = read_optional_bool(out->body, "continue_final_message", &out->continue_final_message,
                               error);
    out->add_generation_prompt = !out->continue_final_message;
    if (s == STATUS_OK)
        s = read_optional_bool(out->body, "add_generation_prompt", &out->add_generation_prompt,
                               error);
    if (s == STATUS_OK && out->continue_final_message && out->add_generation_prompt)
        s = field_fail(error, "continue_final_message", "invalid_value",
                       "'continue_final_message' and 'add_generation_prompt' cannot both be true.");
    return s;
}

status api_tokenize_request_parse(struct text_slice body, const struct api_limits *limits,
                                  struct api_tokenize_request *out, struct api_error *error)
{
    *out = (struct api_tokenize_request){0};
    status s = field_load_body(body, limits, &out->body, error);
    if (s != STATUS_OK)
        return s;
    json_t *messages = json_object_get(out->body, "messages");
    const json_t *prompt = json_object_get(out->body, "prompt");
    out->add_special = messages == NULL;
    s = read_model(out->body, &out->model, error);
    if (s == STATUS_OK)
        s = read_optional_bool(out->body, "add_special_tokens", &out->add_special, error);
    if (s == STATUS_OK)
        s = read_optional_bool(out->body, "return_token_strs", &out->return_token_texts, error);
    if (s == STATUS_OK && messages != NULL)
        s = read_chat(limits, out, messages, error);
    else if (s == STATUS_OK && prompt != NULL)
        s = field_read_text(prompt, "prompt", limits->prompt_bytes_max, &out->prompt, error);
    else if (s == STATUS_OK)
        s = field_fail_missing(error, "prompt");
    if (s != STATUS_OK)
        api_tokenize_request_deinit(out);
    return s;
}

void api_tokenize_request_deinit(struct api_tokenize_request *request)
{
    json_decref(request->body);
    *request = (struct api_tokenize_request){0};
}

status api_detokenize_request_parse(struct text_slice body, const struct api_limits *limits,
                                    struct api_detokenize_request *out, struct api_error *error)
{
    *out = (struct api_detokenize_request){0};
    status s = field_load_body(body, limits, &out->body, error);
    if (s != STATUS_OK)
        return s;
    const json_t *tokens = json_object_get(out->body, "tokens");
    s = read_model(out->body, &out->model, error);
    if (s == STATUS_OK && tokens == NULL)
        s = field_fail_missing(error, "tokens");
    if (s == STATUS_OK)
        s = field_check_array(tokens, "tokens", 0, UINT32_MAX, error);
    if (s != STATUS_OK)
        goto fail;
    out->tokens = memory_allocate_array(json_array_size(tokens), sizeof *out->tokens);
    if (out->tokens == NULL) {
        s = STATUS_NO_MEMORY;
        api_error_from_status(error, s, NULL);
        goto fail;
    }
    out->token_count = (uint32_t)json_array_size(tokens);
    s = field_read_tokens(tokens, "tokens", limits->vocabulary, out->tokens, error);
    if (s != STATUS_OK)
        goto fail;
    return STATUS_OK;
fail:
    api_detokenize_request_deinit(out);
    return s;
}

void api_detokenize_request_deinit(struct api_detokenize_request *request)
{
    json_decref(request->body);
    memory_release(request->tokens);
    *request = (struct api_detokenize_request){0};
}
