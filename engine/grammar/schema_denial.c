#include "schema.h"

/* Denials: a schema that holds where another does not. A schema holds where all its keywords do, so its denial is the anyOf of theirs, one
 * level deep: what is inside is denied by `not`, and taken apart when it is come to. A keyword that speaks of one type only is denied
 * by values of that type only.
 *
 * Left out, for want of words, are the denials of additionalProperties, patternProperties, propertyNames, multipleOf, format (which
 * others may not check), uniqueItems, unevaluated*, minProperties beyond 1 and maxProperties: the choice is the smaller. */

struct denial {
    struct schema *s;
    const json_t *schema;
    const char *path;
    json_t *any_of;
    const char *left_out; /* the first keyword without a denial */
};

/* Takes over the branch. */
static void add(struct denial *d, json_t *branch)
{
    if (branch == NULL || json_array_append_new(d->any_of, branch) != 0)
        compile_fail(d->s->c, STATUS_NO_MEMORY, "no memory for the schema");
    (void)compile_go_on(d->s->c, 64);
}

static json_t *denied(const json_t *schema)
{
    return json_pack("{s:O}", "not", schema_part(schema));
}

/* { "type": type, keyword: value }, which takes over the value. */
static void add_bound(struct denial *d, const char *type, const char *keyword, json_t *value)
{
    add(d, json_pack("{s:s,s:o}", "type", type, keyword, value));
}

/* --- keyword by keyword --- */

static void deny_type(struct denial *d, const json_t *value)
{
    uint32_t left = TYPE_ALL & ~schema_named_types(value);
    if (json_is_true(json_object_get(d->schema, "nullable")))
        left &= ~(uint32_t)TYPE_NULL;
    json_t *names = json_array();
    for (uint32_t bit = 1; bit < TYPE_ALL; bit <<= 1) {
        if ((left & bit) != 0)
            (void)json_array_append_new(names, json_string(schema_type_name(bit)));
    }
    add(d, json_pack("{s:o}", "type", names));
}

static void deny_enum(struct denial *d, const json_t *value)
{
    add(d, json_pack("{s:{s:O}}", "not", "enum", schema_part(value)));
}

static void deny_const(struct denial *d, const json_t *value)
{
    add(d, json_pack("{s:{s:O}}", "not", "const", schema_part(value)));
}

static void deny_each(struct denial *d, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        add(d, denied(json_array_get(value, i)));
}

static void deny_any(struct denial *d, const json_t *value)
{
    json_t *all_of = json_array();
    for (size_t i = 0; i < json_array_size(value); i++)
        (void)json_array_append_new(all_of, denied(json_array_get(value, i)));
    add(d, json_pack("{s:o}", "allOf", all_of));
}

static void deny_properties(struct denial *d, const json_t *value)
{
    const char *name;
    json_t *schema;
    json_object_foreach(schema_part(value), name, schema)
    {
        if (!json_is_true(schema))
            add(d, json_pack("{s:s,s:[s],s:{s:o}}", "type", "object", "required", name,
                             "properties", name, denied(schema)));
    }
}

static void deny_required(struct denial *d, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        add(d, json_pack("{s:s,s:{s:b}}", "type", "object", "properties",
                         json_string_value(json_array_get(value, i)), 0));
}

/* A least number of things is missed by one less at the most; of 0, never. */
static void deny_least(struct denial *d, const char *type, const char *keyword, const json_t *value)
{
    double least = json_number_value(value);
    if (least >= 1)
        add_bound(d, type, keyword,
                  json_integer(least < UINT32_MAX ? (json_int_t)least - 1 : UINT32_MAX));
}

static void deny_most(struct denial *d, const char *type, const char *keyword, const json_t *value)
{
    double most = json_number_value(value);
    if (most < UINT32_MAX)
        add_bound(d, type, keyword, json_integer((json_int_t)most + 1));
}

static void deny_min_length(struct denial *d, const json_t *value)
{
    deny_least(d, "string", "maxLength", value);
}

static void deny_max_length(struct denial *d, const json_t *value)
{
    deny_most(d, "string", "minLength", value);
}

static void deny_min_items(struct denial *d, const json_t *value)
{
    deny_least(d, "array", "maxItems", value);
}

static void deny_max_items(struct denial *d, const json_t *value)
{
    deny_most(d, "array", "minItems", value);
}

static void deny_min_properties(struct denial *d, const json_t *value)
{
    if (json_number_value(value) >= 1)
        add_bound(d, "object", "maxProperties", json_integer(0));
    if (json_number_value(value) > 1)
        d->left_out = "minProperties";
}

static void deny_pattern(struct denial *d, const json_t *value)
{
    add(d, json_pack("{s:{s:O}}", "not", "pattern", schema_part(value)));
}

/* Beside a boolean of draft 4, which later drafts do not read, the bound itself counts as kept. */
static void deny_minimum(struct denial *d, const json_t *value)
{
    add_bound(d, "number", "exclusiveMaximum", json_incref(schema_part(value)));
}

static void deny_maximum(struct denial *d, const json_t *value)
{
    add_bound(d, "number", "exclusiveMinimum", json_incref(schema_part(value)));
}

