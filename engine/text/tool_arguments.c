#include "tool_arguments.h"

#include <stdio.h>
#include <string.h>

#include "tool_text.h"

/* Nesting of Python's values that keeps a schema; deeper ones are any value. */
#define DEPTH_MAX 8u

#define PYTHON_STRING "\"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\nrt])* \"\\\"\""

static const char *text_of(const json_t *schema, const char *member)
{
    return json_string_value(json_object_get(schema, member));
}

static bool is_type(const json_t *schema, const char *type)
{
    const char *text = text_of(schema, "type");
    return text != NULL && strcmp(text, type) == 0;
}

static bool is_required(const json_t *schema, const char *name)
{
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(schema, "required"), index, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

/* Nothing is said of the arguments. */
static bool has_any(const json_t *schema, bool is_loose)
{
    return is_loose || (schema != NULL && !json_is_object(json_object_get(schema, "properties")) &&
                        !json_is_false(json_object_get(schema, "additionalProperties")));
}

/* --- JSON --- */

static void write_schema(struct buffer *out, json_t *schema)
{
    buffer_append_text(out, "%json");
    if (schema == NULL)
        out->failed = out->failed == STATUS_OK ? STATUS_NO_MEMORY : out->failed;
    else
        json_write_value(out, schema);
    json_decref(schema);
}

static void write_object(struct buffer *out, const json_t *schema, bool is_loose)
{
    json_t *copy = is_loose         ? json_pack("{s:s}", "type", "object")
                   : schema == NULL ? json_pack("{s:s, s:{}, s:b}", "type", "object", "properties",
                                                "additionalProperties", 0)
                                    : json_copy((json_t *)schema);
    if (copy != NULL && json_object_get(copy, "type") == NULL &&
        json_object_set_new(copy, "type", json_string("object")) != 0) {
        json_decref(copy);
        copy = NULL;
    }
    write_schema(out, copy);
}

/* A schema inside another, which still finds what it refers to. */
static void write_inner(struct buffer *out, const json_t *inner, const json_t *root)
{
    static const char *const shared[] = {"$defs", "definitions"};
    json_t *copy = json_is_object(inner) ? json_copy((json_t *)inner) : json_object();
    for (size_t i = 0; i < 2 && copy != NULL; i++) {
        json_t *definitions = json_object_get(root, shared[i]);
        if (definitions != NULL && json_object_get(copy, shared[i]) == NULL &&
            json_object_set(copy, shared[i], definitions) != 0) {
            json_decref(copy);
            copy = NULL;
        }
    }
    write_schema(out, copy);
}

/* --- Python --- */

/* The JSON of a value, or of a string, as a literal. */
static void write_literal_json(struct buffer *out, const json_t *value, const char *string)
{
    struct buffer text;
    buffer_init(&text, out->bytes_max);
    if (value != NULL)
        json_write_value(&text, value);
    else
        json_write_text(&text, string);
    if (text.failed != STATUS_OK)
        out->failed = text.failed;
    else
        tool_literal_write(out, buffer_slice(&text));
    buffer_deinit(&text);
}

static void write_python_constant(struct buffer *out, const json_t *value)
{
    if (json_is_boolean(value))
        buffer_append_text(out, json_is_true(value) ? "\"True\"" : "\"False\"");
    else if (json_is_null(value))
        buffer_append_text(out, "\"None\"");
    else
        write_literal_json(out, value, NULL);
}

static void write_python(struct buffer *out, const char *rule, const json_t *schema,
                         unsigned depth);

/* a=1, b=2 or "a": 1, "b": 2: in order, those that are not required may be left out. A separator goes before each but the first
 * that is there, so each may be the first as long as all before it are left out. */
static void write_python_members(struct buffer *out, const char *rule, const json_t *schema,
                                 bool is_object, unsigned depth)
{
    const json_t *properties = json_object_get(schema, "properties");
    size_t count = json_object_size(properties);
    bool may_be_empty = true;
    buffer_append_byte(out, '(');
    for (size_t first = 0; first < count && may_be_empty; first++) {
        size_t place = 0;
        const char *name;
        json_t *value;
        buffer_append_text(out, first > 0 ? " | " : "");
        json_object_foreach((json_t *)properties, name, value)
        {
            size_t at = place++;
            bool is_optional = at > first && !is_required(schema, name);
            if (at < first)
                continue;
            if (at == first)
                may_be_empty = !is_required(schema, name);
            buffer_append_text(out, at > first ? " (\", \" " : " (");
            if (is_object)
                write_literal_json(out, NULL, name);
            else
                tool_literal_write(out, text_slice_of(name));
            buffer_append_text(out, is_object ? " \": \" " : " \"=\" ");
            write_python(out, rule, value, depth + 1);
            buffer_append_text(out, is_optional ? ")?" : ")");
        }
    }
    if (may_be_empty)
        buffer_append_text(out, count > 0 ? " | \"\"" : "\"\"");
    buffer_append_byte(out, ')');
}

static bool has_constants(struct buffer *out, const json_t *schema)
{
    const json_t *constant = json_object_get(schema, "const");
    const json_t *words = json_object_get(schema, "enum");
    if (constant != NULL) {
        write_python_constant(out, constant);
        return true;
    }
    if (!json_is_array(words) || json_array_size(words) == 0)
        return false;
    size_t index;
    json_t *word;
    buffer_append_byte(out, '(');
    json_array_foreach(words, index, word)
    {
        buffer_append_text(out, index > 0 ? " | " : "");
        write_python_constant(out, word);
    }
    buffer_append_byte(out, ')');
    return true;
}

static bool is_bounded(const json_t *schema)
{
    static const char *const keywords[] = {"pattern", "format", "minLength", "maxLength"};
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (json_object_get(schema, keywords[i]) != NULL)
            return true;
    }
    return false;
}

