#include <math.h>

#include "schema.h"

/* What a conjunction without anyOf says: its types, its constants, and a choice of what each type allows. */

struct type_name {
    const char *name;
    uint32_t bits;
};

static const struct type_name type_names[] = {
    {"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
    {"integer", TYPE_INTEGER}, {"number", TYPE_INTEGER | TYPE_FRACTION},
    {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
    {"object", TYPE_OBJECT},   {SCHEMA_FRACTION, TYPE_FRACTION},
};

/* A schema with these keywords and without `type` means these types. */
static const struct type_name telling_keywords[] = {
    {"properties", TYPE_OBJECT},
    {"patternProperties", TYPE_OBJECT},
    {"additionalProperties", TYPE_OBJECT},
    {"propertyNames", TYPE_OBJECT},
    {"required", TYPE_OBJECT},
    {"dependentRequired", TYPE_OBJECT},
    {"dependentSchemas", TYPE_OBJECT},
    {"dependencies", TYPE_OBJECT},
    {"minProperties", TYPE_OBJECT},
    {"maxProperties", TYPE_OBJECT},
    {"items", TYPE_ARRAY},
    {"prefixItems", TYPE_ARRAY},
    {"minItems", TYPE_ARRAY},
    {"maxItems", TYPE_ARRAY},
    {"uniqueItems", TYPE_ARRAY},
    {"contains", TYPE_ARRAY},
    {"minLength", TYPE_STRING},
    {"maxLength", TYPE_STRING},
    {"pattern", TYPE_STRING},
    {"format", TYPE_STRING},
    {"minimum", TYPE_INTEGER | TYPE_FRACTION},
    {"maximum", TYPE_INTEGER | TYPE_FRACTION},
    {"exclusiveMinimum", TYPE_INTEGER | TYPE_FRACTION},
    {"exclusiveMaximum", TYPE_INTEGER | TYPE_FRACTION},
    {"multipleOf", TYPE_INTEGER | TYPE_FRACTION},
};

static uint32_t type_bits(const char *name)
{
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
        if (strcmp(type_names[i].name, name) == 0)
            return type_names[i].bits;
    }
    return 0;
}

const char *schema_type_name(uint32_t bit)
{
    const char *name = NULL;
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
        if (type_names[i].bits == bit)
            name = type_names[i].name;
    }
    return name;
}

uint32_t schema_named_types(const json_t *type)
{
    uint32_t bits = 0;
    if (json_is_string(type))
        return type_bits(json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++)
        bits |= type_bits(json_string_value(json_array_get(type, i)));
    return bits;
}

static uint32_t told_types(const struct conjunction *k)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < k->count; i++) {
        for (size_t j = 0; j < sizeof telling_keywords / sizeof telling_keywords[0]; j++) {
            const json_t *value = json_object_get(k->places[i].schema, telling_keywords[j].name);
            const char *text = json_string_value(value);
            bool is_note = telling_keywords[j].name[0] == 'f' && schema_format_regex(text) == NULL;
            if (value != NULL && !is_note)
                bits |= telling_keywords[j].bits;
        }
    }
    return bits;
}

/* --- keywords for values --- */

const json_t *schema_constant(const json_t *schema, size_t index)
{
    const json_t *constant = json_object_get(schema, "const");
    return constant != NULL ? constant : json_array_get(json_object_get(schema, "enum"), index);
}

size_t schema_constant_count(const json_t *schema)
{
    return json_object_get(schema, "const") != NULL
               ? 1
               : json_array_size(json_object_get(schema, "enum"));
}

const json_t *schema_atom(const json_t *schema)
{
    const json_t *inner = json_object_get(schema, "not");
    if (json_object_size(inner) != 1)
        return NULL;
    bool is_atom = json_is_array(json_object_get(inner, "enum")) ||
                   json_object_get(inner, "const") != NULL ||
                   json_is_string(json_object_get(inner, "pattern"));
    return is_atom ? inner : NULL;
}

bool schema_has_constants(const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (json_object_get(k->places[i].schema, "enum") != NULL ||
            json_object_get(k->places[i].schema, "const") != NULL)
            return true;
    }
    return false;
}