static void deny_exclusive_minimum(struct denial *d, const json_t *value)
{
    if (json_is_number(value))
        add_bound(d, "number", "maximum", json_incref(schema_part(value)));
}

static void deny_exclusive_maximum(struct denial *d, const json_t *value)
{
    if (json_is_number(value))
        add_bound(d, "number", "minimum", json_incref(schema_part(value)));
}

/* Item `i` of the first ones. */
static void deny_tuple(struct denial *d, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *items = json_array();
        for (size_t j = 0; j < i; j++)
            (void)json_array_append(items, json_true());
        (void)json_array_append_new(items, denied(json_array_get(value, i)));
        add(d, json_pack("{s:s,s:I,s:o}", "type", "array", "minItems", (json_int_t)i + 1,
                         "prefixItems", items));
    }
}

static void deny_items(struct denial *d, const json_t *value)
{
    if (json_is_array(value))
        deny_tuple(d, value);
    else if (json_object_get(d->schema, "prefixItems") != NULL)
        d->left_out = "items";
    else if (!json_is_true(value))
        add(d, json_pack("{s:s,s:o}", "type", "array", "contains", denied(value)));
}

static void deny_contains(struct denial *d, const json_t *value)
{
    if (json_object_get(d->schema, "minContains") != NULL ||
        json_object_get(d->schema, "maxContains") != NULL)
        d->left_out = "contains";
    else
        add(d, json_pack("{s:s,s:o}", "type", "array", "items", denied(value)));
}

struct denial_rule {
    const char *keyword;
    void (*deny)(struct denial *d, const json_t *value); /* NULL: left out */
};

static const struct denial_rule rules[] = {
    {"type", deny_type},
    {"enum", deny_enum},
    {"const", deny_const},
    {"allOf", deny_each},
    {"anyOf", deny_any},
    {"required", deny_required},
    {"properties", deny_properties},
    {"minLength", deny_min_length},
    {"maxLength", deny_max_length},
    {"pattern", deny_pattern},
    {"minimum", deny_minimum},
    {"maximum", deny_maximum},
    {"exclusiveMinimum", deny_exclusive_minimum},
    {"exclusiveMaximum", deny_exclusive_maximum},
    {"minItems", deny_min_items},
    {"maxItems", deny_max_items},
    {"minProperties", deny_min_properties},
    {"prefixItems", deny_tuple},
    {"items", deny_items},
    {"contains", deny_contains},
    {"format", NULL},
    {"multipleOf", NULL},
    {"maxProperties", NULL},
    {"additionalProperties", NULL},
    {"patternProperties", NULL},
    {"propertyNames", NULL},
    {"additionalItems", NULL},
    {"uniqueItems", NULL},
    {"unevaluatedProperties", NULL},
    {"unevaluatedItems", NULL},
};

/* --- the whole --- */

/* Of oneOf, not, if and dependent*: what they say is an allOf of schemas, of constants and patterns what is left to values. */
static bool deny_core(struct denial *d)
{
    struct place place = {.schema = d->schema, .path = d->path};
    const json_t *core;
    if (!schema_core(d->s, &place, &core))
        return false;
    const json_t *parts = json_object_get(core, "allOf");
    const json_t *inner = json_object_get(d->schema, "not");
    if (inner != NULL)
        add(d, json_incref(schema_part(inner)));
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        if (!json_is_object(inner) || part != schema_derived(d->s, inner, DERIVED_DENIAL))
            add(d, denied(part));
    }
    return d->s->c->failed == STATUS_OK;
}

static bool deny_keywords(struct denial *d)
{
    const char *reference = json_string_value(json_object_get(d->schema, "$ref"));
    struct place place = {.schema = d->schema, .path = d->path};
    if (!schema_check_keywords(d->s, &place))
        return false;
    if (reference != NULL) {
        /* Old drafts read nothing beside it. */
        const json_t *target;
        const char *path;
        if (!schema_resolve(d->s, &place, reference, &target, &path))
            return false;
        add(d, denied(target));
        return d->s->c->failed == STATUS_OK;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const json_t *value = json_object_get(d->schema, rules[i].keyword);
        if (value != NULL && rules[i].deny != NULL)
            rules[i].deny(d, value);
        else if (value != NULL && d->left_out == NULL)
            d->left_out = rules[i].keyword;
    }
    return deny_core(d);
}

const json_t *schema_denial(struct schema *s, const json_t *schema, const char *path)
{
    if (json_is_boolean(schema))
        return json_is_true(schema) ? json_false() : json_true();
    const json_t *known = schema_derived(s, schema, DERIVED_DENIAL);
    if (known != NULL)
        return known;
    struct denial d = {.s = s, .schema = schema, .path = path, .any_of = json_array()};
    if (!deny_keywords(&d)) {
        json_decref(d.any_of);
        return NULL;
    }
    if (d.left_out != NULL)
        schema_leave_out(s, &(struct place){.path = path}, d.left_out);
    if (json_array_size(d.any_of) == 0) {
        json_decref(d.any_of);
        return json_false();
    }
    json_t *made = json_pack("{s:o}", "anyOf", d.any_of);
    const json_t *kept = schema_derive(s, schema, DERIVED_DENIAL, made);
    if (kept != NULL && !schema_mark(s, kept, MADE_DENIAL))
        return NULL;
    return kept;
}