/* An expression for a value. */
static void write_python(struct buffer *out, const char *rule, const json_t *schema, unsigned depth)
{
    const json_t *items = json_object_get(schema, "items");
    if (has_constants(out, schema))
        return;
    if (is_type(schema, "boolean")) {
        buffer_append_text(out, "(\"True\" | \"False\")");
    } else if (is_type(schema, "null")) {
        buffer_append_text(out, "\"None\"");
    } else if (is_type(schema, "integer") || is_type(schema, "number") ||
               (is_type(schema, "string") && is_bounded(schema))) {
        write_inner(out, schema, NULL);
    } else if (is_type(schema, "string")) {
        buffer_append_format(out, "%s-string", rule);
    } else if (is_type(schema, "array") && depth < DEPTH_MAX) {
        buffer_append_text(out, "\"[\" (");
        write_python(out, rule, items, depth + 1);
        buffer_append_text(out, " (\", \" ");
        write_python(out, rule, items, depth + 1);
        buffer_append_text(out, ")*)? \"]\"");
    } else if (is_type(schema, "object") && depth < DEPTH_MAX &&
               json_is_object(json_object_get(schema, "properties"))) {
        buffer_append_text(out, "\"{\" ");
        write_python_members(out, rule, schema, true, depth);
        buffer_append_text(out, " \"}\"");
    } else {
        buffer_append_format(out, "%s-any", rule);
    }
}

static void write_python_rules(struct buffer *out, const char *rule, const json_t *schema,
                               bool is_loose)
{
    buffer_append_format(out, "%s-string ::= " PYTHON_STRING "\n", rule);
    buffer_append_format(
        out,
        "%s-any ::= %s-string | \"-\"? [0-9]{1,20} (\".\" [0-9]{1,20})? | \"True\" | \"False\" | "
        "\"None\" | \"[\" (%s-any (\", \" %s-any)*)? \"]\" | \"{\" (%s-string \": \" %s-any "
        "(\", \" %s-string \": \" %s-any)*)? \"}\"\n",
        rule, rule, rule, rule, rule, rule, rule, rule);
    buffer_append_format(out, "%s-pair ::= [a-zA-Z_] [a-zA-Z0-9_]{0,63} \"=\" %s-any\n", rule,
                         rule);
    buffer_append_format(out, "%s ::= ", rule);
    if (has_any(schema, is_loose))
        buffer_append_format(out, "(%s-pair (\", \" %s-pair)*)?", rule, rule);
    else
        write_python_members(out, rule, schema, false, 0);
    buffer_append_byte(out, '\n');
}

