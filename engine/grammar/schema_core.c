#include "schema.h"

/* Schemas that are made of others. What they share with the source is counted by jansson; all are held until the compilation
 * has ended, so that an address is always one schema's.
 *
 * oneOf is the anyOf of each branch with all others denied, but for those that exclude it anyway. if/then/else is the anyOf of both
 * outcomes. A name with dependents is either missing, or there with what depends on it. */

/* Of a schema that is made, with those inside it: what jansson takes for it, beside the compilation's own memory. */
#define MADE_BYTES 1024u
/* An array contains what it must at one of so many places from its start on; later ones are never used. */
#define CONTAINS_PLACES 8u

/* --- what was made --- */

static uint32_t hash_of(const json_t *from, uint32_t kind)
{
    uint64_t bits = (uint64_t)(uintptr_t)from + kind;
    return (uint32_t)((bits * 0x9E3779B97F4A7C15ull) >> 32);
}

static bool widen(struct schema *s)
{
    uint32_t mask = s->derivation_mask * 2 + 1;
    struct derivation *wide = compile_allocate(s->c, (size_t)mask + 1, sizeof *wide);
    if (wide == NULL)
        return false;
    for (uint32_t i = 0; s->derivations != NULL && i <= s->derivation_mask; i++) {
        struct derivation d = s->derivations[i];
        if (d.from == NULL)
            continue;
        uint32_t at = hash_of(d.from, d.kind) & mask;
        while (wide[at].from != NULL)
            at = (at + 1) & mask;
        wide[at] = d;
    }
    s->derivations = wide;
    s->derivation_mask = mask;
    return true;
}

const json_t *schema_derived(const struct schema *s, const json_t *from, enum derivation_kind kind)
{
    if (s->derivations == NULL)
        return NULL;
    uint32_t at = hash_of(from, kind) & s->derivation_mask;
    for (; s->derivations[at].from != NULL; at = (at + 1) & s->derivation_mask) {
        if (s->derivations[at].from == from && s->derivations[at].kind == kind)
            return s->derivations[at].made;
    }
    return NULL;
}

static bool remember(struct schema *s, struct derivation d)
{
    if (s->derivation_count * 2 >= s->derivation_mask && !widen(s))
        return false;
    uint32_t at = hash_of(d.from, d.kind) & s->derivation_mask;
    while (s->derivations[at].from != NULL)
        at = (at + 1) & s->derivation_mask;
    s->derivations[at] = d;
    s->derivation_count++;
    return true;
}

const json_t *schema_derive(struct schema *s, const json_t *from, enum derivation_kind kind,
                            json_t *made)
{
    if (made == NULL || json_array_append_new(s->made, made) != 0) {
        compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
        return NULL;
    }
    if (json_array_size(s->made) > s->c->limits->memory_bytes_max / MADE_BYTES) {
        compile_fail(s->c, STATUS_TOO_LARGE,
                     "the grammar is too large: oneOf, not and if lead to more than %llu schemas",
                     (unsigned long long)(s->c->limits->memory_bytes_max / MADE_BYTES));
        return NULL;
    }
    bool is_mark = kind >= MADE_PLAIN;
    struct derivation d = {is_mark ? made : from, kind, made};
    return compile_go_on(s->c, 64) && remember(s, d) ? made : NULL;
}

bool schema_mark(struct schema *s, const json_t *made, enum derivation_kind mark)
{
    return remember(s, (struct derivation){made, mark, made});
}

json_t *schema_part(const json_t *schema)
{
    return (json_t *)(uintptr_t)schema;
}

static bool add_part(struct schema *s, json_t *parts, const json_t *part)
{
    if (part == NULL)
        return false;
    return json_array_append(parts, schema_part(part)) == 0 ||
           compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
}

static json_t *denied(const json_t *schema)
{
    return json_pack("{s:O}", "not", schema_part(schema));
}

/* The schema itself, as a condition. */
static json_t *asked(const json_t *schema)
{
    return json_pack("{s:o}", "not", denied(schema));
}

/* --- oneOf --- */

struct branch {
    json_t *schema; /* what an anyOf has of it */
    json_t *denial; /* { not: the branch }, made when first needed */
    struct conjunction shown;
};

/* Does the branch tell its kind by the property that `discriminator` (OpenAPI) names? Then it must be there: who reads the value
 * chooses by it. */
static bool has_tag(const struct conjunction *k, const char *tag)
{
    for (uint32_t i = 0; tag != NULL && i < k->count; i++) {
        const json_t *property =
            json_object_get(json_object_get(k->places[i].schema, "properties"), tag);
        if (schema_constant_count(property) > 0)
            return true;
    }
    return false;
}

