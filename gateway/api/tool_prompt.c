#include "tool_prompt.h"

#include <string.h>

#include "buffer.h"

#define BYTES_MAX (SIZE_MAX / 2) /* what it is made of has passed the limits of a request */

static const char before_tools[] =
    "You can call functions. These are the functions, each as JSON:\n"
    "<tools>\n";
static const char after_tools[] =
    "</tools>\n"
    "To call one, write its name and its arguments as JSON between these tags, a pair of tags for "
    "each call:\n"
    "<tool_call>\n"
    "{\"name\": \"the function's name\", \"arguments\": {\"an argument's name\": \"its value\"}}\n"
    "</tool_call>\n"
    "You then get the results between <tool_response> tags.";

static bool is_role(const json_t *message, const char *role)
{
    const char *text = json_string_value(json_object_get(message, "role"));
    return text != NULL && strcmp(text, role) == 0;
}

static void append_content(struct buffer *out, const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    if (json_is_string(content))
        buffer_append(out, json_string_value(content), json_string_length(content));
}

static int append_dumped(const char *data, size_t bytes, void *out)
{
    buffer_append(out, data, bytes);
    return 0;
}

/* JSON as models have seen it most: with blanks after ':' and ','. */
static void append_json(struct buffer *out, const json_t *value)
{
    if (json_dump_callback(value, append_dumped, out, JSON_ENCODE_ANY) != 0)
        out->failed = STATUS_NO_MEMORY;
}

/* Appends a message of this role with the text, which is emptied. */
static void append_message(json_t *out, const char *role, struct buffer *text)
{
    if (text->failed == STATUS_OK &&
        json_array_append_new(out, json_pack("{s:s, s:s%}", "role", role, "content",
                                             text->bytes > 0 ? text->data : "", text->bytes)) != 0)
        text->failed = STATUS_NO_MEMORY;
    if (text->failed == STATUS_OK)
        buffer_clear(text);
}

static void append_tools(struct buffer *out, const json_t *tools)
{
    size_t index;
    json_t *tool;
    buffer_append_text(out, before_tools);
    json_array_foreach((json_t *)tools, index, tool)
    {
        append_json(out, tool);
        buffer_append_byte(out, '\n');
    }
    buffer_append_text(out, after_tools);
}

/* {"name": ..., "arguments": {...}} */
static void append_call(struct buffer *out, const json_t *call)
{
    const json_t *function = json_object_get(call, "function");
    const json_t *arguments = json_object_get(function, "arguments");
    buffer_append_text(out, "{\"name\": ");
    append_json(out, json_object_get(function, "name"));
    buffer_append_text(out, ", \"arguments\": ");
    if (arguments != NULL)
        append_json(out, arguments);
    else
        buffer_append_text(out, "{}");
    buffer_append_byte(out, '}');
}

static void append_calls(struct buffer *out, const json_t *calls)
{
    size_t index;
    json_t *call;
    json_array_foreach((json_t *)calls, index, call)
    {
        buffer_append_text(out, out->bytes > 0 ? "\n<tool_call>\n" : "<tool_call>\n");
        append_call(out, call);
        buffer_append_text(out, "\n</tool_call>");
    }
}

/* Results that follow one another are one message of the user. */
static void append_result(json_t *out, const json_t *message, bool is_last, struct buffer *text)
{
    buffer_append_text(text, text->bytes > 0 ? "\n<tool_response>\n" : "<tool_response>\n");
    append_content(text, message);
    buffer_append_text(text, "\n</tool_response>");
    if (is_last)
        append_message(out, "user", text);
}

static void append_rest(json_t *out, const json_t *messages, size_t begin, struct buffer *text)
{
    for (size_t i = begin; i < json_array_size(messages) && text->failed == STATUS_OK; i++) {
        json_t *message = json_array_get(messages, i);
        const json_t *calls = json_object_get(message, "tool_calls");
        if (is_role(message, "tool")) {
            append_result(out, message, !is_role(json_array_get(messages, i + 1), "tool"), text);
        } else if (json_array_size(calls) > 0) {
            append_content(text, message);
            append_calls(text, calls);
            append_message(out, "assistant", text);
        } else if (json_array_append(out, message) != 0) {
            text->failed = STATUS_NO_MEMORY;
        }
    }
}

