/* Items of the responses API -> chat messages.
 *
 *   message                 a message of its role
 *   reasoning               the reasoning of the assistant's message that follows
 *   function_call           a call in the assistant's message before it, or in one of its own
 *   function_call_output    a message of the tool
 *   item_reference          the item of an earlier answer that has this id
 *
 * Beside that each item is brought into the form in which the API lists items: with an id, a status,
 * and content as parts. */

#include "responses_request.h"

#include <stdio.h>
#include <string.h>

#include "request_cache.h"

#include "hash.h"

#define KNOWN_ITEMS                                                                                \
    "'message', 'reasoning', 'function_call', 'function_call_output' and 'item_reference'"

struct item_reader {
    struct request_parse *parse;
    json_t *messages;  /* chat's; borrowed */
    json_t *items;     /* borrowed */
    json_t *assistant; /* the last message, if it is an assistant's; borrowed */
    json_t *reasoning; /* texts that wait for the assistant's message; owned; NULL: none */
};

/* An id for an item that came without: those of answers are made otherwise and cannot be equal. */
static status give_id(struct request_parse *parse, json_t *item, const char *prefix)
{
    unsigned char random[12];
    char id[48];
    int used = snprintf(id, sizeof id, "%s", prefix);
    if (json_object_get(item, "id") != NULL)
        return STATUS_OK;
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        used += snprintf(id + used, sizeof id - (size_t)used, "%02x", random[i]);
    return tree_set(parse, item, "id", json_string(id));
}

/* Appends a copy of the item with an id and a status; the copy is borrowed. */
static status list_item(struct item_reader *reader, const json_t *item, const char *prefix,
                        json_t **copy)
{
    *copy = json_copy((json_t *)item);
    status s = tree_append(reader->parse, reader->items, *copy);
    if (s == STATUS_OK)
        s = give_id(reader->parse, *copy, prefix);
    if (s == STATUS_OK && json_object_get(*copy, "status") == NULL && strcmp(prefix, "rs_") != 0)
        s = tree_set(reader->parse, *copy, "status", json_string("completed"));
    return s;
}

static status member_text(struct request_parse *parse, const char *path, const json_t *item,
                          const char *member, json_t **out)
{
    struct field_path member_path = field_path_of("%s.%s", path, member);
    json_t *value = json_object_get(item, member);
    if (value == NULL)
        return field_fail_missing(parse->error, member_path.text);
    if (!json_is_string(value))
        return field_fail_type(parse->error, member_path.text, "a string", value);
    *out = value;
    return STATUS_OK;
}

static bool is_type(const json_t *object, const char *type)
{
    const char *text = json_string_value(json_object_get(object, "type"));
    return text != NULL && strcmp(text, type) == 0;
}

