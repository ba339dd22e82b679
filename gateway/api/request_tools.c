/* Tools and reasoning: which functions an answer may call, which it must, and how much thinking goes before. */

#include "request_parse.h"

#include <string.h>

#include "check.h"

#define FUNCTION_NAME_BYTES_MAX 64u /* OpenAI's limit */

static status fail_no_memory(struct request_parse *parse)
{
    api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
    return STATUS_NO_MEMORY;
}

/* Keeps a tree that was made beside the body; takes over the reference. NULL: no memory. */
static json_t *keep(struct request_parse *parse, json_t *made)
{
    struct api_completion_request *out = parse->out;
    if (out->made == NULL)
        out->made = json_array();
    return json_array_append_new(out->made, made) == 0 ? made : NULL;
}

/* --- the functions --- */

static bool is_function_name(const char *name)
{
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes <= FUNCTION_NAME_BYTES_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
               bytes;
}

static status parameters_check(const json_t *parameters, const char *path, const char *name,
                               struct api_error *error)
{
    const json_t *type = json_object_get(parameters, "type");
    if (parameters == NULL || json_is_null(parameters))
        return STATUS_OK;
    if (!json_is_object(parameters))
        return field_fail_type(error, path, "an object", parameters);
    if (type == NULL || (json_is_string(type) && strcmp(json_string_value(type), "object") == 0))
        return STATUS_OK;
    return field_fail(error, path, "invalid_function_parameters",
                      "Invalid schema for function '%.64s': schema must be a JSON Schema of "
                      "'type: \"object\"'.",
                      name);
}

/* {"name", "description", "parameters", "strict"} */
static status function_check(const json_t *function, const char *path, struct api_error *error)
{
    if (!json_is_object(function))
        return field_fail_type(error, path, "an object", function);
    struct field_path name_path = field_path_of("%s.name", path);
    const json_t *name = json_object_get(function, "name");
    if (name == NULL)
        return field_fail_missing(error, name_path.text);
    if (!json_is_string(name))
        return field_fail_type(error, name_path.text, "a string", name);
    if (!is_function_name(json_string_value(name)))
        return field_fail(error, name_path.text, "invalid_value",
                          "Invalid '%s': expected 1 to 64 letters, digits, '_' and '-'.",
                          name_path.text);
    const json_t *description = json_object_get(function, "description");
    struct field_path description_path = field_path_of("%s.description", path);
    if (description != NULL && !json_is_null(description) && !json_is_string(description))
        return field_fail_type(error, description_path.text, "a string", description);
    const json_t *strict = json_object_get(function, "strict");
    struct field_path strict_path = field_path_of("%s.strict", path);
    if (strict != NULL && !json_is_null(strict) && !json_is_boolean(strict))
        return field_fail_type(error, strict_path.text, "a boolean", strict);
    struct field_path parameters_path = field_path_of("%s.parameters", path);
    return parameters_check(json_object_get(function, "parameters"), parameters_path.text,
                            json_string_value(name), error);
}

static status tool_check(const json_t *tool, const char *path, struct api_error *error)
{
    if (!json_is_object(tool))
        return field_fail_type(error, path, "an object", tool);
    struct field_path type_path = field_path_of("%s.type", path);
    struct field_path function_path = field_path_of("%s.function", path);
    const json_t *type = json_object_get(tool, "type");
    const json_t *function = json_object_get(tool, "function");
    if (type == NULL)
        return field_fail_missing(error, type_path.text);
    if (!json_is_string(type))
        return field_fail_type(error, type_path.text, "a string", type);
    if (strcmp(json_string_value(type), "custom") == 0)
        return field_fail_unsupported(error, type_path.text,
                                      "Tools of type 'custom' take free text; this server's take "
                                      "JSON: use 'function'.");
    if (strcmp(json_string_value(type), "function") != 0)
        return field_fail(error, type_path.text, "invalid_value",
                          "Invalid value: '%.64s'. Supported values are: 'function'.",
                          json_string_value(type));
    if (function == NULL)
        return field_fail_missing(error, function_path.text);
    return function_check(function, function_path.text, error);
}

static const char *tool_name(const json_t *tool)
{
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static const json_t *tool_find(const json_t *tools, const char *name, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tool_name(json_array_get(tools, i)), name) == 0)
            return json_array_get(tools, i);
    }
    return NULL;
}