status tool_prompt_messages(const json_t *messages, const json_t *tools, json_t **out)
{
    json_t *list = json_array();
    struct buffer text;
    size_t begin = 0;
    buffer_init(&text, BYTES_MAX);
    if (tools != NULL) {
        const json_t *first = json_array_get(messages, 0);
        if (is_role(first, "system")) {
            append_content(&text, first);
            buffer_append_text(&text, "\n\n");
            begin = 1;
        }
        append_tools(&text, tools);
        append_message(list, "system", &text);
    }
    append_rest(list, messages, begin, &text);
    status s = list == NULL ? STATUS_NO_MEMORY : text.failed;
    buffer_deinit(&text);
    if (s != STATUS_OK) {
        json_decref(list);
        return s;
    }
    *out = list;
    return STATUS_OK;
}

/* --- Phi-4-mini --- */

/* As the model was trained: [{"name","description","parameters"},...]. */
static void append_functions(struct buffer *out, const json_t *tools)
{
    size_t index;
    json_t *tool;
    buffer_append_byte(out, '[');
    json_array_foreach((json_t *)tools, index, tool)
    {
        if (index > 0)
            buffer_append_text(out, ", ");
        append_json(out, json_object_get(tool, "function"));
    }
    buffer_append_byte(out, ']');
}

/* The system's message with the tools in the member that its template shows, or in its text. */
static void append_phi4_system(json_t *out, const json_t *first, const json_t *tools,
                               bool has_member, struct buffer *text)
{
    struct buffer functions;
    bool is_system = is_role(first, "system");
    buffer_init(&functions, BYTES_MAX);
    append_functions(&functions, tools);
    if (is_system)
        append_content(text, first);
    else
        buffer_append_text(text, "You are a helpful assistant with some tools.");
    if (!has_member) {
        buffer_append_text(text, "<|tool|>");
        buffer_append_slice(text, buffer_slice(&functions));
        buffer_append_text(text, "<|/tool|>");
    }
    append_message(out, "system", text);
    json_t *message = json_array_get(out, 0);
    if (functions.failed != STATUS_OK)
        text->failed = functions.failed;
    else if (has_member && json_object_set_new(message, "tools",
                                               json_stringn(functions.data, functions.bytes)) != 0)
        text->failed = STATUS_NO_MEMORY;
    buffer_deinit(&functions);
}

static void append_phi4_calls(struct buffer *out, const json_t *calls)
{
    size_t index;
    json_t *call;
    buffer_append_text(out, "<|tool_call|>[");
    json_array_foreach((json_t *)calls, index, call)
    {
        buffer_append_text(out, index > 0 ? ", " : "");
        append_call(out, call);
    }
    buffer_append_text(out, "]<|/tool_call|>");
}

status tool_prompt_messages_phi4(const json_t *messages, const json_t *tools, bool has_member,
                                 json_t **out)
{
    json_t *list = json_array();
    struct buffer text;
    buffer_init(&text, BYTES_MAX);
    const json_t *first = json_array_get(messages, 0);
    if (tools != NULL)
        append_phi4_system(list, first, tools, has_member, &text);
    for (size_t i = tools != NULL && is_role(first, "system") ? 1 : 0;
         i < json_array_size(messages) && text.failed == STATUS_OK; i++) {
        json_t *message = json_array_get(messages, i);
        const json_t *calls = json_object_get(message, "tool_calls");
        bool is_result = is_role(message, "tool");
        if (is_result || json_array_size(calls) > 0)
            append_content(&text, message);
        if (is_result) {
            append_message(list, "tool_response", &text);
        } else if (json_array_size(calls) > 0) {
            append_phi4_calls(&text, calls);
            append_message(list, "assistant", &text);
        } else if (json_array_append(list, message) != 0) {
            text.failed = STATUS_NO_MEMORY;
        }
    }
    status s = list == NULL ? STATUS_NO_MEMORY : text.failed;
    buffer_deinit(&text);
    if (s == STATUS_OK)
        *out = list;
    else
        json_decref(list);
    return s;
}
