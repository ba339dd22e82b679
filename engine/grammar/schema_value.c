#include <math.h>

#include "schema.h"

/* What a conjunction without anyOf and oneOf says: its types, its constants, and a choice of what each type allows. */

struct type_name {
    const char *name;
    uint32_t bits;
};

static const struct type_name type_names[] = {
    {"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
    {"integer", TYPE_INTEGER}, {"number", TYPE_INTEGER | TYPE_FRACTION},
    {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
    {"object", TYPE_OBJECT},
};

/* A schema with these keywords and without `type` means these types. */
static const struct type_name telling_keywords[] = {
    {"properties", TYPE_OBJECT},
    {"patternProperties", TYPE_OBJECT},
    {"additionalProperties", TYPE_OBJECT},
    {"propertyNames", TYPE_OBJECT},
    {"required", TYPE_OBJECT},
    {"minProperties", TYPE_OBJECT},
    {"maxProperties", TYPE_OBJECT},
    {"items", TYPE_ARRAY},
    {"prefixItems", TYPE_ARRAY},
    {"minItems", TYPE_ARRAY},
    {"maxItems", TYPE_ARRAY},
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

static uint32_t named_types(const json_t *type)
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

static bool has_constants(const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (json_object_get(k->places[i].schema, "enum") != NULL ||
            json_object_get(k->places[i].schema, "const") != NULL)
            return true;
    }
    return false;
}

uint32_t schema_types(const struct conjunction *k)
{
    uint32_t bits = TYPE_ALL;
    bool is_named = false;
    bool is_nullable = false;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        const json_t *type = json_object_get(schema, "type");
        bool with_null = json_is_true(json_object_get(schema, "nullable"));
        is_nullable |= with_null;
        if (type == NULL)
            continue;
        is_named = true;
        bits &= named_types(type) | (with_null ? TYPE_NULL : 0);
    }
    uint32_t told = is_named || has_constants(k) ? 0 : told_types(k);
    return told == 0 ? bits : told | (is_nullable ? TYPE_NULL : 0);
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

bool schema_value_fits(struct schema *s, const struct conjunction *k, const json_t *value)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *values = json_object_get(k->places[i].schema, "enum");
        const json_t *constant = json_object_get(k->places[i].schema, "const");
        if ((values != NULL && !is_among(value, values)) ||
            (constant != NULL && !schema_values_equal(value, constant)))
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

/* The constants of one place that fit all. */
static const struct expr *constants_expr(struct schema *s, const struct conjunction *k)
{
    struct expr_list list = {0};
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *values = json_object_get(k->places[i].schema, "enum");
        const json_t *constant = json_object_get(k->places[i].schema, "const");
        if (values == NULL && constant == NULL)
            continue;
        size_t count = constant != NULL ? 1 : json_array_size(values);
        for (size_t j = 0; j < count; j++) {
            const json_t *value = constant != NULL ? constant : json_array_get(values, j);
            if (schema_value_fits(s, k, value) &&
                !expr_list_add(s->c, &list, json_literal_expr(s->c, value)))
                return NULL;
        }
        break;
    }
    return expr_choice(s->c, list.items, list.count);
}

const struct expr *schema_value_expr(struct schema *s, const struct conjunction *k)
{
    struct compile *c = s->c;
    struct expr_list list = {0};
    uint32_t types = schema_types(k);
    if (has_constants(k))
        return constants_expr(s, k);
    if (types & TYPE_OBJECT)
        (void)expr_list_add(c, &list, schema_object_expr(s, k));
    if (types & TYPE_ARRAY)
        (void)expr_list_add(c, &list, schema_array_expr(s, k));
    if (types & TYPE_STRING)
        (void)expr_list_add(c, &list, schema_string_expr(s, k));
    if (types & (TYPE_INTEGER | TYPE_FRACTION))
        (void)expr_list_add(c, &list, schema_number_expr(s, k, (types & TYPE_FRACTION) == 0));
    if (types & TYPE_BOOLEAN)
        (void)expr_list_add(c, &list, expr_either(c, expr_word(c, "true"), expr_word(c, "false")));
    if (types & TYPE_NULL)
        (void)expr_list_add(c, &list, expr_word(c, "null"));
    return expr_choice(c, list.items, list.count);
}

/* --- oneOf --- */

/* What a branch shows from outside: itself and what $ref and allOf bring in. False: failed. */
static bool open_branch(struct schema *s, const json_t *branch, struct conjunction *out)
{
    struct place_list list = {0};
    if (!place_list_add(s, &list, branch, "oneOf"))
        return false;
    *out = (struct conjunction){.places = list.items, .count = list.count};
    return true;
}

/* The constants that a conjunction names; NULL: none. */
static const json_t *constants_of(const struct conjunction *k, bool *is_single)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *constant = json_object_get(k->places[i].schema, "const");
        const json_t *values = json_object_get(k->places[i].schema, "enum");
        *is_single = constant != NULL;
        if (constant != NULL || values != NULL)
            return constant != NULL ? constant : values;
    }
    return NULL;
}

static bool constants_exclude(const struct conjunction *a, const struct conjunction *b)
{
    bool is_a_single;
    bool is_b_single;
    const json_t *x = constants_of(a, &is_a_single);
    const json_t *y = constants_of(b, &is_b_single);
    if (x == NULL || y == NULL)
        return false;
    for (size_t i = 0; i < (is_a_single ? 1 : json_array_size(x)); i++) {
        for (size_t j = 0; j < (is_b_single ? 1 : json_array_size(y)); j++) {
            if (schema_values_equal(is_a_single ? x : json_array_get(x, i),
                                    is_b_single ? y : json_array_get(y, j)))
                return false;
        }
    }
    return true;
}

static bool is_required(const struct conjunction *k, const char *name)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *required = json_object_get(k->places[i].schema, "required");
        for (size_t j = 0; j < json_array_size(required); j++) {
            if (strcmp(json_string_value(json_array_get(required, j)), name) == 0)
                return true;
        }
    }
    return false;
}

/* Both require a property for which they have constants that differ. */
static bool properties_exclude(struct schema *s, const struct conjunction *a,
                               const struct conjunction *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const char *name;
        json_t *mine;
        json_t *properties = json_object_get(a->places[i].schema, "properties");
        json_object_foreach(properties, name, mine)
        {
            if (!is_required(a, name) || !is_required(b, name))
                continue;
            for (uint32_t j = 0; j < b->count; j++) {
                const json_t *theirs =
                    json_object_get(json_object_get(b->places[j].schema, "properties"), name);
                struct conjunction x;
                struct conjunction y;
                if (theirs != NULL && open_branch(s, mine, &x) && open_branch(s, theirs, &y) &&
                    constants_exclude(&x, &y))
                    return true;
            }
        }
    }
    return false;
}

bool schema_branches_exclude(struct schema *s, const json_t *branches)
{
    size_t count = json_array_size(branches);
    struct conjunction *open = compile_allocate(s->c, count, sizeof *open);
    for (size_t i = 0; open != NULL && i < count; i++) {
        if (!open_branch(s, json_array_get(branches, i), &open[i]))
            return false;
        for (size_t j = 0; j < i; j++) {
            bool is_false = json_is_false(json_array_get(branches, i)) ||
                            json_is_false(json_array_get(branches, j));
            bool differ = (schema_types(&open[i]) & schema_types(&open[j])) == 0;
            if (!is_false && !differ && !constants_exclude(&open[i], &open[j]) &&
                !properties_exclude(s, &open[i], &open[j]))
                return false;
        }
    }
    return s->c->failed == STATUS_OK;
}