status tools_check(const json_t *tools, struct api_error *error)
{
    status s = field_check_array(tools, "tools", 0, API_TOOLS_MAX, error);
    size_t index;
    json_t *tool;
    json_array_foreach(tools, index, tool)
    {
        struct field_path path = field_path_of("tools[%zu]", index);
        if (s == STATUS_OK)
            s = tool_check(tool, path.text, error);
        if (s == STATUS_OK && tool_find(tools, tool_name(tool), index) != NULL)
            s = field_fail(error, path.text, "invalid_value",
                           "Invalid '%s': there are two functions named '%s'.", path.text,
                           tool_name(tool));
    }
    return s;
}

status request_read_tools(struct request_parse *parse, const struct request_field *field,
                          json_t *value)
{
    (void)field;
    status s = tools_check(value, parse->error);
    if (s == STATUS_OK && json_array_size(value) > 0)
        parse->out->tools = value;
    return s;
}

/* The deprecated list: functions without a type around them. */
status request_read_functions(struct request_parse *parse, const struct request_field *field,
                              json_t *value)
{
    status s = field_check_array(value, field->name, 0, API_TOOLS_MAX, parse->error);
    size_t index;
    json_t *function;
    json_array_foreach(value, index, function)
    {
        struct field_path path = field_path_of("%s[%zu]", field->name, index);
        if (s == STATUS_OK)
            s = function_check(function, path.text, parse->error);
    }
    if (s == STATUS_OK && json_array_size(value) > 0)
        parse->functions = value;
    return s;
}

status request_read_parallel_calls(struct request_parse *parse, const struct request_field *field,
                                   json_t *value)
{
    bool is_parallel = true;
    status s = field_read_bool(value, field->name, &is_parallel, parse->error);
    parse->out->is_single_call = s == STATUS_OK && !is_parallel;
    return s;
}

/* --- the choice --- */

static status choice_check(struct request_parse *parse, const struct request_field *field,
                           const json_t *value)
{
    if (!json_is_string(value) && !json_is_object(value))
        return field_fail_type(parse->error, field->name, "a string or an object", value);
    return STATUS_OK;
}

status request_read_tool_choice(struct request_parse *parse, const struct request_field *field,
                                json_t *value)
{
    parse->tool_choice = value;
    parse->tool_choice_name = field->name;
    return choice_check(parse, field, value);
}

status request_read_function_call(struct request_parse *parse, const struct request_field *field,
                                  json_t *value)
{
    parse->function_call = value;
    return choice_check(parse, field, value);
}

/* The tool that {"type": "function", "function": {"name"}} names; NULL: the error is set. */
static const json_t *choice_find(struct request_parse *parse, const json_t *choice,
                                 const char *path)
{
    const json_t *tools = parse->out->tools;
    struct field_path name_path = field_path_of("%s.function.name", path);
    const json_t *name = json_object_get(json_object_get(choice, "function"), "name");
    const json_t *found = NULL;
    if (name == NULL)
        (void)field_fail_missing(parse->error, name_path.text);
    else if (!json_is_string(name))
        (void)field_fail_type(parse->error, name_path.text, "a string", name);
    else
        found = tool_find(tools, json_string_value(name), json_array_size(tools));
    if (found == NULL && json_is_string(name))
        (void)field_fail(parse->error, name_path.text, "invalid_value",
                         "Invalid value for '%s': the function '%.64s' is not in 'tools'.", path,
                         json_string_value(name));
    return found;
}

static status choose_one(struct request_parse *parse, const json_t *choice)
{
    struct api_completion_request *out = parse->out;
    const json_t *tool = choice_find(parse, choice, parse->tool_choice_name);
    if (tool == NULL)
        return STATUS_INVALID;
    out->is_call_required = out->is_single_call = true;
    out->callable_tools = keep(parse, json_pack("[O]", tool));
    return out->callable_tools != NULL ? STATUS_OK : fail_no_memory(parse);
}

