/* POST /v1/messages and /v1/messages/count_tokens (Anthropic): the body but for its messages, which
 * are in messages_content.c. Oracle: the types of the official Python client, version 2. */

#include "messages_request.h"

#include <string.h>

#include "request_cache.h"

static status read_stop(struct request_parse *parse, const char *name, json_t *value, json_t *chat)
{
    if (!json_is_array(value))
        return field_fail_type(parse->error, name, "an array of strings", value);
    return tree_set(parse, chat, "stop", json_incref(value));
}

static status read_metadata(struct request_parse *parse, const char *name, json_t *value,
                            json_t *chat)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, name, "an object", value);
    const char *user = NULL;
    json_t *id = json_object_get(value, "user_id");
    if (id == NULL || json_is_null(id))
        return STATUS_OK;
    status s = field_read_c_text(id, "metadata.user_id", API_TEXT_BYTES_MAX, &user, parse->error);
    return s == STATUS_OK ? tree_set(parse, chat, "user", json_incref(id)) : s;
}

/* A marker that says "keep what is up to here". */
status messages_read_cache_control(struct request_parse *parse, const char *path,
                                   const json_t *object, json_t **out)
{
    const json_t *control = json_object_get(object, "cache_control");
    struct field_path control_path =
        field_path_of("%s%scache_control", path, path[0] != '\0' ? "." : "");
    *out = NULL;
    if (control == NULL || json_is_null(control))
        return STATUS_OK;
    const char *type = json_string_value(json_object_get(control, "type"));
    if (type == NULL || strcmp(type, "ephemeral") != 0)
        return dialect_fail_type(parse, control_path.text, control, "'ephemeral'");
    const json_t *ttl = json_object_get(control, "ttl");
    const char *text = ttl != NULL ? json_string_value(ttl) : "5m";
    if (text == NULL || (strcmp(text, "5m") != 0 && strcmp(text, "1h") != 0)) {
        struct field_path ttl_path = field_path_of("%s.ttl", control_path.text);
        return field_fail(parse->error, ttl_path.text, "invalid_value",
                          "Invalid '%s': supported values are '5m' and '1h'.", ttl_path.text);
    }
    *out = json_pack("{s:s, s:s}", "mode", "explicit", "ttl", text);
    if (*out != NULL)
        return STATUS_OK;
    api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
    return STATUS_NO_MEMORY;
}

/* The marker of something that is not a part of a message. */
static status mark_place(struct request_parse *parse, const char *path, const json_t *object,
                         enum api_cache_place place)
{
    json_t *breakpoint;
    status s = messages_read_cache_control(parse, path, object, &breakpoint);
    if (s == STATUS_OK && breakpoint != NULL)
        s = request_breakpoint_read(breakpoint, path, (struct api_cache_mark){.place = place},
                                    parse->out, parse->error);
    json_decref(breakpoint);
    return s;
}

static status read_cache_control(struct request_parse *parse, const char *name, json_t *value,
                                 json_t *chat)
{
    (void)name;
    (void)value;
    (void)chat;
    return mark_place(parse, "", parse->out->body, CACHE_PROMPT);
}

/* {"name","description","input_schema"} -> a function. */
static status tool_translate(struct request_parse *parse, const char *path, json_t *tool,
                             json_t *tools)
{
    static const char *const names[][2] = {{"name", "name"},
                                           {"description", "description"},
                                           {"input_schema", "parameters"},
                                           {"strict", "strict"}};
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (!json_is_object(tool))
        return field_fail_type(parse->error, path, "an object", tool);
    if (type != NULL && strcmp(type, "custom") != 0)
        return dialect_fail_type(parse, path, tool, "'custom'; this server runs no tools itself");
    struct field_path schema_path = field_path_of("%s.input_schema", path);
    const json_t *schema = json_object_get(tool, "input_schema");
    if (schema == NULL)
        return field_fail_missing(parse->error, schema_path.text);
    if (!json_is_object(schema))
        return field_fail_type(parse->error, schema_path.text, "an object", schema);
    status s = mark_place(parse, path, tool, CACHE_TOOLS);
    json_t *function = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0] && s == STATUS_OK; i++) {
        json_t *value = json_object_get(tool, names[i][0]);
        if (value != NULL && !json_is_null(value))
            s = tree_set(parse, function, names[i][1], json_incref(value));
    }
    if (s != STATUS_OK) {
        json_decref(function);
        return s;
    }
    return tree_append(parse, tools,
                       json_pack("{s:s, s:o}", "type", "function", "function", function));
}