/* Parts of text -> an array of strings, which chat joins. */
static status parts_read(struct request_parse *parse, const char *path, const json_t *parts,
                         json_t *texts)
{
    size_t index;
    json_t *part;
    json_array_foreach(parts, index, part)
    {
        struct field_path part_path = field_path_of("%s[%zu]", path, index);
        bool is_refusal = is_type(part, "refusal");
        bool is_text =
            is_type(part, "input_text") || is_type(part, "output_text") || is_type(part, "text");
        json_t *text = NULL;
        if (!is_text && !is_refusal)
            return dialect_fail_type(parse, part_path.text, part,
                                     "'input_text', 'output_text' and 'refusal'; this model takes "
                                     "text only");
        status s = member_text(parse, part_path.text, part, is_refusal ? "refusal" : "text", &text);
        json_t *mark = json_object_get(part, CACHE_BREAKPOINT);
        if (s == STATUS_OK && mark != NULL && !json_is_null(mark))
            s = tree_append(
                parse, texts,
                json_pack("{s:s, s:O, s:O}", "type", "text", "text", text, CACHE_BREAKPOINT, mark));
        else if (s == STATUS_OK)
            s = tree_append(parse, texts, json_incref(text));
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* A string or parts -> what chat takes; the caller's reference. NULL: the error is set. */
static json_t *content_read(struct request_parse *parse, const char *path, json_t *content)
{
    if (json_is_string(content))
        return json_incref(content);
    if (!json_is_array(content)) {
        (void)field_fail_type(parse->error, path, "a string or an array of parts", content);
        return NULL;
    }
    if (json_array_size(content) == 0)
        return json_string("");
    json_t *texts = json_array();
    if (parts_read(parse, path, content, texts) == STATUS_OK)
        return texts;
    json_decref(texts);
    return NULL;
}

/* The assistant's message that items belong to: the last one, or a new one. Takes what reasoning
 * waits. */
static status assistant_begin(struct item_reader *reader)
{
    struct request_parse *parse = reader->parse;
    status s = STATUS_OK;
    if (reader->assistant == NULL) {
        json_t *message = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        s = tree_append(parse, reader->messages, message);
        reader->assistant = s == STATUS_OK ? message : NULL;
    }
    if (s == STATUS_OK && reader->reasoning != NULL) {
        s = tree_set(parse, reader->assistant, "reasoning_content", reader->reasoning);
        reader->reasoning = NULL;
    }
    return s;
}

/* Content in the listed form: parts of the type that the role has. */
static status list_content(struct item_reader *reader, json_t *copy, const json_t *content,
                           bool is_assistant)
{
    if (json_object_get(copy, "type") == NULL &&
        tree_set(reader->parse, copy, "type", json_string("message")) != STATUS_OK)
        return STATUS_NO_MEMORY;
    if (!json_is_string(content))
        return STATUS_OK;
    json_t *part = is_assistant ? json_pack("{s:s, s:O, s:[]}", "type", "output_text", "text",
                                            content, "annotations")
                                : json_pack("{s:s, s:O}", "type", "input_text", "text", content);
    return tree_set(reader->parse, copy, "content", json_pack("[o]", part));
}

static status message_read(struct item_reader *reader, const char *path, json_t *item)
{
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    struct request_parse *parse = reader->parse;
    struct field_path content_path = field_path_of("%s.content", path);
    struct field_path role_path = field_path_of("%s.role", path);
    json_t *role = NULL, *copy = NULL;
    json_t *content = json_object_get(item, "content");
    bool is_known = false;
    status s = member_text(parse, path, item, "role", &role);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        is_known |= strcmp(json_string_value(role), roles[i]) == 0;
    if (!is_known)
        return field_fail(parse->error, role_path.text, "invalid_value",
                          "Invalid value: '%.64s'. Supported values are: 'user', 'assistant', "
                          "'system' and 'developer'.",
                          json_string_value(role));
    if (content == NULL)
        return field_fail_missing(parse->error, content_path.text);
    json_t *texts = content_read(parse, content_path.text, content);
    if (texts == NULL)
        return STATUS_INVALID;
    bool is_assistant = strcmp(json_string_value(role), "assistant") == 0;
    json_t *message = json_pack("{s:O, s:o}", "role", role, "content", texts);
    s = tree_append(parse, reader->messages, message);
    reader->assistant = s == STATUS_OK && is_assistant ? message : NULL;
    if (s == STATUS_OK && is_assistant)
        s = assistant_begin(reader);
    if (s == STATUS_OK)
        s = list_item(reader, item, "msg_", &copy);
    return s == STATUS_OK ? list_content(reader, copy, content, is_assistant) : s;
}

static status call_read(struct item_reader *reader, const char *path, json_t *item)
{
    struct request_parse *parse = reader->parse;
    json_t *id = NULL, *name = NULL, *arguments = NULL, *copy = NULL;
    status s = member_text(parse, path, item, "call_id", &id);
    if (s == STATUS_OK)
        s = member_text(parse, path, item, "name", &name);
    if (s == STATUS_OK)
        s = member_text(parse, path, item, "arguments", &arguments);
    if (s == STATUS_OK)
        s = assistant_begin(reader);
    if (s != STATUS_OK)
        return s;
    json_t *calls = tree_array(parse, reader->assistant, "tool_calls");
    if (calls == NULL)
        return STATUS_NO_MEMORY;
    s = tree_append(parse, calls,
                    json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function",
                              "name", name, "arguments", arguments));
    return s == STATUS_OK ? list_item(reader, item, "fc_", &copy) : s;
}

static status output_read(struct item_reader *reader, const char *path, json_t *item)
{
    struct request_parse *parse = reader->parse;
    struct field_path output_path = field_path_of("%s.output", path);
    json_t *id = NULL, *copy = NULL;
    json_t *output = json_object_get(item, "output");
    status s = member_text(parse, path, item, "call_id", &id);
    if (s != STATUS_OK)
        return s;
    if (output == NULL)
        return field_fail_missing(parse->error, output_path.text);
    json_t *texts = content_read(parse, output_path.text, output);
    if (texts == NULL)
        return STATUS_INVALID;
    reader->assistant = NULL;
    s = tree_append(
        parse, reader->messages,
        json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id, "content", texts));
    return s == STATUS_OK ? list_item(reader, item, "fco_", &copy) : s;
}

