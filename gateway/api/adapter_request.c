/* Bodies of /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them. */

#include <ctype.h>
#include <string.h>

#include "request_parse.h"

/* Names go into labels and lists; the config's names are of the same kind. */
static status read_name(const json_t *body, const char **out, struct api_error *error)
{
    const json_t *value = json_object_get(body, "lora_name");
    if (value == NULL)
        return field_fail_missing(error, "lora_name");
    status s = field_read_c_text(value, "lora_name", API_ADAPTER_NAME_BYTES_MAX, out, error);
    if (s != STATUS_OK)
        return s;
    const char *at = *out;
    while (isalnum((unsigned char)*at) || (*at != '\0' && strchr("._:/@+-", *at) != NULL))
        at++;
    if (at > *out && *at == '\0')
        return STATUS_OK;
    return field_fail(error, "lora_name", "invalid_value",
                      "Invalid 'lora_name': it has 1 to %u letters, digits or . _ : / @ + -.",
                      API_ADAPTER_NAME_BYTES_MAX);
}

status api_adapter_request_parse(struct text_slice body, const struct api_limits *limits,
                                 bool has_path, struct api_adapter_request *out,
                                 struct api_error *error)
{
    *out = (struct api_adapter_request){0};
    status s = field_load_body(body, limits, &out->body, error);
    if (s != STATUS_OK)
        return s;
    const json_t *path = json_object_get(out->body, "lora_path");
    const json_t *model = json_object_get(out->body, "model");
    s = read_name(out->body, &out->name, error);
    if (s == STATUS_OK && has_path && path == NULL)
        s = field_fail_missing(error, "lora_path");
    if (s == STATUS_OK && has_path)
        s = field_read_c_text(path, "lora_path", API_TEXT_BYTES_MAX, &out->path, error);
    if (s == STATUS_OK && has_path && strpbrk(out->path, "\r\n") != NULL)
        s = field_fail(error, "lora_path", "invalid_value",
                       "Invalid 'lora_path': it has a line break.");
    if (s == STATUS_OK && model != NULL && !json_is_null(model))
        s = field_read_c_text(model, "model", API_TEXT_BYTES_MAX, &out->model, error);
    if (s != STATUS_OK)
        api_adapter_request_deinit(out);
    return s;
}

void api_adapter_request_deinit(struct api_adapter_request *request)
{
    json_decref(request->body);
    *request = (struct api_adapter_request){0};
}
