/* Messages: what the chat template will see. Templates are written for what the
 * transformers library hands them: content as one string, arguments of tool calls as objects, and
 * the roles of the time when the model was trained. The client's form is brought into that one
 * here, in the request's own tree. */

#include "request_cache.h"

#include <string.h>

#include "check.h"

/* The path of one message's member, and what its readers need. */
struct message_place {
    size_t index;
    const struct api_limits *limits;
    struct api_completion_request *out; /* takes marks; NULL: they are not wanted */
    struct api_error *error;
};

static struct field_path member_path(const struct message_place *place, const char *member)
{
    return field_path_of("messages[%zu].%s", place->index, member);
}

static status fail_no_memory(struct api_error *error)
{
    api_error_from_status(error, STATUS_NO_MEMORY, NULL);
    return STATUS_NO_MEMORY;
}

/* A part's text: {"type":"text","text":...}; an assistant's refusal counts as its text. */
static status part_text(const json_t *part, const char *path, struct text_slice *out,
                        struct api_error *error)
{
    if (json_is_string(part)) {
        *out = (struct text_slice){json_string_value(part), json_string_length(part)};
        return STATUS_OK;
    }
    if (!json_is_object(part))
        return field_fail_type(error, path, "an object", part);
    const char *type = json_string_value(json_object_get(part, "type"));
    struct field_path type_path = field_path_of("%s.type", path);
    if (type == NULL)
        return field_fail_missing(error, type_path.text);
    const char *member = strcmp(type, "refusal") == 0 ? "refusal" : "text";
    if (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0)
        return field_fail(error, type_path.text, "invalid_value",
                          "Invalid value: '%.64s'. This model takes text only; supported values "
                          "are: 'text' and 'refusal'.",
                          type);
    const json_t *text = json_object_get(part, member);
    struct field_path text_path = field_path_of("%s.%s", path, member);
    if (text == NULL)
        return field_fail_missing(error, text_path.text);
    return field_read_text(text, text_path.text, SIZE_MAX, out, error);
}

/* The mark at byte `bytes` of the message's text, if `object` has one. */
static status mark_read(const struct message_place *place, const json_t *object, const char *path,
                        size_t bytes)
{
    const json_t *mark = json_object_get(object, CACHE_BREAKPOINT);
    struct field_path mark_path = field_path_of("%s." CACHE_BREAKPOINT, path);
    struct api_cache_mark at = {CACHE_MESSAGE, place->index, bytes};
    if (place->out == NULL || mark == NULL || json_is_null(mark))
        return STATUS_OK;
    return request_breakpoint_read(mark, mark_path.text, at, place->out, place->error);
}

/* Joins the text parts by newlines, as other servers do for templates that know strings only. */
static status parts_join(const struct message_place *place, json_t *message, const json_t *parts)
{
    struct field_path path = member_path(place, "content");
    status s = field_check_array(parts, path.text, 1, place->limits->json_values_max, place->error);
    if (s != STATUS_OK)
        return s;
    struct buffer joined;
    buffer_init(&joined, SIZE_MAX / 2);
    size_t index;
    json_t *part;
    json_array_foreach(parts, index, part)
    {
        struct text_slice text;
        struct field_path part_path =
            field_path_of("messages[%zu].content[%zu]", place->index, index);
        s = part_text(part, part_path.text, &text, place->error);
        if (s != STATUS_OK)
            goto done;
        if (index > 0)
            buffer_append_byte(&joined, '\n');
        buffer_append_slice(&joined, text);
        s = mark_read(place, part, part_path.text, joined.bytes);
        if (s != STATUS_OK)
            goto done;
    }
    if (joined.failed != STATUS_OK ||
        json_object_set_new(message, "content",
                            json_stringn(joined.bytes > 0 ? joined.data : "", joined.bytes)) != 0)
        s = fail_no_memory(place->error);
done:
    buffer_deinit(&joined);
    return s;
}

/* One call: {"id","type":"function","function":{"name","arguments"}}. Arguments that are the text
 * of an object become the object; other texts stay as they are. */