/* --- types --- */

uint32_t schema_declared_types(const struct conjunction *k)
{
    uint32_t bits = TYPE_ALL;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        const json_t *type = json_object_get(schema, "type");
        bool with_null = json_is_true(json_object_get(schema, "nullable"));
        if (type != NULL)
            bits &= schema_named_types(type) | (with_null ? TYPE_NULL : 0);
    }
    return bits;
}

uint32_t schema_types(const struct conjunction *k)
{
    bool is_named = schema_has_constants(k);
    bool is_nullable = false;
    for (uint32_t i = 0; i < k->count; i++) {
        is_named |= json_object_get(k->places[i].schema, "type") != NULL;
        is_nullable |= json_is_true(json_object_get(k->places[i].schema, "nullable"));
    }
    uint32_t told = is_named ? 0 : told_types(k);
    return told == 0 ? schema_declared_types(k) : told | (is_nullable ? TYPE_NULL : 0);
}

uint32_t schema_type_of_value(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return TYPE_OBJECT;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_INTEGER;
    case JSON_REAL:
        return json_real_value(value) == floor(json_real_value(value)) ? TYPE_INTEGER
                                                                       : TYPE_FRACTION;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_NULL:
        break;
    }
    return TYPE_NULL;
}

static bool arrays_equal(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!schema_values_equal(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

static bool objects_equal(const json_t *a, const json_t *b)
{
    const char *key;
    size_t key_bytes;
    json_t *item;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_keylen_foreach((json_t *)(uintptr_t)a, key, key_bytes, item)
    {
        const json_t *other = json_object_getn(b, key, key_bytes);
        if (other == NULL || !schema_values_equal(item, other))
            return false;
    }
    return true;
}

/* Recursion is as deep as the limit of the JSON that was loaded. */
bool schema_values_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_is_integer(a) && json_is_integer(b)
                   ? json_integer_value(a) == json_integer_value(b)
                   : json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a))
        return arrays_equal(a, b);
    return json_is_object(a) ? objects_equal(a, b) : json_equal(a, b) == 1;
}

/* --- constants --- */

static bool is_among(const json_t *value, const json_t *values)
{
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (schema_values_equal(value, json_array_get(values, i)))
            return true;
    }
    return false;
}

/* Is it a constant of the schema? */
static bool is_constant(const json_t *value, const json_t *schema)
{
    for (size_t i = 0; i < schema_constant_count(schema); i++) {
        if (schema_values_equal(value, schema_constant(schema, i)))
            return true;
    }
    return false;
}

/* Keywords that speak of the parts of an object or array: with them a constant would have to be checked whole. */
static const struct place *find_parts(const struct conjunction *k, uint32_t type)
{
    for (uint32_t i = 0; i < k->count; i++) {
        for (size_t j = 0; j < sizeof telling_keywords / sizeof telling_keywords[0]; j++) {
            if ((telling_keywords[j].bits & type) != 0 &&
                json_object_get(k->places[i].schema, telling_keywords[j].name) != NULL)
                return &k->places[i];
        }
    }
    return NULL;
}

static bool string_fits(struct schema *s, const struct conjunction *k, const json_t *value)
{
    const struct automaton *automaton;
    struct text_slice text = {json_string_value(value), json_string_length(value)};
    return schema_string_automaton(s, k, &automaton) &&
           (automaton == NULL || automaton_accepts(s->c, automaton, text));
}

/* Does the value keep `type`, `enum`, `not`, and the keywords for its own kind? Objects and arrays beside keywords for their parts
 * fail the compilation. */
static bool value_fits(struct schema *s, const struct conjunction *k, const json_t *value)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        const json_t *values = json_object_get(schema, "enum");
        const json_t *constant = json_object_get(schema, "const");
        if ((values != NULL && !is_among(value, values)) ||
            (constant != NULL && !schema_values_equal(value, constant)) ||
            is_constant(value, schema_atom(schema)))
            return false;
    }
    uint32_t type = schema_type_of_value(value);
    if ((schema_types(k) & type) == 0)
        return false;
    if (type == TYPE_STRING)
        return string_fits(s, k, value);
    if (json_is_number(value))
        return schema_number_fits(k, json_number_value(value));
    const struct place *place =
        (type & (TYPE_OBJECT | TYPE_ARRAY)) != 0 ? find_parts(k, type) : NULL;
    return place == NULL || schema_fail(s, STATUS_UNSUPPORTED, place, "enum",
                                        "with objects or arrays cannot be kept beside keywords "
                                        "for their parts");
}

