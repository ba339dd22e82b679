/* Anthropic's content blocks -> chat messages. One of their messages may become several: results of
 * tools are messages of their own in a chat, and stand before the text that comes with them. */

#include "messages_request.h"

#include <string.h>

#include "request_cache.h"

static const char user_blocks[] = "'text' and 'tool_result'; this model takes text only";
static const char assistant_blocks[] = "'text', 'tool_use', 'thinking' and 'redacted_thinking'";

/* The member of this name, which must be a string. */
static status block_text(struct request_parse *parse, const char *path, const json_t *block,
                         const char *member, json_t **out)
{
    struct field_path member_path = field_path_of("%s.%s", path, member);
    json_t *value = json_object_get(block, member);
    if (value == NULL)
        return field_fail_missing(parse->error, member_path.text);
    if (!json_is_string(value))
        return field_fail_type(parse->error, member_path.text, "a string", value);
    *out = value;
    return STATUS_OK;
}

static bool is_type(const json_t *block, const char *type)
{
    const char *text = json_string_value(json_object_get(block, "type"));
    return text != NULL && strcmp(text, type) == 0;
}

/* A block's text, with its marker, to what chat joins. */
static status text_add(struct request_parse *parse, const char *path, const json_t *block,
                       json_t *texts)
{
    json_t *text = NULL, *breakpoint = NULL;
    status s = block_text(parse, path, block, "text", &text);
    if (s == STATUS_OK)
        s = messages_read_cache_control(parse, path, block, &breakpoint);
    if (s != STATUS_OK)
        return s;
    if (breakpoint == NULL)
        return tree_append(parse, texts, json_incref(text));
    return tree_append(
        parse, texts,
        json_pack("{s:s, s:O, s:o}", "type", "text", "text", text, CACHE_BREAKPOINT, breakpoint));
}

/* The marker of a block that is no text: it stands at the end of its message's text. */
static status message_mark(struct request_parse *parse, const char *path, const json_t *block,
                           json_t *message)
{
    json_t *breakpoint = NULL;
    status s = messages_read_cache_control(parse, path, block, &breakpoint);
    return s == STATUS_OK && breakpoint != NULL
               ? tree_set(parse, message, CACHE_BREAKPOINT, breakpoint)
               : s;
}

/* A string, or blocks of text -> an array of texts, which chat joins. */
static status texts_read(struct request_parse *parse, const char *path, json_t *content,
                         json_t *texts)
{
    if (json_is_string(content))
        return tree_append(parse, texts, json_incref(content));
    if (!json_is_array(content))
        return field_fail_type(parse->error, path, "a string or an array of blocks", content);
    size_t index;
    json_t *block;
    json_array_foreach(content, index, block)
    {
        struct field_path block_path = field_path_of("%s[%zu]", path, index);
        if (!is_type(block, "text"))
            return dialect_fail_type(parse, block_path.text, block,
                                     "'text'; this model takes text only");
        status s = text_add(parse, block_path.text, block, texts);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Appends {"role", "content": texts}; takes over `texts`. */
static status message_add(struct request_parse *parse, json_t *chat, const char *role,
                          json_t *texts)
{
    json_t *messages = tree_array(parse, chat, "messages");
    if (messages == NULL) {
        json_decref(texts);
        return STATUS_NO_MEMORY;
    }
    if (json_array_size(texts) == 0) {
        json_decref(texts);
        texts = json_string("");
    }
    return tree_append(parse, messages, json_pack("{s:s, s:o}", "role", role, "content", texts));
}

static status text_message(struct request_parse *parse, const char *path, json_t *content,
                           const char *role, json_t *chat)
{
    json_t *texts = json_array();
    status s = texts_read(parse, path, content, texts);
    if (s == STATUS_OK)
        return message_add(parse, chat, role, texts);
    json_decref(texts);
    return s;
}

status messages_read_system(struct request_parse *parse, const char *name, json_t *value,
                            json_t *chat)
{
    return text_message(parse, name, value, "system", chat);
}

static status tool_result_read(struct request_parse *parse, const char *path, json_t *block,
                               json_t *chat)
{
    json_t *id = NULL;
    json_t *content = json_object_get(block, "content");
    json_t *texts = json_array();
    json_t *messages = tree_array(parse, chat, "messages");
    struct field_path content_path = field_path_of("%s.content", path);
    status s =
        messages != NULL ? block_text(parse, path, block, "tool_use_id", &id) : STATUS_NO_MEMORY;
    if (s == STATUS_OK && content != NULL && !json_is_null(content))
        s = texts_read(parse, content_path.text, content, texts);
    if (s == STATUS_OK && json_array_size(texts) == 0)
        s = tree_append(parse, texts, json_string(""));
    if (s != STATUS_OK) {
        json_decref(texts);
        return s;
    }
    json_t *message =
        json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id, "content", texts);
    s = tree_append(parse, messages, message);
    return s == STATUS_OK ? message_mark(parse, path, block, message) : s;
}

static status user_read(struct request_parse *parse, const char *path, json_t *content,
                        json_t *chat)
{
    if (!json_is_array(content))
        return text_message(parse, path, content, "user", chat);
    json_t *texts = json_array();
    status s = field_check_array(content, path, 1, parse->limits->json_values_max, parse->error);
    bool has_results = false;
    size_t index;
    json_t *block;
    json_array_foreach(content, index, block)
    {
        struct field_path block_path = field_path_of("%s[%zu]", path, index);
        if (s != STATUS_OK)
            break;
        if (is_type(block, "tool_result")) {
            has_results = true;
            s = tool_result_read(parse, block_path.text, block, chat);
        } else if (is_type(block, "text")) {
            s = text_add(parse, block_path.text, block, texts);
        } else {
            s = dialect_fail_type(parse, block_path.text, block, user_blocks);
        }
    }
    if (s == STATUS_OK && (json_array_size(texts) > 0 || !has_results))
        return message_add(parse, chat, "user", texts);
    json_decref(texts);
    return s;
}

/* {"id","name","input"} -> a call; its arguments are an object, as templates want them. */
static status tool_use_read(struct request_parse *parse, const char *path, json_t *block,
                            json_t *calls)
{
    json_t *id = NULL, *name = NULL;
    json_t *input = json_object_get(block, "input");
    struct field_path input_path = field_path_of("%s.input", path);
    status s = block_text(parse, path, block, "id", &id);
    if (s == STATUS_OK)
        s = block_text(parse, path, block, "name", &name);
    if (s != STATUS_OK)
        return s;
    if (input == NULL)
        return field_fail_missing(parse->error, input_path.text);
    if (!json_is_object(input))
        return field_fail_type(parse->error, input_path.text, "an object", input);
    return tree_append(parse, calls,
                       json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id, "type", "function",
                                 "function", "name", name, "arguments", input));
}

