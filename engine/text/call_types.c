#include "call_types.h"

#include <string.h>

#include "memory.h"

static bool slices_are_equal(struct text_slice a, struct text_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static const json_t *function_of(const json_t *tool)
{
    const json_t *function = json_object_get(tool, "function");
    return json_is_object(function) ? function : tool;
}

static json_t *properties_of(const json_t *tool)
{
    return json_object_get(json_object_get(function_of(tool), "parameters"), "properties");
}

/* {"type": "string"}, or an enum of strings. */
static bool schema_is_text(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type))
        return strcmp(json_string_value(type), "string") == 0;
    const json_t *values = json_object_get(schema, "enum");
    size_t index;
    json_t *value;
    json_array_foreach(values, index, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return type == NULL && json_array_size(values) > 0;
}

/* Texts are kept by offset until the buffer no longer moves. */
static struct text_slice keep(struct call_types *types, const char *text)
{
    struct text_slice kept = {(const char *)types->texts.bytes, strlen(text)};
    buffer_append_text(&types->texts, text);
    return kept;
}

static void add_tool(struct call_types *types, const json_t *tool)
{
    const char *name = json_string_value(json_object_get(function_of(tool), "name"));
    if (name == NULL)
        return;
    struct text_slice kept = keep(types, name);
    types->types[types->count++] = (struct call_type){.tool = kept};
    const char *key;
    json_t *schema;
    json_object_foreach(properties_of(tool), key, schema)
    {
        types->types[types->count++] =
            (struct call_type){kept, keep(types, key), schema_is_text(schema)};
    }
}

status call_types_init(struct call_types *types, const json_t *tools)
{
    *types = (struct call_types){.count = 0};
    buffer_init(&types->texts, SIZE_MAX / 2);
    size_t count = 0, index;
    json_t *tool;
    json_array_foreach(tools, index, tool) count += 1 + json_object_size(properties_of(tool));
    if (count == 0)
        return STATUS_OK;
    types->types = memory_allocate_array(count, sizeof *types->types);
    if (types->types == NULL)
        return STATUS_NO_MEMORY;
    json_array_foreach(tools, index, tool) add_tool(types, tool);
    for (size_t i = 0; i < types->count; i++) {
        struct call_type *type = &types->types[i];
        type->tool.data = types->texts.data + (size_t)type->tool.data;
        type->argument.data = types->texts.data + (size_t)type->argument.data;
    }
    return types->texts.failed;
}

void call_types_deinit(struct call_types *types)
{
    buffer_deinit(&types->texts);
    memory_release(types->types);
    types->types = NULL;
    types->count = 0;
}

bool call_types_has_tools(const struct call_types *types)
{
    return types->count > 0;
}

static const struct call_type *find(const struct call_types *types, struct text_slice tool,
                                    struct text_slice argument)
{
    for (size_t i = 0; i < types->count; i++) {
        const struct call_type *type = &types->types[i];
        if (slices_are_equal(type->tool, tool) && slices_are_equal(type->argument, argument))
            return type;
    }
    return NULL;
}

bool call_types_has_tool(const struct call_types *types, struct text_slice tool)
{
    return find(types, tool, (struct text_slice){NULL, 0}) != NULL;
}

/* The JSON that an untyped word means, or NULL. */
static const char *python_constant(struct text_slice value)
{
    static const struct {
        const char *python, *json;
    } constants[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (slices_are_equal(value,
                             (struct text_slice){constants[i].python, strlen(constants[i].python)}))
            return constants[i].json;
    }
    return NULL;
}

static bool is_json(struct text_slice value)
{
    static const struct json_limits limits = {.depth_max = 64, .value_count_max = 100000};
    json_t *tree = NULL;
    struct error_note note;
    bool is_value = json_load_limited(value, &limits, &tree, &note) == STATUS_OK;
    json_decref(tree);
    return is_value;
}

void call_types_write_value(const struct call_types *types, struct text_slice tool,
                            struct text_slice argument, struct text_slice value, struct buffer *out)
{
    const struct call_type *type = find(types, tool, argument);
    const char *constant = python_constant(value);
    if ((type != NULL && type->is_text) || (constant == NULL && !is_json(value)))
        json_write_string(out, value);
    else if (constant != NULL)
        buffer_append_text(out, constant);
    else
        buffer_append_slice(out, value);
}
