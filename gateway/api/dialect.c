#include "dialect.h"

#include <string.h>

static status fail_no_memory(struct request_parse *parse)
{
    api_error_from_status(parse->error, STATUS_NO_MEMORY, NULL);
    return STATUS_NO_MEMORY;
}

status tree_set(struct request_parse *parse, json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0 ? STATUS_OK : fail_no_memory(parse);
}

status tree_append(struct request_parse *parse, json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0 ? STATUS_OK : fail_no_memory(parse);
}

json_t *tree_array(struct request_parse *parse, json_t *object, const char *name)
{
    json_t *array = json_object_get(object, name);
    if (array != NULL)
        return array;
    if (tree_set(parse, object, name, json_array()) != STATUS_OK)
        return NULL;
    return json_object_get(object, name);
}

status dialect_fail_type(struct request_parse *parse, const char *path, const json_t *object,
                         const char *known)
{
    const json_t *type = json_object_get(object, "type");
    struct field_path type_path = field_path_of("%s%stype", path, path[0] != '\0' ? "." : "");
    if (!json_is_object(object))
        return field_fail_type(parse->error, path, "an object", object);
    if (type == NULL)
        return field_fail_missing(parse->error, type_path.text);
    if (!json_is_string(type))
        return field_fail_type(parse->error, type_path.text, "a string", type);
    return field_fail(parse->error, type_path.text, "invalid_value",
                      "Invalid value: '%.64s'. Supported values here are: %s.",
                      json_string_value(type), known);
}

status dialect_read_later(struct request_parse *parse, const char *name, json_t *value,
                          json_t *chat)
{
    (void)parse;
    (void)name;
    (void)value;
    (void)chat;
    return STATUS_OK;
}

status dialect_read_ignored(struct request_parse *parse, const char *name, json_t *value,
                            json_t *chat)
{
    (void)value;
    (void)chat;
    return request_field_ignored(parse, name, "unsupported_parameter");
}

status dialect_read_unknown(struct request_parse *parse, const char *name, json_t *value,
                            json_t *chat)
{
    (void)value;
    (void)chat;
    return request_field_ignored(parse, name, "unknown_parameter");
}

static const struct dialect_field *field_find(const struct dialect *dialect, const char *name)
{
    const struct dialect_field *field = dialect->fields;
    while (field->name != NULL && strcmp(field->name, name) != 0)
        field++;
    return field->name != NULL ? field : NULL;
}

static status translate(struct request_parse *parse, const struct dialect *dialect, json_t *body,
                        json_t *chat)
{
    const char *name;
    json_t *value;
    json_object_foreach(body, name, value)
    {
        const struct dialect_field *field = field_find(dialect, name);
        status s = STATUS_OK;
        if (json_is_null(value))
            continue;
        if (field != NULL && field->read != NULL)
            s = field->read(parse, name, value, chat);
        else if (json_object_get(chat, name) == NULL)
            s = tree_set(parse, chat, name, json_incref(value));
        if (s != STATUS_OK)
            return s;
    }
    const json_t *n = json_object_get(chat, "n");
    if (n != NULL && !json_is_null(n) && json_integer_value(n) != 1)
        return field_fail_unsupported(parse->error, "n", "An answer of this API has one choice.");
    return dialect->finish(parse, body, chat);
}

status dialect_translate(struct request_parse *parse, const struct dialect *dialect)
{
    json_t *body = parse->out->body;
    json_t *chat = json_object();
    if (chat == NULL)
        return fail_no_memory(parse);
    parse->aliases = dialect->aliases;
    if (json_is_true(json_object_get(body, "strict")))
        parse->is_strict = true;
    status s = dialect->begin != NULL ? dialect->begin(parse) : STATUS_OK;
    if (s == STATUS_OK)
        s = translate(parse, dialect, body, chat);
    parse->out->body = chat;
    json_decref(body); /* what chat shares of it stays */
    return s;
}
