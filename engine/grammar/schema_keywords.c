#include "schema.h"

#include <math.h>

/* The keywords: which there are, what form their values must have, and which cannot be kept. A keyword that is in no list
 * is an annotation, as the specification says of unknown ones. */

enum form {
    FORM_ANY,
    FORM_BOOLEAN,
    FORM_COUNT,
    FORM_NUMBER,
    FORM_TEXT,
    FORM_LIST,         /* of schemas, not empty */
    FORM_TUPLE,        /* of schemas */
    FORM_VALUES,       /* any list */
    FORM_SCHEMA,       /* object or boolean */
    FORM_SCHEMAS,      /* an object of them */
    FORM_ITEMS,        /* schema or tuple */
    FORM_TYPE,         /* a name or names */
    FORM_BOUND,        /* number, or boolean as in draft 4 */
    FORM_NAMES,        /* a list of strings */
    FORM_NEEDS,        /* an object of lists of strings */
    FORM_DEPENDENCIES, /* an object of those and of schemas */
    FORM_REFUSED,
    FORM_REFUSED_IF_SCHEMA /* false and true have a meaning that can be kept */
};

struct keyword {
    const char *name;
    enum form form;
};

static const struct keyword keywords[] = {
    {"$ref", FORM_TEXT},
    {"type", FORM_TYPE},
    {"nullable", FORM_BOOLEAN},
    {"enum", FORM_VALUES},
    {"const", FORM_ANY},
    {"allOf", FORM_LIST},
    {"anyOf", FORM_LIST},
    {"oneOf", FORM_LIST},
    {"not", FORM_SCHEMA},
    {"if", FORM_SCHEMA},
    {"then", FORM_SCHEMA},
    {"else", FORM_SCHEMA},
    {"properties", FORM_SCHEMAS},
    {"patternProperties", FORM_SCHEMAS},
    {"additionalProperties", FORM_SCHEMA},
    {"propertyNames", FORM_SCHEMA},
    {"required", FORM_NAMES},
    {"dependentRequired", FORM_NEEDS},
    {"dependentSchemas", FORM_SCHEMAS},
    {"dependencies", FORM_DEPENDENCIES},
    {"minProperties", FORM_COUNT},
    {"maxProperties", FORM_COUNT},
    {"items", FORM_ITEMS},
    {"prefixItems", FORM_TUPLE},
    {"additionalItems", FORM_SCHEMA},
    {"minItems", FORM_COUNT},
    {"maxItems", FORM_COUNT},
    {"uniqueItems", FORM_BOOLEAN},
    {"contains", FORM_SCHEMA},
    {"minContains", FORM_COUNT},
    {"maxContains", FORM_COUNT},
    {"minLength", FORM_COUNT},
    {"maxLength", FORM_COUNT},
    {"pattern", FORM_TEXT},
    {"format", FORM_TEXT},
    {"minimum", FORM_NUMBER},
    {"maximum", FORM_NUMBER},
    {"exclusiveMinimum", FORM_BOUND},
    {"exclusiveMaximum", FORM_BOUND},
    {"multipleOf", FORM_NUMBER},
    {"unevaluatedProperties", FORM_REFUSED_IF_SCHEMA},
    {"unevaluatedItems", FORM_REFUSED_IF_SCHEMA},
    {"$dynamicRef", FORM_REFUSED},
    {"$recursiveRef", FORM_REFUSED},
};

static bool all_are(const json_t *array, bool (*test)(const json_t *))
{
    size_t index;
    json_t *item;
    json_array_foreach(array, index, item)
    {
        if (!test(item))
            return false;
    }
    return true;
}

static bool is_schema(const json_t *value)
{
    return json_is_object(value) || json_is_boolean(value);
}

static bool is_type_name(const json_t *value)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object",  SCHEMA_FRACTION};
    for (size_t i = 0; json_is_string(value) && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(json_string_value(value), names[i]) == 0)
            return true;
    }
    return false;
}

static bool is_count(const json_t *value)
{
    if (json_is_integer(value))
        return json_integer_value(value) >= 0;
    double number = json_real_value(value);
    return json_is_real(value) && number >= 0 && number == floor(number);
}