/* The model sees all tools, so that its prompt stays as it was, and may call some. */
static status choose_among(struct request_parse *parse, const json_t *choice)
{
    struct api_completion_request *out = parse->out;
    const json_t *allowed = json_object_get(choice, "allowed_tools");
    const json_t *tools = json_object_get(allowed, "tools");
    const char *mode = json_string_value(json_object_get(allowed, "mode"));
    struct field_path mode_path = field_path_of("%s.allowed_tools.mode", parse->tool_choice_name);
    struct field_path path = field_path_of("%s.allowed_tools.tools", parse->tool_choice_name);
    if (mode == NULL || (strcmp(mode, "auto") != 0 && strcmp(mode, "required") != 0))
        return field_fail(parse->error, mode_path.text, "invalid_value",
                          "Invalid '%s': supported values are 'auto' and 'required'.",
                          mode_path.text);
    if (tools == NULL)
        return field_fail_missing(parse->error, path.text);
    status s = field_check_array(tools, path.text, 1, API_TOOLS_MAX, parse->error);
    json_t *list = keep(parse, json_array());
    if (s != STATUS_OK || list == NULL)
        return s != STATUS_OK ? s : fail_no_memory(parse);
    size_t index;
    json_t *item;
    json_array_foreach(tools, index, item)
    {
        struct field_path item_path = field_path_of("%s[%zu]", path.text, index);
        const json_t *tool = choice_find(parse, item, item_path.text);
        if (tool == NULL)
            return STATUS_INVALID;
        if (tool_find(list, tool_name(tool), json_array_size(list)) == NULL &&
            json_array_append(list, (json_t *)tool) != 0)
            return fail_no_memory(parse);
    }
    out->callable_tools = list;
    out->is_call_required = strcmp(mode, "required") == 0;
    return STATUS_OK;
}

static status choose_by_word(struct request_parse *parse, const char *word)
{
    struct api_completion_request *out = parse->out;
    if (strcmp(word, "auto") == 0)
        return STATUS_OK;
    if (strcmp(word, "required") == 0) {
        out->is_call_required = true;
        return STATUS_OK;
    }
    if (strcmp(word, "none") == 0) {
        out->tools = out->callable_tools = NULL;
        return STATUS_OK;
    }
    return field_fail(parse->error, parse->tool_choice_name, "invalid_value",
                      "Invalid value: '%.64s'. Supported values are: 'none', 'auto' and "
                      "'required'.",
                      word);
}

static status choose(struct request_parse *parse, const json_t *choice)
{
    const char *name = parse->tool_choice_name;
    struct field_path type_path = field_path_of("%s.type", name);
    const char *type = json_string_value(json_object_get(choice, "type"));
    if (json_is_string(choice))
        return choose_by_word(parse, json_string_value(choice));
    if (type != NULL && strcmp(type, "function") == 0)
        return choose_one(parse, choice);
    if (type != NULL && strcmp(type, "allowed_tools") == 0)
        return choose_among(parse, choice);
    return field_fail(parse->error, type_path.text, "invalid_value",
                      "Invalid '%s': supported values are 'function' and 'allowed_tools'.",
                      type_path.text);
}

/* functions and function_call -> tools and a choice. Their answers have one call. */
static status functions_translate(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    const json_t *call = parse->function_call;
    const char *word = json_string_value(call);
    if (out->tools != NULL || parse->tool_choice != NULL)
        return field_fail(parse->error, "functions", "invalid_value",
                          "'functions' and 'function_call' are the old names of 'tools' and "
                          "'tool_choice'; only one pair is allowed.");
    json_t *tools = keep(parse, json_array());
    size_t index;
    json_t *function;
    json_array_foreach(parse->functions, index, function)
    {
        json_t *tool = json_pack("{s:s, s:O}", "type", "function", "function", function);
        if (tools == NULL || json_array_append_new(tools, tool) != 0)
            return fail_no_memory(parse);
    }
    status s = tools_check(tools, parse->error);
    if (s != STATUS_OK)
        return s;
    out->tools = tools;
    out->has_functions = out->is_single_call = true;
    parse->tool_choice_name = "function_call";
    if (word != NULL && strcmp(word, "auto") != 0 && strcmp(word, "none") != 0)
        return field_fail(parse->error, "function_call", "invalid_value",
                          "Invalid value: '%.64s'. Supported values are: 'none' and 'auto'.", word);
    parse->tool_choice =
        word != NULL || call == NULL
            ? call
            : keep(parse, json_pack("{s:s, s:O}", "type", "function", "function", call));
    return call == NULL || parse->tool_choice != NULL ? STATUS_OK : fail_no_memory(parse);
}

/* The model is shown tools, but what it calls is not told from text. */
static status settle_without_calls(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    if (out->is_call_required)
        return field_fail_unsupported(
            parse->error, parse->tool_choice_name,
            "This model has no tool_parser: its calls stay text, and none "
            "can be asked for.");
    out->callable_tools = NULL;
    return request_field_ignored(parse, "tools", "unsupported_parameter");
}

