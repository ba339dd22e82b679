/* POST /v1/responses: the body but for its items, which are in responses_items.c. Oracle: the types
 * of the official Python client, version 3. */

#include "responses_request.h"

#include <string.h>

#include "responses.h"

static status read_background(struct request_parse *parse, const char *name, json_t *value,
                              json_t *chat)
{
    bool is_on = false;
    (void)chat;
    status s = field_read_bool(value, name, &is_on, parse->error);
    if (s != STATUS_OK || !is_on)
        return s;
    return field_fail_unsupported(parse->error, name,
                                  "This server answers while the client waits; use 'stream'.");
}

static status read_conversation(struct request_parse *parse, const char *name, json_t *value,
                                json_t *chat)
{
    (void)value;
    (void)chat;
    return field_fail_unsupported(parse->error, name,
                                  "This server keeps no conversations; continue an answer with "
                                  "'previous_response_id', or send the items.");
}

static status read_prompt(struct request_parse *parse, const char *name, json_t *value,
                          json_t *chat)
{
    (void)value;
    (void)chat;
    return field_fail_unsupported(parse->error, name, "This server keeps no prompt templates.");
}

static status read_store(struct request_parse *parse, const char *name, json_t *value, json_t *chat)
{
    (void)chat;
    return field_read_bool(value, name, &parse->out->responses->is_stored, parse->error);
}

static status read_max_output(struct request_parse *parse, const char *name, json_t *value,
                              json_t *chat)
{
    (void)name;
    return tree_set(parse, chat, "max_completion_tokens", json_incref(value));
}

static status read_truncation(struct request_parse *parse, const char *name, json_t *value,
                              json_t *chat)
{
    const char *word = json_string_value(value);
    (void)chat;
    if (word != NULL && strcmp(word, "disabled") == 0)
        return STATUS_OK;
    if (word != NULL && strcmp(word, "auto") == 0)
        return request_field_ignored(parse, name, "unsupported_parameter");
    return field_fail(parse->error, name, "invalid_value",
                      "Invalid '%s': supported values are 'auto' and 'disabled'.", name);
}

static status read_reasoning(struct request_parse *parse, const char *name, json_t *value,
                             json_t *chat)
{
    static const char *const unsupported[] = {"summary", "generate_summary", "context", "mode"};
    json_t *effort = json_object_get(value, "effort");
    if (!json_is_object(value))
        return field_fail_type(parse->error, name, "an object", value);
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        const json_t *member = json_object_get(value, unsupported[i]);
        struct field_path path = field_path_of("%s.%s", name, unsupported[i]);
        if (member == NULL || json_is_null(member))
            continue;
        status s = request_field_ignored(parse, path.text, "unsupported_parameter");
        if (s != STATUS_OK)
            return s;
    }
    if (effort == NULL || json_is_null(effort))
        return STATUS_OK;
    return tree_set(parse, chat, "reasoning_effort", json_incref(effort));
}

/* text.format: its json_schema is flat, chat's is not. */
static status format_translate(struct request_parse *parse, const json_t *format, json_t *chat)
{
    static const char *const names[] = {"name", "schema", "strict", "description"};
    const char *type = json_string_value(json_object_get(format, "type"));
    if (type == NULL || (strcmp(type, "text") != 0 && strcmp(type, "json_object") != 0 &&
                         strcmp(type, "json_schema") != 0))
        return dialect_fail_type(parse, "text.format", format,
                                 "'text', 'json_object' and 'json_schema'");
    json_t *chat_format = json_pack("{s:s}", "type", type);
    status s = tree_set(parse, chat, "response_format", chat_format);
    if (s != STATUS_OK || strcmp(type, "json_schema") != 0)
        return s;
    json_t *schema = json_object();
    s = tree_set(parse, chat_format, "json_schema", schema);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && s == STATUS_OK; i++) {
        json_t *value = json_object_get(format, names[i]);
        if (value != NULL && !json_is_null(value))
            s = tree_set(parse, schema, names[i], json_incref(value));
    }
    return s;
}

