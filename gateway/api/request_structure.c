/* The fields that say what the text of an answer must be like. They are many names of one thing: OpenAI's response_format,
 * vLLM's structured_outputs and its older guided_*, llama.cpp's and SGLang's plain words. Each becomes the one source of a
 * grammar; which languages it may use and how it is compiled is the engine's business. */

#include "request_parse.h"

#include <string.h>

/* How the JSON of a schema is written where a string is wanted; the compact form is the key of the grammars' cache. */
static status copy_text(struct request_parse *parse, struct text_slice text, struct text_slice *out)
{
    char *copy = request_allocate(parse, text.bytes + 1, 1);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    if (text.bytes > 0)
        memcpy(copy, text.data, text.bytes);
    *out = (struct text_slice){copy, text.bytes};
    return STATUS_OK;
}

/* Of fields that say what the text must be, one may be there. */
static status start(struct request_parse *parse, const char *name, enum grammar_kind kind)
{
    struct api_completion_request *out = parse->out;
    if (out->grammar_field != NULL)
        return field_fail(parse->error, name, "invalid_value",
                          "Invalid '%s': '%s' says already what the text must be; only one of them "
                          "is allowed.",
                          name, out->grammar_field);
    struct text_slice copy;
    status s = copy_text(parse, text_slice_of(name), &copy);
    if (s != STATUS_OK)
        return s;
    out->grammar_field = copy.data;
    out->grammar.kind = kind;
    return STATUS_OK;
}

static status read_pattern(struct request_parse *parse, const char *name, const json_t *value,
                           enum grammar_kind kind)
{
    struct text_slice text;
    status s = field_read_text(value, name, parse->limits->grammar_bytes_max, &text, parse->error);
    if (s == STATUS_OK)
        s = start(parse, name, kind);
    return s == STATUS_OK ? copy_text(parse, text, &parse->out->grammar.text) : s;
}

/* A schema: JSON, or a string that holds it. */
static status read_schema(struct request_parse *parse, const char *name, const json_t *value)
{
    if (json_is_string(value))
        return read_pattern(parse, name, value, GRAMMAR_JSON_SCHEMA);
    if (!json_is_object(value) && !json_is_boolean(value))
        return field_fail_type(parse->error, name, "a JSON schema", value);
    status s = start(parse, name, GRAMMAR_JSON_SCHEMA);
    if (s != STATUS_OK)
        return s;
    struct buffer text;
    buffer_init(&text, parse->limits->grammar_bytes_max);
    json_write_value(&text, value);
    if (text.failed == STATUS_TOO_LARGE)
        s = field_fail(parse->error, name, "string_above_max_length",
                       "Invalid '%s': a schema may have at most %llu bytes.", name,
                       (unsigned long long)parse->limits->grammar_bytes_max);
    else if (text.failed != STATUS_OK)
        api_error_from_status(parse->error, s = text.failed, NULL);
    else
        s = copy_text(parse, buffer_slice(&text), &parse->out->grammar.text);
    buffer_deinit(&text);
    return s;
}

static status read_choices(struct request_parse *parse, const char *name, const json_t *value)
{
    status s = field_check_array(value, name, 1, API_GRAMMAR_CHOICES_MAX, parse->error);
    if (s == STATUS_OK)
        s = start(parse, name, GRAMMAR_CHOICE);
    if (s != STATUS_OK)
        return s;
    size_t count = json_array_size(value);
    struct text_slice *choices = request_allocate(parse, count, sizeof *choices);
    if (choices == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        struct field_path path = field_path_of("%s[%zu]", name, i);
        struct text_slice text;
        s = field_read_text(json_array_get(value, i), path.text, parse->limits->grammar_bytes_max,
                            &text, parse->error);
        if (s == STATUS_OK)
            s = copy_text(parse, text, &choices[i]);
    }
    parse->out->grammar.choices = choices;
    parse->out->grammar.choice_count = (uint32_t)count;
    return s;
}

static status read_any_object(struct request_parse *parse, const char *name, const json_t *value)
{
    bool is_wanted = false;
    status s = field_read_bool(value, name, &is_wanted, parse->error);
    return s == STATUS_OK && is_wanted ? start(parse, name, GRAMMAR_JSON_OBJECT) : s;
}

static status read_whitespace(struct request_parse *parse, const char *name, const json_t *value)
{
    struct text_slice text;
    status s = field_read_text(value, name, API_TEXT_BYTES_MAX, &text, parse->error);
    return s == STATUS_OK ? copy_text(parse, text, &parse->out->grammar.whitespace) : s;
}

/* True: nothing between JSON's signs. */
static status read_no_whitespace(struct request_parse *parse, const char *name, const json_t *value)
{
    bool is_wanted = false;
    status s = field_read_bool(value, name, &is_wanted, parse->error);
    if (s == STATUS_OK && is_wanted)
        s = copy_text(parse, (struct text_slice){"", 0}, &parse->out->grammar.whitespace);
    return s;
}