static status read_tools(struct request_parse *parse, const char *name, json_t *value, json_t *chat)
{
    status s = field_check_array(value, name, 0, API_TOOLS_MAX, parse->error);
    json_t *tools = s == STATUS_OK ? tree_array(parse, chat, "tools") : NULL;
    if (tools == NULL)
        return s == STATUS_OK ? STATUS_NO_MEMORY : s;
    size_t index;
    json_t *tool;
    json_array_foreach(value, index, tool)
    {
        struct field_path path = field_path_of("%s[%zu]", name, index);
        s = tool_translate(parse, path.text, tool, tools);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

static status choose_tool(struct request_parse *parse, const json_t *choice, json_t *chat)
{
    json_t *name = json_object_get(choice, "name");
    if (name == NULL)
        return field_fail_missing(parse->error, "tool_choice.name");
    if (!json_is_string(name))
        return field_fail_type(parse->error, "tool_choice.name", "a string", name);
    return tree_set(parse, chat, "tool_choice",
                    json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", name));
}

static status read_tool_choice(struct request_parse *parse, const char *name, json_t *value,
                               json_t *chat)
{
    static const char *const words[][2] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}};
    const char *type = json_string_value(json_object_get(value, "type"));
    const json_t *is_single = json_object_get(value, "disable_parallel_tool_use");
    status s = STATUS_OK;
    if (type != NULL && strcmp(type, "tool") == 0) {
        s = choose_tool(parse, value, chat);
    } else {
        const char *word = NULL;
        for (size_t i = 0; type != NULL && i < sizeof words / sizeof words[0]; i++)
            word = strcmp(type, words[i][0]) == 0 ? words[i][1] : word;
        if (word == NULL)
            return dialect_fail_type(parse, name, value, "'auto', 'any', 'tool' and 'none'");
        s = tree_set(parse, chat, "tool_choice", json_string(word));
    }
    if (s != STATUS_OK || is_single == NULL || json_is_null(is_single))
        return s;
    if (!json_is_boolean(is_single))
        return field_fail_type(parse->error, "tool_choice.disable_parallel_tool_use", "a boolean",
                               is_single);
    return tree_set(parse, chat, "parallel_tool_calls", json_boolean(!json_is_true(is_single)));
}

/* Thinking is off unless it is asked for; templates that know no such switch are not touched. */
static status set_thinking(struct request_parse *parse, json_t *chat, bool is_on)
{
    json_t *variables = json_object_get(chat, "chat_template_kwargs");
    if (variables == NULL)
        return tree_set(parse, chat, "chat_template_kwargs",
                        json_pack("{s:b}", "enable_thinking", is_on));
    if (!json_is_object(variables) || json_object_get(variables, "enable_thinking") != NULL)
        return STATUS_OK;
    return tree_set(parse, variables, "enable_thinking", json_boolean(is_on));
}

static status translate_thinking(struct request_parse *parse, const json_t *thinking, json_t *chat)
{
    static const char known[] = "'enabled', 'adaptive', 'between_tools' and 'disabled'";
    const char *type = json_string_value(json_object_get(thinking, "type"));
    if (type == NULL)
        return dialect_fail_type(parse, "thinking", thinking, known);
    if (strcmp(type, "disabled") == 0)
        return set_thinking(parse, chat, false);
    if (strcmp(type, "adaptive") == 0 || strcmp(type, "between_tools") == 0)
        return set_thinking(parse, chat, true);
    if (strcmp(type, "enabled") != 0)
        return dialect_fail_type(parse, "thinking", thinking, known);
    json_t *budget = json_object_get(thinking, "budget_tokens");
    int64_t tokens = 0;
    if (budget == NULL)
        return field_fail_missing(parse->error, "thinking.budget_tokens");
    status s =
        field_read_integer(budget, "thinking.budget_tokens", 1, INT32_MAX, &tokens, parse->error);
    if (s == STATUS_OK)
        s = tree_set(parse, chat, "thinking_token_budget", json_incref(budget));
    return s == STATUS_OK ? set_thinking(parse, chat, true) : s;
}

static status read_output_config(struct request_parse *parse, const char *name, json_t *value,
                                 json_t *chat)
{
    json_t *format = json_object_get(value, "format");
    json_t *effort = json_object_get(value, "effort");
    if (!json_is_object(value))
        return field_fail_type(parse->error, name, "an object", value);
    if (effort != NULL && !json_is_null(effort)) {
        status s = tree_set(parse, chat, "reasoning_effort", json_incref(effort));
        if (s != STATUS_OK)
            return s;
    }
    if (format == NULL || json_is_null(format))
        return STATUS_OK;
    const char *type = json_string_value(json_object_get(format, "type"));
    if (type == NULL || strcmp(type, "json_schema") != 0)
        return dialect_fail_type(parse, "output_config.format", format, "'json_schema'");
    json_t *schema = json_object_get(format, "schema");
    if (schema == NULL)
        return field_fail_missing(parse->error, "output_config.format.schema");
    return tree_set(parse, chat, "response_format",
                    json_pack("{s:s, s:{s:s, s:b, s:O}}", "type", "json_schema", "json_schema",
                              "name", "output", "strict", 1, "schema", schema));
}

/* "standard_only" gives up a priority that nobody has bought here. */
static status read_service_tier(struct request_parse *parse, const char *name, json_t *value,
                                json_t *chat)
{
    const char *tier = json_string_value(value);
    (void)chat;
    if (tier != NULL && (strcmp(tier, "auto") == 0 || strcmp(tier, "standard_only") == 0))
        return STATUS_OK;
    return field_fail(parse->error, name, "invalid_value",
                      "Invalid '%s': supported values are 'auto' and 'standard_only'.", name);
}

static status read_refused(struct request_parse *parse, const char *name, json_t *value,
                           json_t *chat)
{
    (void)chat;
    if (json_is_array(value) && json_array_size(value) == 0)
        return STATUS_OK;
    return field_fail_unsupported(parse->error, name,
                                  "This server runs no tools itself and keeps no containers.");
}

/* The system's text goes before the messages, wherever it stands in the body. */
static status finish(struct request_parse *parse, json_t *body, json_t *chat)
{
    json_t *system = json_object_get(body, "system");
    json_t *messages = json_object_get(body, "messages");
    json_t *thinking = json_object_get(body, "thinking");
    status s = STATUS_OK;
    if (system != NULL && !json_is_null(system))
        s = messages_read_system(parse, "system", system, chat);
    if (s != STATUS_OK)
        return s;
    if (messages == NULL || json_is_null(messages))
        return field_fail_missing(parse->error, "messages");
    s = messages_read_messages(parse, "messages", messages, chat);
    if (s != STATUS_OK)
        return s;
    return thinking == NULL || json_is_null(thinking) ? set_thinking(parse, chat, false)
                                                      : translate_thinking(parse, thinking, chat);
}

static status finish_create(struct request_parse *parse, json_t *body, json_t *chat)
{
    const json_t *max_tokens = json_object_get(body, "max_tokens");
    if (max_tokens == NULL || json_is_null(max_tokens))
        return field_fail_missing(parse->error, "max_tokens");
    return finish(parse, body, chat);
}

// clang-format off
static const struct dialect_field fields[] = {
    {"system", dialect_read_later},
    {"messages", dialect_read_later},
    {"thinking", dialect_read_later},
    {"stop_sequences", read_stop},
    {"metadata", read_metadata},
    {"cache_control", read_cache_control},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"output_config", read_output_config},
    {"mcp_servers", read_refused},
    {"container", read_refused},
    {"diagnostics", dialect_read_ignored},
    {"inference_geo", dialect_read_ignored},
    {"service_tier", read_service_tier},
    {"speed", dialect_read_ignored},
    {"context_management", dialect_read_ignored},
    {"user_profile_id", dialect_read_ignored},
    {"workspace_id", dialect_read_ignored},
    {NULL, NULL}};
static const struct request_alias aliases[] = {
    {"stop", "stop_sequences"},
    {"user", "metadata.user_id"},
    {"thinking_token_budget", "thinking"},
    {"reasoning_effort", "output_config.effort"},
    {"response_format", "output_config.format"},
    {"parallel_tool_calls", "tool_choice.disable_parallel_tool_use"},
    {NULL, NULL}};
// clang-format on

status messages_parse(const struct wire_request *source, struct api_completion_request *out,
                      struct api_error *error)
{
    static const struct dialect dialect = {fields, aliases, NULL, finish_create};
    return dialect_parse(source, &dialect, out, error);
}

status messages_parse_count(const struct wire_request *source, struct api_completion_request *out,
                            struct api_error *error)
{
    static const struct dialect dialect = {fields, aliases, NULL, finish};
    return dialect_parse(source, &dialect, out, error);
}