static status read_text(struct request_parse *parse, const char *name, json_t *value, json_t *chat)
{
    json_t *format = json_object_get(value, "format");
    json_t *verbosity = json_object_get(value, "verbosity");
    status s = STATUS_OK;
    if (!json_is_object(value))
        return field_fail_type(parse->error, name, "an object", value);
    if (verbosity != NULL && !json_is_null(verbosity))
        s = tree_set(parse, chat, "verbosity", json_incref(verbosity));
    if (s == STATUS_OK && format != NULL && !json_is_null(format))
        s = format_translate(parse, format, chat);
    return s;
}

/* {"type":"function","name",...} -> {"type":"function","function":{"name",...}}; for tools, and for
 * choices among them. */
static status function_wrap(struct request_parse *parse, const char *path, const json_t *tool,
                            json_t **out)
{
    static const char *const names[] = {"name", "description", "parameters", "strict"};
    const char *type = json_string_value(json_object_get(tool, "type"));
    struct field_path name_path = field_path_of("%s.name", path);
    if (type == NULL || strcmp(type, "function") != 0)
        return dialect_fail_type(parse, path, tool, "'function'; this server runs no tools itself");
    if (json_object_get(tool, "name") == NULL)
        return field_fail_missing(parse->error, name_path.text);
    json_t *function = json_object();
    status s = function != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && s == STATUS_OK; i++) {
        json_t *value = json_object_get(tool, names[i]);
        if (value != NULL && !json_is_null(value))
            s = tree_set(parse, function, names[i], json_incref(value));
    }
    if (s != STATUS_OK) {
        json_decref(function);
        return s;
    }
    *out = json_pack("{s:s, s:o}", "type", "function", "function", function);
    return STATUS_OK;
}

static status functions_wrap(struct request_parse *parse, const char *path, const json_t *tools,
                             json_t *out)
{
    status s = field_check_array(tools, path, 0, API_TOOLS_MAX, parse->error);
    size_t index;
    json_t *tool;
    json_array_foreach(tools, index, tool)
    {
        struct field_path tool_path = field_path_of("%s[%zu]", path, index);
        json_t *wrapped = NULL;
        if (s == STATUS_OK)
            s = function_wrap(parse, tool_path.text, tool, &wrapped);
        if (s == STATUS_OK)
            s = tree_append(parse, out, wrapped);
    }
    return s;
}

static status read_tools(struct request_parse *parse, const char *name, json_t *value, json_t *chat)
{
    json_t *tools = tree_array(parse, chat, "tools");
    return tools != NULL ? functions_wrap(parse, name, value, tools) : STATUS_NO_MEMORY;
}

static status choose_among(struct request_parse *parse, const json_t *choice, json_t *chat)
{
    json_t *allowed = json_object();
    json_t *mode = json_object_get(choice, "mode");
    status s = tree_set(parse, chat, "tool_choice",
                        json_pack("{s:s, s:o}", "type", "allowed_tools", "allowed_tools", allowed));
    if (s == STATUS_OK && mode != NULL)
        s = tree_set(parse, allowed, "mode", json_incref(mode));
    json_t *tools = s == STATUS_OK ? tree_array(parse, allowed, "tools") : NULL;
    if (tools == NULL)
        return STATUS_NO_MEMORY;
    return functions_wrap(parse, "tool_choice.tools", json_object_get(choice, "tools"), tools);
}

static status read_tool_choice(struct request_parse *parse, const char *name, json_t *value,
                               json_t *chat)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    json_t *wrapped = NULL;
    if (json_is_string(value))
        return tree_set(parse, chat, name, json_incref(value));
    if (type != NULL && strcmp(type, "allowed_tools") == 0) {
        if (!json_is_array(json_object_get(value, "tools")))
            return field_fail_missing(parse->error, "tool_choice.tools");
        return choose_among(parse, value, chat);
    }
    status s = function_wrap(parse, name, value, &wrapped);
    return s == STATUS_OK ? tree_set(parse, chat, name, wrapped) : s;
}

/* What would be included is of tools that are not here, but for log probabilities. */
static status read_include(struct request_parse *parse, const char *name, json_t *value,
                           json_t *chat)
{
    status s = field_check_array(value, name, 0, 64, parse->error);
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        struct field_path path = field_path_of("%s[%zu]", name, index);
        const char *word = json_string_value(item);
        if (s == STATUS_OK && word == NULL)
            s = field_fail_type(parse->error, path.text, "a string", item);
        else if (s == STATUS_OK && strcmp(word, "message.output_text.logprobs") == 0)
            s = tree_set(parse, chat, "logprobs", json_true());
        else if (s == STATUS_OK && strcmp(word, "reasoning.encrypted_content") == 0)
            s = request_field_ignored(parse, "include.reasoning.encrypted_content",
                                      "unsupported_parameter");
    }
    return s;
}