static bool open_branch(struct schema *s, const struct place *place, const json_t *branch,
                        const char *tag, struct branch *out)
{
    struct place_list list = {0};
    if (!place_list_add(s, &list, branch, place->path))
        return false;
    out->shown = (struct conjunction){.places = list.items, .count = list.count};
    out->schema = json_array();
    int rc = json_array_append(out->schema, schema_part(branch));
    if (has_tag(&out->shown, tag)) {
        json_t *required = json_pack("{s:[s]}", "required", tag);
        rc |= json_array_append(out->schema, required);
        const json_t *kept = schema_derive(s, NULL, MADE_PLAIN, required);
        if (kept == NULL || !place_list_add(s, &list, kept, place->path))
            return false;
        out->shown = (struct conjunction){.places = list.items, .count = list.count};
    }
    return rc == 0 || compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
}

/* Branch i, and none of those that it does not exclude. */
static bool close_branch(struct schema *s, struct branch *branches, size_t count, size_t i,
                         const json_t *list)
{
    int rc = 0;
    for (size_t j = 0; j < count && s->c->failed == STATUS_OK; j++) {
        struct branch *other = &branches[j];
        const json_t *schema = json_array_get(list, j);
        if (i == j || json_is_false(schema) ||
            schema_excludes(s, &branches[i].shown, &other->shown))
            continue;
        if (other->denial == NULL)
            other->denial = schema_part(schema_derive(s, NULL, MADE_PLAIN, denied(schema)));
        rc |= json_array_append(branches[i].schema, other->denial);
    }
    if (s->c->failed == STATUS_OK && rc != 0)
        compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
    return s->c->failed == STATUS_OK;
}

static json_t *one_of_core(struct schema *s, const struct place *place, const json_t *list)
{
    size_t count = json_array_size(list);
    const json_t *discriminator = json_object_get(place->schema, "discriminator");
    const char *tag = json_string_value(json_object_get(discriminator, "propertyName"));
    struct branch *branches = compile_allocate(s->c, count, sizeof *branches);
    json_t *any_of = json_array();
    bool is_good = branches != NULL;
    for (size_t i = 0; is_good && i < count; i++)
        is_good = open_branch(s, place, json_array_get(list, i), tag, &branches[i]);
    for (size_t i = 0; branches != NULL && i < count; i++) {
        is_good = is_good && close_branch(s, branches, count, i, list);
        json_t *all = json_pack("{s:o}", "allOf", branches[i].schema);
        const json_t *kept = schema_derive(s, NULL, MADE_PLAIN, all);
        is_good = is_good && add_part(s, any_of, kept);
    }
    json_t *made = json_pack("{s:o}", "anyOf", any_of);
    return schema_part(schema_derive(s, NULL, MADE_ONE_OF, made));
}

/* --- the others --- */

static json_t *if_core(struct schema *s, const json_t *schema)
{
    const json_t *condition = json_object_get(schema, "if");
    const json_t *then = json_object_get(schema, "then");
    const json_t *other = json_object_get(schema, "else");
    json_t *made = json_pack("{s:[{s:[o,O]},{s:[o,O]}]}", "anyOf", "allOf", asked(condition),
                             then != NULL ? schema_part(then) : json_true(), "allOf",
                             denied(condition), other != NULL ? schema_part(other) : json_true());
    return schema_part(schema_derive(s, NULL, MADE_PLAIN, made));
}

/* `name` is missing, or there and `then` holds, a schema or an array of names. */
static json_t *dependent_core(struct schema *s, const char *name, const json_t *then)
{
    json_t *missing = json_pack("{s:s,s:[s]}", "type", "object", "required", name);
    json_t *there = json_pack("{s:[s]}", "required", name);
    json_t *rest = json_is_array(then) ? json_pack("{s:O}", "required", schema_part(then))
                                       : json_incref(schema_part(then));
    json_t *made = json_pack("{s:[{s:o},{s:[{s:{s:o}},o]}]}", "anyOf", "not", missing, "allOf",
                             "not", "not", there, rest);
    return schema_part(schema_derive(s, NULL, MADE_PLAIN, made));
}

/* A prefix of `count` items of which those from `first` on keep `schema`. */
static json_t *prefix_array(const json_t *schema, uint32_t first, uint32_t count)
{
    json_t *items = json_array();
    for (uint32_t i = 0; i < count; i++)
        (void)json_array_append(items, i < first ? json_true() : schema_part(schema));
    return json_pack("{s:s,s:i,s:o}", "type", "array", "minItems", (int)count, "prefixItems",
                     items);
}