static bool are_schemas(const json_t *value)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        if (!is_schema(item))
            return false;
    }
    return json_is_object(value);
}

static bool is_text(const json_t *value)
{
    return json_is_string(value);
}

static bool are_names(const json_t *value)
{
    return json_is_array(value) && all_are(value, is_text);
}

/* An object of lists of names, or with `with_schemas` of schemas too. */
static bool are_needs(const json_t *value, bool with_schemas)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        if (!are_names(item) && !(with_schemas && is_schema(item)))
            return false;
    }
    return json_is_object(value);
}

/* NULL: the value has the keyword's form; else what it must be. */
static const char *wrong_form(enum form form, const json_t *value)
{
    switch (form) {
    case FORM_BOOLEAN:
        return json_is_boolean(value) ? NULL : "must be a boolean";
    case FORM_COUNT:
        return is_count(value) ? NULL : "must be a whole number, at least 0";
    case FORM_NUMBER:
        return json_is_number(value) ? NULL : "must be a number";
    case FORM_BOUND:
        return json_is_number(value) || json_is_boolean(value) ? NULL : "must be a number";
    case FORM_TEXT:
        return json_is_string(value) ? NULL : "must be a string";
    case FORM_LIST:
        return json_array_size(value) > 0 && all_are(value, is_schema)
                   ? NULL
                   : "must be an array of schemas, and not empty";
    case FORM_TUPLE:
        return json_is_array(value) && all_are(value, is_schema) ? NULL
                                                                 : "must be an array of schemas";
    case FORM_VALUES:
        return json_is_array(value) ? NULL : "must be an array";
    case FORM_SCHEMA:
    case FORM_REFUSED_IF_SCHEMA:
        return is_schema(value) ? NULL : "must be a schema";
    case FORM_SCHEMAS:
        return are_schemas(value) ? NULL : "must be an object of schemas";
    case FORM_ITEMS:
        return is_schema(value) || (json_is_array(value) && all_are(value, is_schema))
                   ? NULL
                   : "must be a schema or an array of schemas";
    case FORM_TYPE:
        return is_type_name(value) || (json_array_size(value) > 0 && all_are(value, is_type_name))
                   ? NULL
                   : "must name a type or types of JSON";
    case FORM_NAMES:
        return are_names(value) ? NULL : "must be an array of strings";
    case FORM_NEEDS:
        return are_needs(value, false) ? NULL : "must be an object of arrays of strings";
    case FORM_DEPENDENCIES:
        return are_needs(value, true) ? NULL : "must be an object of schemas or arrays of strings";
    default:
        return NULL;
    }
}

static bool is_refused(enum form form, const json_t *value)
{
    switch (form) {
    case FORM_REFUSED:
        return true;
    case FORM_REFUSED_IF_SCHEMA:
        return json_object_size(value) > 0;
    default:
        return false;
    }
}

bool schema_check_keywords(struct schema *s, const struct place *place)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        const json_t *value = json_object_get(place->schema, keywords[i].name);
        if (value == NULL)
            continue;
        const char *wrong = wrong_form(keywords[i].form, value);
        if (wrong != NULL)
            return schema_fail(s, STATUS_INVALID, place, keywords[i].name, wrong);
        if (is_refused(keywords[i].form, value))
            return schema_fail(s, STATUS_UNSUPPORTED, place, keywords[i].name, "cannot be kept");
    }
    return true;
}

bool schema_count(struct schema *s, const struct conjunction *k, const char *keyword, bool is_most,
                  uint32_t *out)
{
    (void)s;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *value = json_object_get(k->places[i].schema, keyword);
        if (value == NULL)
            continue;
        double number = json_number_value(value);
        /* A bound beyond this is none for the largest, and too large for any automaton as the least. */
        uint32_t count = number < EXPR_UNBOUNDED - 1 ? (uint32_t)number : EXPR_UNBOUNDED - 1;
        if (is_most ? count < *out : count > *out)
            *out = count;
    }
    return true;
}