static status tool_call_normalize(const struct message_place *place, json_t *call, const char *path)
{
    if (!json_is_object(call))
        return field_fail_type(place->error, path, "an object", call);
    json_t *function = json_object_get(call, "function");
    struct field_path function_path = field_path_of("%s.function", path);
    if (function == NULL)
        return field_fail_missing(place->error, function_path.text);
    if (!json_is_object(function))
        return field_fail_type(place->error, function_path.text, "an object", function);
    struct field_path name_path = field_path_of("%s.name", function_path.text);
    const json_t *name = json_object_get(function, "name");
    if (name == NULL)
        return field_fail_missing(place->error, name_path.text);
    if (!json_is_string(name))
        return field_fail_type(place->error, name_path.text, "a string", name);
    const json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_string(arguments))
        return STATUS_OK;
    struct json_limits limits = {place->limits->json_depth_max, place->limits->json_values_max};
    struct text_slice text = {json_string_value(arguments), json_string_length(arguments)};
    json_t *object = NULL;
    if (json_load_limited(text, &limits, &object, NULL) != STATUS_OK)
        return STATUS_OK;
    if (!json_is_object(object)) {
        json_decref(object);
        return STATUS_OK;
    }
    if (json_object_set_new(function, "arguments", object) != 0)
        return fail_no_memory(place->error);
    return STATUS_OK;
}