static status read_top_logprobs(struct request_parse *parse, const char *name, json_t *value,
                                json_t *chat)
{
    if (json_is_integer(value) && json_integer_value(value) == 0)
        return STATUS_OK;
    status s = tree_set(parse, chat, "logprobs", json_true());
    return s == STATUS_OK ? tree_set(parse, chat, name, json_incref(value)) : s;
}

/* include_obfuscation pads events against observers of their sizes; nothing is padded here. */
static status read_stream_options(struct request_parse *parse, const char *name, json_t *value,
                                  json_t *chat)
{
    (void)chat;
    if (!json_is_object(value))
        return field_fail_type(parse->error, name, "an object", value);
    if (json_is_true(json_object_get(value, "include_obfuscation")))
        return request_field_ignored(parse, "stream_options.include_obfuscation",
                                     "unsupported_parameter");
    return STATUS_OK;
}

// clang-format off
static const struct dialect_field fields[] = {
    {"input", dialect_read_later},
    {"instructions", dialect_read_later},
    {"previous_response_id", dialect_read_later},
    {"background", read_background},
    {"conversation", read_conversation},
    {"prompt", read_prompt},
    {"store", read_store},
    {"max_output_tokens", read_max_output},
    {"truncation", read_truncation},
    {"reasoning", read_reasoning},
    {"text", read_text},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"include", read_include},
    {"top_logprobs", read_top_logprobs},
    {"stream_options", read_stream_options},
    {"max_tool_calls", dialect_read_ignored},
    {"context_management", dialect_read_ignored},
    {"access_programs", dialect_read_ignored},
    {"image", dialect_read_ignored},
    {"messages", dialect_read_unknown},
    {"response_format", dialect_read_unknown},
    {NULL, NULL}};
static const struct request_alias aliases[] = {
    {"max_completion_tokens", "max_output_tokens"},
    {"reasoning_effort", "reasoning.effort"},
    {"response_format", "text.format"},
    {"verbosity", "text.verbosity"},
    {"messages", "input"},
    {NULL, NULL}};

/* What a response says again of its request, with what holds where nothing was said. */
static const struct {
    const char *name, *otherwise;
} echoes[] = {
    {"background", "false"},
    {"instructions", "null"},
    {"max_output_tokens", "null"},
    {"max_tool_calls", "null"},
    {"metadata", "{}"},
    {"parallel_tool_calls", "true"},
    {"previous_response_id", "null"},
    {"prompt_cache_key", "null"},
    {"reasoning", "{\"effort\":null,\"summary\":null}"},
    {"safety_identifier", "null"},
    {"store", "true"},
    {"temperature", "1.0"},
    {"text", "{\"format\":{\"type\":\"text\"}}"},
    {"tool_choice", "\"auto\""},
    {"tools", "[]"},
    {"top_logprobs", "0"},
    {"top_p", "1.0"},
    {"truncation", "\"disabled\""},
    {"user", "null"},
};
// clang-format on

static void echo_write(const json_t *body, struct buffer *out)
{
    for (size_t i = 0; i < sizeof echoes / sizeof echoes[0]; i++) {
        const json_t *value = json_object_get(body, echoes[i].name);
        buffer_append_byte(out, ',');
        json_write_text(out, echoes[i].name);
        buffer_append_byte(out, ':');
        if (value != NULL && !json_is_null(value))
            json_write_value(out, value);
        else
            buffer_append_text(out, echoes[i].otherwise);
    }
}

/* text without a format means text. */
static status text_complete(struct request_parse *parse, json_t *body)
{
    json_t *text = json_object_get(body, "text");
    if (!json_is_object(text) || json_is_object(json_object_get(text, "format")))
        return STATUS_OK;
    return tree_set(parse, text, "format", json_pack("{s:s}", "type", "text"));
}