json_t *schema_constants(struct schema *s, const struct conjunction *k)
{
    const json_t *source = NULL;
    for (uint32_t i = 0; source == NULL && i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        if (json_object_get(schema, "enum") != NULL || json_object_get(schema, "const") != NULL)
            source = schema;
    }
    if (source == NULL)
        return NULL;
    json_t *constants = json_array();
    for (size_t i = 0; i < schema_constant_count(source); i++) {
        const json_t *value = schema_constant(source, i);
        bool is_new = compile_go_on(s->c, (uint32_t)json_array_size(constants) + 1) &&
                      !is_among(value, constants) && value_fits(s, k, value);
        if (is_new && json_array_append(constants, schema_part(value)) != 0)
            compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
    }
    if (s->c->failed == STATUS_OK)
        return constants;
    json_decref(constants);
    return NULL;
}

static const struct expr *constants_expr(struct schema *s, const struct conjunction *k)
{
    struct expr_list list = {0};
    json_t *constants = schema_constants(s, k);
    for (size_t i = 0; i < json_array_size(constants); i++)
        (void)expr_list_add(s->c, &list, json_literal_expr(s->c, json_array_get(constants, i)));
    json_decref(constants);
    return expr_choice(s->c, list.items, list.count);
}

/* --- the whole --- */

/* The types without those of which `not` excludes a constant that is no scalar and not empty: all of the type go with it. */
static uint32_t without_excluded(struct schema *s, const struct conjunction *k, uint32_t types)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *atom = schema_atom(k->places[i].schema);
        for (size_t j = 0; j < schema_constant_count(atom); j++) {
            const json_t *value = schema_constant(atom, j);
            uint32_t type = schema_type_of_value(value);
            bool has_parts = json_object_size(value) > 0 || json_array_size(value) > 0;
            if (type == TYPE_NULL)
                types &= ~(uint32_t)TYPE_NULL;
            if (!has_parts || (types & type) == 0)
                continue;
            types &= ~type;
            schema_leave_out(s, &k->places[i], "not");
        }
    }
    return types;
}

bool schema_is_excluded(const struct conjunction *k, const json_t *value)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (is_constant(value, schema_atom(k->places[i].schema)))
            return true;
    }
    return false;
}

static const struct expr *boolean_expr(struct schema *s, const struct conjunction *k)
{
    struct compile *c = s->c;
    const struct expr *yes =
        schema_is_excluded(k, json_true()) ? expr_none(c) : expr_word(c, "true");
    const struct expr *no =
        schema_is_excluded(k, json_false()) ? expr_none(c) : expr_word(c, "false");
    return expr_either(c, yes, no);
}

const struct expr *schema_value_expr(struct schema *s, const struct conjunction *k)
{
    struct compile *c = s->c;
    struct expr_list list = {0};
    if (schema_has_constants(k))
        return constants_expr(s, k);
    uint32_t types = without_excluded(s, k, schema_types(k));
    if (types & TYPE_OBJECT)
        (void)expr_list_add(c, &list, schema_object_expr(s, k));
    if (types & TYPE_ARRAY)
        (void)expr_list_add(c, &list, schema_array_expr(s, k));
    if (types & TYPE_STRING)
        (void)expr_list_add(c, &list, schema_string_expr(s, k));
    if (types & (TYPE_INTEGER | TYPE_FRACTION))
        (void)expr_list_add(c, &list,
                            schema_number_expr(s, k, types & (TYPE_INTEGER | TYPE_FRACTION)));
    if (types & TYPE_BOOLEAN)
        (void)expr_list_add(c, &list, boolean_expr(s, k));
    if (types & TYPE_NULL)
        (void)expr_list_add(c, &list, expr_word(c, "null"));
    return expr_choice(c, list.items, list.count);
}