static uint32_t count_of(const json_t *schema, const char *keyword, uint32_t otherwise)
{
    const json_t *value = json_object_get(schema, keyword);
    double number = value != NULL ? json_number_value(value) : otherwise;
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

/* One item: at any of the first places. More, or not too many: those items come first, and no others. */
static json_t *contains_core(struct schema *s, const json_t *schema)
{
    const json_t *contained = json_object_get(schema, "contains");
    uint32_t min = count_of(schema, "minContains", 1);
    uint32_t max = count_of(schema, "maxContains", UINT32_MAX);
    uint32_t places = count_of(schema, "maxItems", CONTAINS_PLACES);
    json_t *any_of = json_pack("[{s:{s:s}}]", "not", "type", "array");
    places = places < CONTAINS_PLACES ? places : CONTAINS_PLACES;
    if (min > CONTAINS_PLACES * CONTAINS_PLACES) {
        json_decref(any_of);
        compile_fail(s->c, STATUS_TOO_LARGE, "the schema is too large: 'minContains' is %u", min);
        return NULL;
    }
    if (min == 0 && max == UINT32_MAX) {
        (void)json_array_append(any_of, json_true());
    } else if (max != UINT32_MAX) {
        for (uint32_t count = min; count <= max && count <= min + CONTAINS_PLACES; count++) {
            json_t *first = prefix_array(contained, 0, count);
            (void)json_object_set_new(first, "items", denied(contained));
            (void)json_array_append_new(any_of, first);
        }
    } else if (min > 1) {
        (void)json_array_append_new(any_of, prefix_array(contained, 0, min));
    } else {
        for (uint32_t i = 0; i < places; i++)
            (void)json_array_append_new(any_of, prefix_array(contained, i, i + 1));
    }
    return schema_part(schema_derive(s, NULL, MADE_PLAIN, json_pack("{s:o}", "anyOf", any_of)));
}

/* --- the whole --- */

static bool add_dependents(struct schema *s, const json_t *schema, json_t *parts)
{
    static const char *const keywords[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        const char *name;
        json_t *then;
        json_object_foreach(json_object_get(schema, keywords[i]), name, then)
        {
            if (!add_part(s, parts, dependent_core(s, name, then)))
                return false;
        }
    }
    return true;
}

/* What is left to strings and constants (schema_atom) needs no more than that it is a string. */
static bool add_not(struct schema *s, const struct place *place, json_t *parts)
{
    const json_t *schema = json_object_get(place->schema, "not");
    const json_t *atom = schema_atom(place->schema);
    if (schema == NULL)
        return true;
    if (atom == NULL)
        return add_part(s, parts, schema_denial(s, schema, place->path));
    if (json_object_get(atom, "pattern") == NULL)
        return true;
    json_t *made = json_pack("{s:s}", "type", "string");
    return add_part(s, parts, schema_derive(s, NULL, MADE_PLAIN, made));
}

static bool add_parts(struct schema *s, const struct place *place, json_t *parts)
{
    const json_t *schema = place->schema;
    const json_t *one_of = json_object_get(schema, "oneOf");
    bool has_if = json_object_get(schema, "if") != NULL &&
                  (json_object_get(schema, "then") != NULL || json_object_get(schema, "else"));
    bool has_contains = json_object_get(schema, "contains") != NULL;
    return (one_of == NULL || add_part(s, parts, one_of_core(s, place, one_of))) &&
           add_not(s, place, parts) && (!has_if || add_part(s, parts, if_core(s, schema))) &&
           (!has_contains || add_part(s, parts, contains_core(s, schema))) &&
           add_dependents(s, schema, parts);
}

bool schema_core(struct schema *s, const struct place *place, const json_t **out)
{
    *out = schema_derived(s, place->schema, DERIVED_CORE);
    if (*out != NULL)
        return true;
    json_t *parts = json_array();
    if (!add_parts(s, place, parts)) {
        json_decref(parts);
        return s->c->failed == STATUS_OK &&
               compile_fail(s->c, STATUS_NO_MEMORY, "no memory for the schema");
    }
    if (json_array_size(parts) == 0) {
        json_decref(parts);
        return true;
    }
    *out = schema_derive(s, place->schema, DERIVED_CORE, json_pack("{s:o}", "allOf", parts));
    return *out != NULL && schema_mark(s, *out, MADE_PLAIN);
}