static status read_instructions(struct request_parse *parse, const json_t *body, json_t *chat)
{
    json_t *text = json_object_get(body, "instructions");
    if (text == NULL || json_is_null(text))
        return STATUS_OK;
    if (!json_is_string(text))
        return field_fail_type(parse->error, "instructions", "a string", text);
    json_t *messages = tree_array(parse, chat, "messages");
    if (messages == NULL)
        return STATUS_NO_MEMORY;
    return tree_append(parse, messages, json_pack("{s:s, s:O}", "role", "system", "content", text));
}

/* The items of what is continued come first, and are kept as they are. */
static status read_previous(struct request_parse *parse, const json_t *body, json_t *chat)
{
    const json_t *id = json_object_get(body, "previous_response_id");
    struct buffer *context = &parse->out->responses->context;
    const struct api_history *history = parse->history;
    if (id == NULL || json_is_null(id))
        return STATUS_OK;
    if (!json_is_string(id))
        return field_fail_type(parse->error, "previous_response_id", "a string", id);
    struct text_slice name = {json_string_value(id), json_string_length(id)};
    status s = history != NULL ? history->find(history->context, name, context) : STATUS_NOT_FOUND;
    if (s == STATUS_NOT_FOUND) {
        api_error_set(parse->error, 404, "invalid_request_error", "previous_response_not_found",
                      "previous_response_id",
                      "Previous response with id '%.64s' not found: it was not stored, or is not "
                      "any more.",
                      name.data);
        return STATUS_INVALID;
    }
    struct buffer text;
    json_t *items = NULL;
    buffer_init(&text, SIZE_MAX / 2);
    buffer_append_byte(&text, '[');
    buffer_append_slice(&text, buffer_slice(context));
    buffer_append_byte(&text, ']');
    struct json_limits limits = {parse->limits->json_depth_max, UINT32_MAX};
    struct error_note note = {""};
    if (s == STATUS_OK)
        s = text.failed != STATUS_OK
                ? text.failed
                : json_load_limited(buffer_slice(&text), &limits, &items, &note);
    buffer_deinit(&text);
    if (s != STATUS_OK) {
        api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
        return s;
    }
    json_t *listed = json_array(); /* they are kept already */
    s = responses_read_items(parse, "previous_response_id", items, chat, listed);
    json_decref(listed);
    json_decref(items);
    return s;
}

static status read_input(struct request_parse *parse, const json_t *body, json_t *chat)
{
    json_t *input = json_object_get(body, "input");
    json_t *items = NULL;
    if (input == NULL || json_is_null(input))
        return field_fail_missing(parse->error, "input");
    if (json_is_string(input))
        items = json_pack("[o]",
                          responses_text_item(json_string_value(input), json_string_length(input)));
    else if (json_is_array(input))
        items = json_incref(input);
    else
        return field_fail_type(parse->error, "input", "a string or an array of items", input);
    json_t *listed = json_array();
    status s = field_check_array(items, "input", 1, parse->limits->messages_max, parse->error);
    if (s == STATUS_OK)
        s = responses_read_items(parse, "input", items, chat, listed);
    size_t index;
    json_t *item;
    json_array_foreach(listed, index, item)
    {
        if (index > 0)
            buffer_append_byte(&parse->out->responses->input, ',');
        json_write_value(&parse->out->responses->input, item);
    }
    json_decref(listed);
    json_decref(items);
    return s;
}

static status finish(struct request_parse *parse, json_t *body, json_t *chat)
{
    struct api_responses *responses = parse->out->responses;
    status s = read_instructions(parse, body, chat);
    if (s == STATUS_OK)
        s = read_previous(parse, body, chat);
    if (s == STATUS_OK)
        s = read_input(parse, body, chat);
    if (s == STATUS_OK)
        s = text_complete(parse, body);
    if (s != STATUS_OK)
        return s;
    echo_write(body, &responses->echo);
    if (responses->echo.failed != STATUS_OK || responses->input.failed != STATUS_OK) {
        api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* What is kept beside the request; `finish` fills it. */
static status begin(struct request_parse *parse)
{
    struct api_responses *responses = api_responses_create();
    if (responses == NULL) {
        api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
        return STATUS_NO_MEMORY;
    }
    parse->out->responses = responses;
    return STATUS_OK;
}

status responses_parse(const struct wire_request *source, struct api_completion_request *out,
                       struct api_error *error)
{
    static const struct dialect dialect = {fields, aliases, begin, finish};
    return dialect_parse(source, &dialect, out, error);
}