/* What an assistant's message is made of. */
struct assistant_parts {
    json_t *texts, *calls; /* owned */
    json_t *marks;         /* owned: what the message has beside */
    json_t *reasoning;     /* borrowed; the last thinking block */
};

static status assistant_block_read(struct request_parse *parse, const char *path, json_t *block,
                                   struct assistant_parts *parts)
{
    if (is_type(block, "tool_use")) {
        status s = message_mark(parse, path, block, parts->marks);
        return s == STATUS_OK ? tool_use_read(parse, path, block, parts->calls) : s;
    }
    if (is_type(block, "thinking"))
        return block_text(parse, path, block, "thinking", &parts->reasoning);
    if (is_type(block, "redacted_thinking"))
        return STATUS_OK;
    if (!is_type(block, "text"))
        return dialect_fail_type(parse, path, block, assistant_blocks);
    return text_add(parse, path, block, parts->texts);
}

static status assistant_add(struct request_parse *parse, const struct assistant_parts *parts,
                            json_t *chat)
{
    bool has_calls = json_array_size(parts->calls) > 0;
    status s = message_add(parse, chat, "assistant", json_incref(parts->texts));
    json_t *messages = json_object_get(chat, "messages");
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    if (s == STATUS_OK && has_calls)
        s = tree_set(parse, message, "tool_calls", json_incref(parts->calls));
    if (s == STATUS_OK && json_object_update(message, parts->marks) != 0) {
        api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
        s = STATUS_NO_MEMORY;
    }
    if (s == STATUS_OK && parts->reasoning != NULL)
        s = tree_set(parse, message, "reasoning_content", json_incref(parts->reasoning));
    return s;
}

static status assistant_read(struct request_parse *parse, const char *path, json_t *content,
                             json_t *chat)
{
    if (!json_is_array(content))
        return text_message(parse, path, content, "assistant", chat);
    struct assistant_parts parts = {json_array(), json_array(), json_object(), NULL};
    status s = STATUS_OK;
    size_t index;
    json_t *block;
    json_array_foreach(content, index, block)
    {
        struct field_path block_path = field_path_of("%s[%zu]", path, index);
        if (s == STATUS_OK)
            s = assistant_block_read(parse, block_path.text, block, &parts);
    }
    if (s == STATUS_OK)
        s = assistant_add(parse, &parts, chat);
    json_decref(parts.texts);
    json_decref(parts.calls);
    json_decref(parts.marks);
    return s;
}

static status message_read(struct request_parse *parse, const char *path, json_t *message,
                           json_t *chat, bool *is_assistant)
{
    struct field_path role_path = field_path_of("%s.role", path);
    struct field_path content_path = field_path_of("%s.content", path);
    if (!json_is_object(message))
        return field_fail_type(parse->error, path, "an object", message);
    const json_t *role = json_object_get(message, "role");
    json_t *content = json_object_get(message, "content");
    const char *text = json_string_value(role);
    if (role == NULL)
        return field_fail_missing(parse->error, role_path.text);
    if (content == NULL)
        return field_fail_missing(parse->error, content_path.text);
    *is_assistant = text != NULL && strcmp(text, "assistant") == 0;
    if (*is_assistant)
        return assistant_read(parse, content_path.text, content, chat);
    if (text != NULL && strcmp(text, "user") == 0)
        return user_read(parse, content_path.text, content, chat);
    if (text != NULL && strcmp(text, "system") == 0)
        return text_message(parse, content_path.text, content, "system", chat);
    return field_fail(parse->error, role_path.text, "invalid_value",
                      "Invalid '%s': supported values are 'user', 'assistant' and 'system'.",
                      role_path.text);
}

/* An assistant's message at the end is the beginning of the answer. */
status messages_read_messages(struct request_parse *parse, const char *name, json_t *value,
                              json_t *chat)
{
    status s = field_check_array(value, name, 1, parse->limits->messages_max, parse->error);
    bool is_assistant = false;
    size_t index;
    json_t *message;
    json_array_foreach(value, index, message)
    {
        struct field_path path = field_path_of("%s[%zu]", name, index);
        if (s == STATUS_OK)
            s = message_read(parse, path.text, message, chat, &is_assistant);
    }
    if (s == STATUS_OK && is_assistant)
        s = tree_set(parse, chat, "continue_final_message", json_true());
    return s;
}
