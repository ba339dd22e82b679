#include "call_types.h"

#include <string.h>

#include "memory.h"
#include "python_literal.h"

static const json_t *function_of(const json_t *tool)
{
    const json_t *function = json_object_get(tool, "function");
    return json_is_object(function) ? function : tool;
}

static json_t *properties_of(const json_t *tool)
{
    return json_object_get(json_object_get(function_of(tool), "parameters"), "properties");
}

/* What a schema allows, as far as it matters here. */
struct allowed {
    bool text, null, other;
};

static void allow_type(const json_t *type, struct allowed *allowed)
{
    const char *name = json_string_value(type);
    bool is_text = name != NULL && strcmp(name, "string") == 0;
    bool is_null = name != NULL && strcmp(name, "null") == 0;
    allowed->text = allowed->text || is_text;
    allowed->null = allowed->null || is_null;
    allowed->other = allowed->other || (!is_text && !is_null);
}

static void allow_value(const json_t *value, struct allowed *allowed)
{
    allowed->text = allowed->text || json_is_string(value);
    allowed->null = allowed->null || json_is_null(value);
    allowed->other = allowed->other || (!json_is_string(value) && !json_is_null(value));
}

/* Alternatives inside alternatives are looked at as deep as this. */
#define ALTERNATIVES_DEPTH_MAX 4u

static void allow_schema(const json_t *schema, unsigned depth, struct allowed *allowed)
{
    const json_t *type = json_object_get(schema, "type");
    const json_t *values = json_object_get(schema, "enum");
    const json_t *branches = json_object_get(schema, "anyOf");
    if (branches == NULL)
        branches = json_object_get(schema, "oneOf");
    size_t index;
    const json_t *item;
    if (json_is_array(type))
        json_array_foreach(type, index, item) allow_type(item, allowed);
    else if (type != NULL)
        allow_type(type, allowed);
    else if (json_is_array(branches) && depth < ALTERNATIVES_DEPTH_MAX)
        json_array_foreach(branches, index, item) allow_schema(item, depth + 1, allowed);
    else if (json_is_array(values))
        json_array_foreach(values, index, item) allow_value(item, allowed);
    else
        allowed->other = true;
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
        struct allowed allowed = {0};
        allow_schema(schema, 0, &allowed);
        types->types[types->count++] = (struct call_type){
            kept, keep(types, key), allowed.text && !allowed.other, allowed.null};
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
        if (text_slice_equals(type->tool, tool) && text_slice_equals(type->argument, argument))
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
    } constants[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (text_slice_equals(
                value, (struct text_slice){constants[i].python, strlen(constants[i].python)}))
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

static void put_json(void *context, const char *json, size_t bytes)
{
    buffer_append(context, json, bytes);
}

/* A list, tuple or dict of Python; false: it is none. */
static bool write_python(struct text_slice value, struct buffer *out)
{
    size_t before = out->bytes;
    struct python_literal literal = {.put = put_json, .context = out};
    if (value.bytes == 0 || strchr("[({", value.data[0]) == NULL)
        return false;
    python_literal_start(&literal);
    enum python_step step = PYTHON_MORE;
    for (size_t i = 0; i < value.bytes && step == PYTHON_MORE; i++)
        step = python_literal_step(&literal, value.data[i]);
    if (step == PYTHON_MORE && python_literal_finish(&literal))
        return true;
    out->bytes = before;
    return false;
}

void call_types_write_value(const struct call_types *types, struct text_slice tool,
                            struct text_slice argument, struct text_slice value, struct buffer *out)
{
    const struct call_type *type = find(types, tool, argument);
    const char *constant = python_constant(value);
    bool is_null = constant != NULL && strcmp(constant, "null") == 0;
    bool is_text = type != NULL && type->is_text && !(is_null && type->is_nullable);
    if (constant != NULL && !is_text)
        buffer_append_text(out, constant);
    else if (!is_text && is_json(value))
        buffer_append_slice(out, value);
    else if (is_text || type == NULL || !write_python(value, out))
        json_write_string(out, value);
}