static status tool_calls_normalize(const struct message_place *place, json_t *calls)
{
    struct field_path path = member_path(place, "tool_calls");
    status s = field_check_array(calls, path.text, 0, API_TOOLS_MAX, place->error);
    if (s != STATUS_OK)
        return s;
    size_t index;
    json_t *call;
    json_array_foreach(calls, index, call)
    {
        struct field_path call_path = field_path_of("%s[%zu]", path.text, index);
        s = tool_call_normalize(place, call, call_path.text);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

static status role_normalize(const struct message_place *place, json_t *message, const char **role)
{
    static const char *const roles[] = {"system",    "developer", "user",
                                        "assistant", "tool",      "function"};
    struct field_path path = member_path(place, "role");
    const json_t *value = json_object_get(message, "role");
    if (value == NULL)
        return field_fail_missing(place->error, path.text);
    if (!json_is_string(value))
        return field_fail_type(place->error, path.text, "a string", value);
    const char *text = json_string_value(value);
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++) {
        if (strcmp(text, roles[i]) != 0)
            continue;
        *role = roles[i];
        if (strcmp(text, "developer") == 0 &&
            json_object_set_new(message, "role", json_string("system")) != 0)
            return fail_no_memory(place->error);
        return STATUS_OK;
    }
    return field_fail(place->error, path.text, "invalid_value",
                      "Invalid value: '%.64s'. Supported values are: 'system', 'developer', "
                      "'user', 'assistant', 'tool' and 'function'.",
                      text);
}

static status content_normalize(const struct message_place *place, json_t *message,
                                const char *role, bool has_calls)
{
    struct field_path path = member_path(place, "content");
    const json_t *content = json_object_get(message, "content");
    if (json_is_string(content))
        return STATUS_OK;
    if (json_is_array(content))
        return parts_join(place, message, content);
    if (content == NULL || json_is_null(content)) {
        bool is_optional = has_calls || (strcmp(role, "assistant") == 0 && content != NULL);
        if (!is_optional && content == NULL)
            return field_fail_missing(place->error, path.text);
        if (!is_optional)
            return field_fail_type(place->error, path.text, "a string or an array of parts",
                                   content);
        if (json_object_set_new(message, "content", json_string("")) != 0)
            return fail_no_memory(place->error);
        return STATUS_OK;
    }
    return field_fail_type(place->error, path.text, "a string or an array of parts", content);
}

/* The call of the time before there were several, and its answer: as one of a list. Some templates want an id of nine
 * characters. */
static status function_normalize(const struct message_place *place, json_t *message,
                                 const char **role)
{
    static const char id[] = "function0";
    json_t *call = json_object_get(message, "function_call");
    int failed = 0;
    if (call != NULL && !json_is_null(call) && json_object_get(message, "tool_calls") == NULL)
        failed = json_object_set_new(
            message, "tool_calls",
            json_pack("[{s:s, s:s, s:O}]", "id", id, "type", "function", "function", call));
    if (call != NULL)
        (void)json_object_del(message, "function_call");
    if (strcmp(*role, "function") == 0) {
        *role = "tool";
        failed |= json_object_set_new(message, "role", json_string(*role));
        if (json_object_get(message, "tool_call_id") == NULL)
            failed |= json_object_set_new(message, "tool_call_id", json_string(id));
        if (json_object_get(message, "content") == NULL)
            failed |= json_object_set_new(message, "content", json_string(""));
    }
    return failed == 0 ? STATUS_OK : fail_no_memory(place->error);
}

/* Reasoning has two names among servers; templates know one. */
static status reasoning_normalize(const struct message_place *place, json_t *message)
{
    static const char name[] = "reasoning_content";
    json_t *other = json_object_get(message, "reasoning");
    const json_t *text = json_object_get(message, name);
    if ((text == NULL || json_is_null(text)) && json_is_string(other)) {
        if (json_object_set(message, name, other) != 0)
            return fail_no_memory(place->error);
        text = other;
    }
    struct field_path path = member_path(place, name);
    if (text != NULL && !json_is_null(text) && !json_is_string(text))
        return field_fail_type(place->error, path.text, "a string", text);
    return STATUS_OK;
}

static status message_normalize(const struct message_place *place, json_t *message)
{
    struct field_path path = field_path_of("messages[%zu]", place->index);
    if (!json_is_object(message))
        return field_fail_type(place->error, path.text, "an object", message);
    const char *role = NULL;
    status s = role_normalize(place, message, &role);
    if (s == STATUS_OK)
        s = function_normalize(place, message, &role);
    if (s == STATUS_OK)
        s = reasoning_normalize(place, message);
    if (s != STATUS_OK)
        return s;
    json_t *calls = json_object_get(message, "tool_calls");
    bool has_calls = calls != NULL && !json_is_null(calls);
    if (has_calls)
        s = tool_calls_normalize(place, calls);
    if (s == STATUS_OK)
        s = content_normalize(place, message, role, has_calls);
    if (s == STATUS_OK)
        s = mark_read(place, message, path.text,
                      json_string_length(json_object_get(message, "content")));
    if (s != STATUS_OK)
        return s;
    (void)json_object_del(message, CACHE_BREAKPOINT); /* templates may show what they find */
    struct field_path name_path = member_path(place, "name");
    const json_t *name = json_object_get(message, "name");
    if (name != NULL && !json_is_null(name) && !json_is_string(name))
        return field_fail_type(place->error, name_path.text, "a string", name);
    struct field_path id_path = member_path(place, "tool_call_id");
    const json_t *id = json_object_get(message, "tool_call_id");
    if (strcmp(role, "tool") == 0 && id == NULL)
        return field_fail_missing(place->error, id_path.text);
    if (id != NULL && !json_is_null(id) && !json_is_string(id))
        return field_fail_type(place->error, id_path.text, "a string", id);
    return STATUS_OK;
}

status messages_normalize(json_t *messages, const struct api_limits *limits,
                          struct api_completion_request *out, struct api_error *error)
{
    status s = field_check_array(messages, "messages", 1, limits->messages_max, error);
    if (s != STATUS_OK)
        return s;
    struct message_place place = {0, limits, out, error};
    json_t *message;
    json_array_foreach(messages, place.index, message)
    {
        s = message_normalize(&place, message);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

status request_read_messages(struct request_parse *parse, const struct request_field *field,
                             json_t *value)
{
    (void)field;
    parse->has_messages = true;
    parse->out->messages = value;
    return messages_normalize(value, parse->limits, parse->out, parse->error);
}

status request_read_documents(struct request_parse *parse, const struct request_field *field,
                              json_t *value)
{
    parse->out->documents = value;
    status s = field_check_array(value, field->name, 0, parse->limits->messages_max, parse->error);
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        struct field_path path = field_path_of("%s[%zu]", field->name, index);
        if (s == STATUS_OK && !json_is_object(item))
            s = field_fail_type(parse->error, path.text, "an object", item);
    }
    return s;
}

status request_read_template_variables(struct request_parse *parse,
                                       const struct request_field *field, json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    parse->out->template_variables = value;
    return STATUS_OK;
}