static status read_regex(struct request_parse *parse, const char *name, const json_t *value)
{
    return read_pattern(parse, name, value, GRAMMAR_REGEX);
}

static status read_ebnf(struct request_parse *parse, const char *name, const json_t *value)
{
    return read_pattern(parse, name, value, GRAMMAR_EBNF);
}

/* One language, by the name it has inside structured_outputs or behind "guided_". */
struct language {
    const char *name;
    status (*read)(struct request_parse *parse, const char *name, const json_t *value);
    const char *schema; /* of the value (schema_text.h) */
};

static const struct language languages[] = {
    {"json", read_schema, "object|boolean|string"},
    {"regex", read_regex, "string"},
    {"choice", read_choices, "[string]"},
    {"grammar", read_ebnf, "string"},
    {"json_object", read_any_object, "boolean"},
    {"whitespace_pattern", read_whitespace, "string"},
    {"disable_any_whitespace", read_no_whitespace, "boolean"},
    /* what other servers call them at the top of the body */
    {"json_schema", read_schema, "object|boolean|string"},
    {"ebnf", read_ebnf, "string"},
};

static const struct language *find_language(const char *name)
{
    for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++) {
        if (strcmp(languages[i].name, name) == 0)
            return &languages[i];
    }
    return NULL;
}

static const struct language *language_of(const struct request_field *field)
{
    static const char prefix[] = "guided_";
    bool is_guided = strncmp(field->name, prefix, sizeof prefix - 1) == 0;
    return find_language(is_guided ? field->name + sizeof prefix - 1 : field->name);
}

status request_read_language(struct request_parse *parse, const struct request_field *field,
                             json_t *value)
{
    return language_of(field)->read(parse, field->name, value);
}

const char *request_language_schema(const struct request_field *field)
{
    return language_of(field)->schema;
}

status request_read_structured_outputs(struct request_parse *parse,
                                       const struct request_field *field, json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    const char *name;
    json_t *item;
    json_object_foreach(value, name, item)
    {
        struct field_path path = field_path_of("%s.%s", field->name, name);
        const struct language *language = find_language(name);
        status s = STATUS_OK;
        if (json_is_null(item))
            continue;
        if (strcmp(name, "structural_tag") == 0)
            return field_fail_unsupported(parse->error, path.text,
                                          "Describe the text by 'grammar' or 'json'.");
        if (language != NULL)
            s = language->read(parse, path.text, item);
        else if (!json_is_false(item))
            s = request_field_ignored(parse, path.text, "unknown_parameter");
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* {"name", "description", "strict", "schema"}: whether or not it is strict, the schema is kept. */
static status read_named_schema(struct request_parse *parse, const json_t *value)
{
    static const char path[] = "response_format.json_schema";
    if (value == NULL)
        return field_fail_missing(parse->error, path);
    if (!json_is_object(value))
        return field_fail_type(parse->error, path, "an object", value);
    const json_t *name = json_object_get(value, "name");
    const json_t *strict = json_object_get(value, "strict");
    const json_t *schema = json_object_get(value, "schema");
    struct text_slice text;
    bool is_strict;
    status s = STATUS_OK;
    if (name == NULL)
        return field_fail_missing(parse->error, "response_format.json_schema.name");
    s = field_read_text(name, "response_format.json_schema.name", API_TEXT_BYTES_MAX, &text,
                        parse->error);
    if (s == STATUS_OK && strict != NULL && !json_is_null(strict))
        s = field_read_bool(strict, "response_format.json_schema.strict", &is_strict, parse->error);
    if (s != STATUS_OK)
        return s;
    if (schema == NULL || json_is_null(schema))
        return start(parse, "response_format", GRAMMAR_JSON_OBJECT);
    return read_schema(parse, "response_format.json_schema.schema", schema);
}

status request_read_response_format(struct request_parse *parse, const struct request_field *field,
                                    json_t *value)
{
    if (!json_is_object(value))
        return field_fail_type(parse->error, field->name, "an object", value);
    const json_t *type = json_object_get(value, "type");
    if (type == NULL)
        return field_fail_missing(parse->error, "response_format.type");
    if (!json_is_string(type))
        return field_fail_type(parse->error, "response_format.type", "a string", type);
    const char *name = json_string_value(type);
    if (strcmp(name, "text") == 0)
        return STATUS_OK;
    if (strcmp(name, "json_schema") == 0)
        return read_named_schema(parse, json_object_get(value, "json_schema"));
    const json_t *schema = json_object_get(value, "schema");
    if (strcmp(name, "json_object") == 0 && schema != NULL && !json_is_null(schema))
        return read_schema(parse, "response_format.schema", schema);
    if (strcmp(name, "json_object") == 0)
        return start(parse, field->name, GRAMMAR_JSON_OBJECT);
    return field_fail(parse->error, "response_format.type", "invalid_value",
                      "Invalid value: '%.64s'. Supported values are: 'text', 'json_object' and "
                      "'json_schema'.",
                      name);
}