status request_tools_settle(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    status s = STATUS_OK;
    if (parse->functions != NULL)
        s = functions_translate(parse);
    else if (parse->function_call != NULL && !json_is_string(parse->function_call))
        return field_fail(parse->error, "function_call", "invalid_value",
                          "'function_call' is only allowed when 'functions' are specified.");
    if (s != STATUS_OK)
        return s;
    const json_t *choice = parse->tool_choice;
    const char *word = json_string_value(choice);
    if (out->tools == NULL) {
        if (choice != NULL &&
            (word == NULL || (strcmp(word, "auto") != 0 && strcmp(word, "none") != 0)))
            return field_fail(parse->error, parse->tool_choice_name, "invalid_value",
                              "'%s' is only allowed when 'tools' are specified.",
                              parse->tool_choice_name);
        return STATUS_OK;
    }
    out->callable_tools = out->tools;
    if (choice != NULL)
        s = choose(parse, choice);
    if (s == STATUS_OK && out->tools != NULL && parse->limits->hides_calls)
        s = settle_without_calls(parse);
    return s;
}

/* --- reasoning --- */

status request_read_reasoning_effort(struct request_parse *parse, const struct request_field *field,
                                     json_t *value)
{
    static const char *const efforts[] = {"none", "minimal", "low", "medium",
                                          "high", "xhigh",   "max"};
    const char *text = json_string_value(value);
    if (text == NULL)
        return field_fail_type(parse->error, field->name, "a string", value);
    for (size_t i = 0; i < ARRAY_COUNT(efforts); i++) {
        if (strcmp(efforts[i], text) == 0) {
            parse->reasoning_effort = efforts[i];
            return STATUS_OK;
        }
    }
    return field_fail(parse->error, field->name, "invalid_value",
                      "Invalid value: '%.64s'. Supported values are: 'none', 'minimal', 'low', "
                      "'medium', 'high', 'xhigh' and 'max'.",
                      text);
}

/* Servers have many names for it. */
status request_read_reasoning_budget(struct request_parse *parse, const struct request_field *field,
                                     json_t *value)
{
    struct api_completion_request *out = parse->out;
    int64_t tokens = 0;
    status s = field_read_integer(value, field->name, (int64_t)field->min, (int64_t)field->max,
                                  &tokens, parse->error);
    if (s != STATUS_OK)
        return s;
    if (parse->reasoning_budget_name != NULL && tokens != out->reasoning_budget)
        return field_fail(parse->error, field->name, "invalid_value",
                          "'%s' and '%s' are names of one thing, and must not differ.",
                          parse->reasoning_budget_name, field->name);
    out->reasoning_budget = (int32_t)tokens;
    parse->reasoning_budget_name = field->name;
    return STATUS_OK;
}

/* Sets a variable that the client has not set itself. */
static bool variable_set(json_t *variables, const char *name, json_t *value)
{
    if (json_object_get(variables, name) != NULL) {
        json_decref(value);
        return true;
    }
    return json_object_set_new(variables, name, value) == 0;
}

/* Templates know the effort as a word (gpt-oss), or a switch: enable_thinking (Qwen3, GLM), thinking (Granite, DeepSeek). A
 * budget of nothing turns it off too, so that the model need not be interrupted. */
status request_reasoning_settle(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    const char *effort = parse->reasoning_effort;
    const json_t *given = out->template_variables;
    const json_t *is_on = json_object_get(given, "enable_thinking");
    bool has_none = out->reasoning_budget == 0;
    if (out->reasoning_budget >= 0 && parse->limits->hides_reasoning) {
        status s =
            request_field_ignored(parse, parse->reasoning_budget_name, "unsupported_parameter");
        if (s != STATUS_OK)
            return s;
    }
    if (effort == NULL && !json_is_boolean(is_on) && !has_none)
        return STATUS_OK;
    json_t *variables = keep(parse, given != NULL ? json_copy((json_t *)given) : json_object());
    if (variables == NULL)
        return fail_no_memory(parse);
    bool thinks = is_on != NULL ? json_is_true(is_on) : !has_none && strcmp(effort, "none") != 0;
    bool is_set = variable_set(variables, "enable_thinking", json_boolean(thinks)) &&
                  variable_set(variables, "thinking", json_boolean(thinks));
    if (is_set && effort != NULL)
        is_set = variable_set(variables, "reasoning_effort", json_string(effort));
    out->template_variables = variables;
    return is_set ? STATUS_OK : fail_no_memory(parse);
}