/* --- tags --- */

struct tag_frame {
    const char *before, *between, *end; /* the name; its value ends with the mark `end` */
};

static const struct tag_frame tag_frames[] = {
    [TOOL_ARGUMENTS_QWEN] = {"<parameter=", ">\n", "\n</parameter>"},
    [TOOL_ARGUMENTS_GLM] = {"<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>"},
};

static bool is_text(const json_t *schema)
{
    const json_t *words = json_object_get(schema, "enum");
    size_t index;
    json_t *word;
    if (!json_is_array(words))
        return is_type(schema, "string");
    json_array_foreach(words, index, word)
    {
        if (!json_is_string(word))
            return false;
    }
    return is_type(schema, "string");
}

static void write_words(struct buffer *out, const json_t *words, const char *end)
{
    size_t index;
    json_t *word;
    buffer_append_byte(out, '(');
    json_array_foreach(words, index, word)
    {
        buffer_append_text(out, index > 0 ? " | " : "");
        tool_literal_write(out,
                           (struct text_slice){json_string_value(word), json_string_length(word)});
    }
    buffer_append_text(out, ") ");
    tool_literal_write(out, text_slice_of(end));
}

/* One argument, a line break behind it. Strings stand without quotes. */
static void write_tag(struct buffer *out, const struct tag_frame *frame, const char *rule,
                      const char *name, const json_t *schema, const json_t *root)
{
    tool_literal_write(out, text_slice_of(frame->before));
    buffer_append_byte(out, ' ');
    tool_literal_write(out, text_slice_of(name));
    buffer_append_byte(out, ' ');
    tool_literal_write(out, text_slice_of(frame->between));
    buffer_append_byte(out, ' ');
    if (is_text(schema) && json_object_get(schema, "enum") != NULL) {
        write_words(out, json_object_get(schema, "enum"), frame->end);
    } else if (is_text(schema)) {
        buffer_append_format(out, "%s-text", rule);
    } else {
        write_inner(out, schema, root);
        buffer_append_byte(out, ' ');
        tool_literal_write(out, text_slice_of(frame->end));
    }
    buffer_append_text(out, " \"\\n\"");
}

static void write_tag_rules(struct buffer *out, const struct tag_frame *frame, const char *rule,
                            const json_t *schema, bool is_loose)
{
    char text_rule[64];
    const char *name;
    json_t *value;
    snprintf(text_rule, sizeof text_rule, "%s-text", rule);
    tool_text_write(out, text_rule, frame->end);
    buffer_append_format(out, "%s ::= ", rule);
    if (has_any(schema, is_loose)) {
        buffer_append_byte(out, '(');
        tool_literal_write(out, text_slice_of(frame->before));
        buffer_append_text(out, " [a-zA-Z_] [a-zA-Z0-9_]{0,63} ");
        tool_literal_write(out, text_slice_of(frame->between));
        buffer_append_format(out, " %s \"\\n\")*\n", text_rule);
        return;
    }
    json_object_foreach(json_object_get(schema, "properties"), name, value)
    {
        buffer_append_text(out, " (");
        write_tag(out, frame, rule, name, value, schema);
        buffer_append_text(out, is_required(schema, name) ? ")" : ")?");
    }
    buffer_append_text(out, " \"\"\n");
}

void tool_arguments_write(struct buffer *out, enum tool_arguments kind, const char *rule,
                          const json_t *schema, bool is_loose)
{
    if (json_is_null(schema))
        schema = NULL;
    switch (kind) {
    case TOOL_ARGUMENTS_JSON:
        buffer_append_format(out, "%s ::= ", rule);
        write_object(out, schema, is_loose);
        buffer_append_byte(out, '\n');
        return;
    case TOOL_ARGUMENTS_PYTHON:
        write_python_rules(out, rule, schema, is_loose);
        return;
    case TOOL_ARGUMENTS_QWEN:
    case TOOL_ARGUMENTS_GLM:
        write_tag_rules(out, &tag_frames[kind], rule, schema, is_loose);
        return;
    }
}
