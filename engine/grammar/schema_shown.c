#include "schema.h"

/* What schemas show without being compiled: types, constants, and required properties with theirs. It is for leaving out what cannot
 * be, early: branches of a oneOf that exclude each other need no denial, and denials of many schemas at once are a product of
 * choices of which few are possible. To say "not to be seen" is always right. */

/* Objects in objects that are looked into. */
#define SHOWN_DEPTH_MAX 3u

/* Constants that are compared with those of others. */
#define SHOWN_CONSTANTS_MAX 256u

/* The first place with constants; NULL: none. */
static const json_t *constant_place(const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (schema_constant_count(k->places[i].schema) > 0)
            return k->places[i].schema;
    }
    return NULL;
}

/* False: some place does not take the constant. */
static bool constant_may_fit(const struct conjunction *k, const json_t *value)
{
    if ((schema_declared_types(k) & schema_type_of_value(value)) == 0)
        return false;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        const json_t *atom = schema_atom(schema);
        size_t count = schema_constant_count(schema);
        bool is_found = count == 0;
        for (size_t j = 0; !is_found && j < count; j++)
            is_found = schema_values_equal(value, schema_constant(schema, j));
        for (size_t j = 0; is_found && j < schema_constant_count(atom); j++)
            is_found = !schema_values_equal(value, schema_constant(atom, j));
        if (!is_found)
            return false;
    }
    return true;
}

/* Constants of `a` that `b` may take too, or without constants the types that both have. */
static bool values_may_meet(const struct conjunction *a, const struct conjunction *b)
{
    const json_t *constants = constant_place(a);
    size_t count = schema_constant_count(constants);
    if (count == 0)
        return constant_place(b) != NULL
                   ? true
                   : (schema_declared_types(a) & schema_declared_types(b)) != 0;
    bool may_meet = count > SHOWN_CONSTANTS_MAX;
    for (size_t i = 0; !may_meet && i < count; i++) {
        const json_t *value = schema_constant(constants, i);
        may_meet = constant_may_fit(a, value) && constant_may_fit(b, value);
    }
    return may_meet;
}

/* What the places say of a property. False: failed. */
static bool open_property(struct schema *s, const struct conjunction *k, const char *name,
                          struct place_list *out)
{
    *out = (struct place_list){0};
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *own =
            json_object_get(json_object_get(k->places[i].schema, "properties"), name);
        if (own != NULL && !place_list_add(s, out, own, k->places[i].path))
            return false;
    }
    return true;
}

/* Some place of `a` has no other properties than its own, and not this one. */
static bool forbids(const struct conjunction *a, const char *name)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const json_t *schema = a->places[i].schema;
        const json_t *own = json_object_get(json_object_get(schema, "properties"), name);
        if (json_is_false(own) ||
            (own == NULL && json_is_false(json_object_get(schema, "additionalProperties")) &&
             json_object_size(json_object_get(schema, "patternProperties")) == 0))
            return true;
    }
    return false;
}

static bool excludes(struct schema *s, const struct conjunction *a, const struct conjunction *b,
                     uint32_t depth);

static bool only_objects(const struct conjunction *k)
{
    return schema_declared_types(k) == TYPE_OBJECT;
}

/* `a` requires a property that `b` forbids, or that can have no value for both. */
static bool required_exclude(struct schema *s, const struct conjunction *a,
                             const struct conjunction *b, uint32_t depth)
{
    if (!only_objects(a) && !only_objects(b))
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const json_t *required = json_object_get(a->places[i].schema, "required");
        for (size_t j = 0; j < json_array_size(required); j++) {
            const char *name = json_string_value(json_array_get(required, j));
            struct place_list mine;
            struct place_list theirs;
            if (forbids(b, name))
                return true;
            if (!open_property(s, a, name, &mine) || !open_property(s, b, name, &theirs))
                return false;
            struct conjunction x = {.places = mine.items, .count = mine.count};
            struct conjunction y = {.places = theirs.items, .count = theirs.count};
            if (mine.is_false || theirs.is_false ||
                (x.count > 0 && y.count > 0 && excludes(s, &x, &y, depth + 1)))
                return true;
        }
    }
    return false;
}

static bool excludes(struct schema *s, const struct conjunction *a, const struct conjunction *b,
                     uint32_t depth)
{
    if (!compile_go_on(s->c, 64) || depth == SHOWN_DEPTH_MAX)
        return false;
    return !values_may_meet(a, b) || !values_may_meet(b, a) || required_exclude(s, a, b, depth) ||
           required_exclude(s, b, a, depth);
}

bool schema_excludes(struct schema *s, const struct conjunction *a, const struct conjunction *b)
{
    return excludes(s, a, b, 0);
}

/* --- one conjunction --- */

static bool is_impossible(struct schema *s, const struct conjunction *k, uint32_t depth);

static bool required_are_impossible(struct schema *s, const struct conjunction *k, uint32_t depth)
{
    bool is_closed = schema_is_closed(k);
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *required = json_object_get(k->places[i].schema, "required");
        for (size_t j = 0; j < json_array_size(required); j++) {
            const char *name = json_string_value(json_array_get(required, j));
            struct place_list list;
            if (forbids(k, name) || (is_closed && !schema_may_know(k, name)))
                return true;
            if (!open_property(s, k, name, &list))
                return false;
            struct conjunction property = {.places = list.items, .count = list.count};
            if (list.is_false || is_impossible(s, &property, depth + 1))
                return true;
        }
    }
    return false;
}

static bool is_impossible(struct schema *s, const struct conjunction *k, uint32_t depth)
{
    if (!compile_go_on(s->c, 64) || depth == SHOWN_DEPTH_MAX)
        return false;
    return schema_declared_types(k) == 0 || !values_may_meet(k, k) ||
           (only_objects(k) && required_are_impossible(s, k, depth));
}

bool schema_is_impossible(struct schema *s, const struct conjunction *k)
{
    return is_impossible(s, k, 0);
}

/* --- denials --- */

/* A property that denial says is missing: it is, where the object cannot have it. */
static bool missing_is_implied(const struct conjunction *k, const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties");
    const char *name = json_object_iter_key(json_object_iter(schema_part(properties)));
    return name != NULL && only_objects(k) && json_object_size(schema) == 2 &&
           json_is_false(json_object_get(properties, name)) &&
           (forbids(k, name) || (schema_is_closed(k) && !schema_may_know(k, name)));
}

bool schema_is_implied(const struct conjunction *k, const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    const json_t *atom = schema_atom(schema);
    const json_t *constants = constant_place(k);
    if (type != NULL && json_object_size(schema) == 1)
        return (schema_declared_types(k) & ~schema_named_types(type)) == 0;
    if (type != NULL)
        return missing_is_implied(k, schema);
    if (constants == NULL || schema_constant_count(atom) == 0 || json_object_size(schema) != 1)
        return false;
    for (size_t i = 0; i < schema_constant_count(constants); i++) {
        const json_t *value = schema_constant(constants, i);
        for (size_t j = 0; j < schema_constant_count(atom); j++) {
            if (schema_values_equal(value, schema_constant(atom, j)))
                return false;
        }
    }
    return true;
}