/* Its text, or where that is not there its summary, goes to the message that follows. */
static status reasoning_read(struct item_reader *reader, const char *path, json_t *item)
{
    struct request_parse *parse = reader->parse;
    const json_t *content = json_object_get(item, "content");
    const json_t *summary = json_object_get(item, "summary");
    const json_t *parts = json_array_size(content) > 0 ? content : summary;
    struct buffer text;
    size_t index;
    json_t *part, *copy = NULL;
    status s = STATUS_OK;
    buffer_init(&text, SIZE_MAX / 2);
    json_array_foreach(parts, index, part)
    {
        struct field_path part_path =
            field_path_of("%s.%s[%zu]", path, parts == content ? "content" : "summary", index);
        json_t *value = NULL;
        if (s == STATUS_OK)
            s = member_text(parse, part_path.text, part, "text", &value);
        if (s == STATUS_OK)
            buffer_append(&text, json_string_value(value), json_string_length(value));
    }
    reader->assistant = NULL;
    if (s == STATUS_OK && text.bytes > 0) {
        json_decref(reader->reasoning);
        reader->reasoning = json_stringn(text.data, text.bytes);
    }
    buffer_deinit(&text);
    return s == STATUS_OK ? list_item(reader, item, "rs_", &copy) : s;
}

static status item_read(struct item_reader *reader, const char *path, json_t *item);

/* The id of an item of ours is that of its answer in between a prefix and four digits. */
static status reference_read(struct item_reader *reader, const char *path, json_t *item)
{
    struct request_parse *parse = reader->parse;
    const struct api_history *history = parse->history;
    struct field_path id_path = field_path_of("%s.id", path);
    json_t *id = NULL, *found = NULL;
    status s = member_text(parse, path, item, "id", &id);
    if (s != STATUS_OK)
        return s;
    if (history != NULL && history->find_item != NULL)
        found = history->find_item(history->context, json_string_value(id));
    if (found == NULL)
        return field_fail(parse->error, id_path.text, "item_not_found",
                          "Item with id '%.64s' not found: it is not stored, or not any more.",
                          json_string_value(id));
    s = item_read(reader, path, found);
    json_decref(found);
    return s;
}

static status item_read(struct item_reader *reader, const char *path, json_t *item)
{
    if (!json_is_object(item))
        return field_fail_type(reader->parse->error, path, "an object", item);
    if (json_object_get(item, "type") == NULL || is_type(item, "message"))
        return message_read(reader, path, item);
    if (is_type(item, "function_call"))
        return call_read(reader, path, item);
    if (is_type(item, "function_call_output"))
        return output_read(reader, path, item);
    if (is_type(item, "reasoning"))
        return reasoning_read(reader, path, item);
    return dialect_fail_type(reader->parse, path, item, KNOWN_ITEMS);
}

status responses_read_items(struct request_parse *parse, const char *name, const json_t *items_in,
                            json_t *chat, json_t *items)
{
    struct item_reader reader = {
        .parse = parse, .messages = tree_array(parse, chat, "messages"), .items = items};
    status s = reader.messages != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    size_t index;
    json_t *item;
    json_array_foreach(items_in, index, item)
    {
        struct field_path path = field_path_of("%s[%zu]", name, index);
        if (s == STATUS_OK && is_type(item, "item_reference"))
            s = reference_read(&reader, path.text, item);
        else if (s == STATUS_OK)
            s = item_read(&reader, path.text, item);
    }
    json_decref(reader.reasoning);
    return s;
}

json_t *responses_text_item(const char *text, size_t bytes)
{
    return json_pack("{s:s, s:s%}", "role", "user", "content", text, bytes);
}
