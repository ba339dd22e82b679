#include "regex.h"
#include "schema.h"

/* Objects: the named properties in their order, then additional ones. The opening quote of every key stands before the place
 * where the ways part, so that many optional properties do not multiply it. */

/* Patterns of patternProperties that hold at one place: keys are told apart by each set of them. */
#define PATTERNS_MAX 6u

struct pattern {
    const json_t *schema;
    const char *path;
    const struct place *place;
    const struct automaton *keys; /* decoded */
};

struct object {
    struct schema *s;
    const struct conjunction *k;
    struct pattern patterns[PATTERNS_MAX];
    uint32_t pattern_count;
    const char **names; /* [name_count], each once */
    uint32_t name_count, name_capacity;
    bool is_closed;               /* others than the named only by pattern */
    const struct automaton *keys; /* propertyNames; NULL: any */
    const struct expr **members;  /* [member_count]: name":value */
    bool *is_required;
    uint32_t member_count, required_count;
    bool is_impossible; /* a required property can have no value */
    uint32_t min, max;
};

/* --- reading --- */

static bool read_patterns(struct object *o)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        const struct place *place = &o->k->places[i];
        const char *regex;
        json_t *schema;
        json_object_foreach(json_object_get(place->schema, "patternProperties"), regex, schema)
        {
            const char *path = schema_path(o->s, place->path, "patternProperties");
            if (o->pattern_count == PATTERNS_MAX)
                return schema_fail(o->s, STATUS_UNSUPPORTED, place, "patternProperties",
                                   "has too many patterns at one place");
            const struct automaton *keys =
                path != NULL ? regex_search(o->s->c, text_slice_of(regex), path) : NULL;
            if (keys == NULL)
                return false;
            o->patterns[o->pattern_count++] = (struct pattern){schema, path, place, keys};
        }
    }
    return true;
}

static bool add_name(struct object *o, const char *name)
{
    for (uint32_t i = 0; i < o->name_count; i++) {
        if (strcmp(o->names[i], name) == 0)
            return true;
    }
    o->names = compile_grow(o->s->c, o->names, o->name_count, &o->name_capacity, sizeof *o->names);
    if (o->names == NULL || !compile_go_on(o->s->c, o->name_count + 1))
        return false;
    o->names[o->name_count++] = name;
    return true;
}

/* Properties in the order of the schemas, then required ones that have none. */
static bool read_names(struct object *o)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        const char *name;
        json_t *schema;
        json_object_foreach(json_object_get(o->k->places[i].schema, "properties"), name, schema)
        {
            if (!add_name(o, name))
                return false;
        }
    }
    for (uint32_t i = 0; i < o->k->count; i++) {
        const json_t *required = json_object_get(o->k->places[i].schema, "required");
        for (size_t j = 0; j < json_array_size(required); j++) {
            if (!add_name(o, json_string_value(json_array_get(required, j))))
                return false;
        }
    }
    return true;
}

/* --- which properties there may be --- */

/* unevaluatedProperties of a schema that has brought in all others here closes what these do not speak of. */
static bool closes_unevaluated(const struct place *place)
{
    return place->is_sole_top &&
           json_is_false(json_object_get(place->schema, "unevaluatedProperties"));
}

/* additionalProperties says so somewhere, or speaks nowhere although there are properties. */
bool schema_is_closed(const struct conjunction *k)
{
    bool is_open = false;
    bool has_properties = false;
    bool is_closed = false;
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *place = &k->places[i];
        const json_t *additional = json_object_get(place->schema, "additionalProperties");
        is_closed |= json_is_false(additional);
        if (place->is_condition)
            continue;
        is_open |= additional != NULL;
        has_properties |= json_object_get(place->schema, "properties") != NULL ||
                          json_object_get(place->schema, "patternProperties") != NULL ||
                          closes_unevaluated(place);
    }
    return is_closed || (has_properties && !is_open);
}

static bool names_have(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        if (strcmp(json_string_value(json_array_get(names, i)), name) == 0)
            return true;
    }
    return false;
}

/* By its properties, or by requiring it, which is not enough where the unevaluated are excluded. */
static bool place_names(const struct conjunction *k, const struct place *place, const char *name)
{
    bool is_strict = closes_unevaluated(&k->places[0]);
    return !place->is_condition &&
           (json_object_get(json_object_get(place->schema, "properties"), name) != NULL ||
            (!is_strict && names_have(json_object_get(place->schema, "required"), name)));
}

bool schema_may_know(const struct conjunction *k, const char *name)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *place = &k->places[i];
        if (place_names(k, place, name) ||
            (!place->is_condition &&
             json_object_size(json_object_get(place->schema, "patternProperties")) > 0))
            return true;
    }
    return false;
}

/* What unevaluatedProperties excludes depends on the schema that it stands in. */
static bool read_closed(struct object *o)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        const struct place *place = &o->k->places[i];
        if (!place->is_sole_top &&
            json_is_false(json_object_get(place->schema, "unevaluatedProperties")))
            return schema_fail(o->s, STATUS_UNSUPPORTED, place, "unevaluatedProperties",
                               "cannot be kept inside of other schemas");
    }
    o->is_closed = schema_is_closed(o->k);
    return true;
}

/* --- propertyNames --- */

static bool restrict_keys(struct object *o, const struct automaton *keys)
{
    if (keys == NULL)
        return false;
    o->keys = o->keys != NULL ? automaton_intersect(o->s->c, o->keys, keys) : keys;
    return o->keys != NULL;
}

/* The names that `propertyNames` of a place lists are properties like those that are named elsewhere. */
static bool add_key_constants(struct object *o, const struct conjunction *k)
{
    json_t *constants = schema_constants(o->s, k);
    bool is_good = o->s->c->failed == STATUS_OK;
    size_t index;
    json_t *value;
    struct expr_list list = {0};
    const struct automaton *keys = NULL;
    json_array_foreach(constants, index, value)
    {
        if (is_good && json_is_string(value))
            is_good = add_name(o, json_string_value(value)) &&
                      expr_list_add(o->s->c, &list, expr_word(o->s->c, json_string_value(value)));
    }
    if (is_good && constants != NULL)
        keys = automaton_from_expr(o->s->c, expr_choice(o->s->c, list.items, list.count));
    json_decref(constants);
    return is_good && restrict_keys(o, keys);
}

static bool add_key_rule(struct object *o, const struct place *place, const json_t *names)
{
    struct schema *s = o->s;
    struct place_list list = {0};
    const char *path = schema_path(s, place->path, "propertyNames");
    if (path == NULL || !place_list_add(s, &list, names, path))
        return false;
    for (uint32_t j = 0; j < list.count; j++) {
        static const char *const others[] = {"anyOf", "oneOf", "if", "contains"};
        for (size_t w = 0; w < sizeof others / sizeof others[0]; w++) {
            if (json_object_get(list.items[j].schema, others[w]) != NULL)
                return schema_fail(s, STATUS_UNSUPPORTED, &list.items[j], others[w],
                                   "cannot be kept for names of properties");
        }
        const json_t *schema = list.items[j].schema;
        if (json_object_get(schema, "not") != NULL && schema_atom(schema) == NULL)
            return schema_fail(s, STATUS_UNSUPPORTED, &list.items[j], "not",
                               "of more than constants or one pattern cannot be kept for names of "
                               "properties");
    }
    struct conjunction k = {.places = list.items, .count = list.count};
    const struct automaton *keys;
    if (list.is_false || (schema_declared_types(&k) & TYPE_STRING) == 0)
        return restrict_keys(o, automaton_from_expr(s->c, expr_none(s->c)));
    if (schema_has_constants(&k))
        return add_key_constants(o, &k);
    if (schema_string_automaton(s, &k, &keys))
        return keys == NULL || restrict_keys(o, keys);
    return s->c->failed == STATUS_OK &&
           restrict_keys(o, automaton_from_expr(s->c, expr_none(s->c)));
}

static bool read_key_rules(struct object *o)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        const struct place *place = &o->k->places[i];
        const json_t *names = json_object_get(place->schema, "propertyNames");
        if (names != NULL && !json_is_true(names) && !add_key_rule(o, place, names))
            return false;
    }
    return o->s->c->failed == STATUS_OK;
}

/* --- named properties --- */

static bool pattern_matches(struct object *o, const struct pattern *pattern, const char *name)
{
    return automaton_accepts(o->s->c, pattern->keys, text_slice_of(name));
}

/* What one place says about the property: its own schema, those of patterns that match, else that of additional ones. */
static bool add_property(struct object *o, struct place_list *list, const struct place *place,
                         const char *name)
{
    bool is_known = false;
    const json_t *own = json_object_get(json_object_get(place->schema, "properties"), name);
    if (own != NULL) {
        const char *path = schema_path(o->s, place->path, "properties");
        path = path != NULL ? schema_path(o->s, path, name) : NULL;
        is_known = true;
        if (path == NULL || !place_list_add(o->s, list, own, path))
            return false;
    }
    for (uint32_t i = 0; i < o->pattern_count; i++) {
        const struct pattern *pattern = &o->patterns[i];
        if (pattern->place->schema != place->schema || !pattern_matches(o, pattern, name))
            continue;
        is_known = true;
        if (!place_list_add(o->s, list, pattern->schema, pattern->path))
            return false;
    }
    const json_t *additional = json_object_get(place->schema, "additionalProperties");
    if (is_known || additional == NULL)
        return o->s->c->failed == STATUS_OK;
    const char *path = schema_path(o->s, place->path, "additionalProperties");
    return path != NULL && place_list_add(o->s, list, additional, path);
}

/* In a closed object, what only a condition names is not there. */
static bool is_known(struct object *o, const char *name)
{
    for (uint32_t i = 0; i < o->pattern_count; i++) {
        if (!o->patterns[i].place->is_condition && pattern_matches(o, &o->patterns[i], name))
            return true;
    }
    for (uint32_t i = 0; i < o->k->count; i++) {
        if (place_names(o->k, &o->k->places[i], name))
            return true;
    }
    return false;
}

static bool name_is_required(const struct object *o, const char *name)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        if (names_have(json_object_get(o->k->places[i].schema, "required"), name))
            return true;
    }
    return false;
}

static const struct expr *member_expr(struct compile *c, const struct expr *key,
                                      const struct expr *value)
{
    const struct expr *parts[] = {key, expr_word(c, "\":"), c->gap, value};
    return expr_sequence(c, parts, 4);
}

static bool add_member(struct object *o, const char *name)
{
    struct compile *c = o->s->c;
    struct place_list list = {0};
    for (uint32_t i = 0; i < o->k->count; i++) {
        if (!add_property(o, &list, &o->k->places[i], name))
            return false;
    }
    if ((o->keys != NULL && !automaton_accepts(c, o->keys, text_slice_of(name))) ||
        (o->is_closed && !is_known(o, name)))
        list.is_false = true;
    const struct expr *value = place_list_expr(o->s, &list);
    if (value == NULL)
        return false;
    bool is_required = name_is_required(o, name);
    if (value->kind == EXPR_NONE) {
        o->is_impossible |= is_required;
        return true;
    }
    o->members[o->member_count] = member_expr(c, json_inside_expr(c, text_slice_of(name)), value);
    o->is_required[o->member_count++] = is_required;
    o->required_count += is_required;
    return c->failed == STATUS_OK;
}

/* --- additional properties --- */

static const struct automaton *intersect_keys(struct object *o, const struct automaton *a,
                                              const struct automaton *b)
{
    return a == NULL || b == NULL ? a != NULL ? a : b : automaton_intersect(o->s->c, a, b);
}

/* All keys but the named, that propertyNames allow; *out NULL: any. */
static bool other_keys(struct object *o, const struct automaton **out)
{
    struct compile *c = o->s->c;
    struct expr_list list = {0};
    *out = o->keys;
    if (o->name_count == 0)
        return true;
    for (uint32_t i = 0; i < o->name_count; i++) {
        if (!expr_list_add(c, &list, expr_word(c, o->names[i])))
            return false;
    }
    const struct automaton *named = automaton_from_expr(c, expr_choice(c, list.items, list.count));
    const struct automaton *others = named != NULL ? schema_other_text(o->s, named) : NULL;
    *out = intersect_keys(o, *out, others);
    return c->failed == STATUS_OK;
}

/* The schemas that hold for a key which matches just the patterns in `set`. */
static bool add_others(struct object *o, uint32_t set, struct place_list *list)
{
    for (uint32_t i = 0; i < o->k->count; i++) {
        const struct place *place = &o->k->places[i];
        bool is_known = false;
        for (uint32_t p = 0; p < o->pattern_count; p++) {
            const struct pattern *pattern = &o->patterns[p];
            if ((set >> p & 1) == 0 || pattern->place->schema != place->schema)
                continue;
            is_known = true;
            if (!place_list_add(o->s, list, pattern->schema, pattern->path))
                return false;
        }
        const json_t *additional = json_object_get(place->schema, "additionalProperties");
        const char *path = schema_path(o->s, place->path, "additionalProperties");
        if (path == NULL ||
            (!is_known && additional != NULL && !place_list_add(o->s, list, additional, path)))
            return false;
    }
    return true;
}

/* Members whose key matches the patterns in `set` and no others. */
static const struct expr *other_member(struct object *o, uint32_t set, const struct automaton *keys)
{
    struct compile *c = o->s->c;
    struct place_list list = {0};
    if (!add_others(o, set, &list))
        return NULL;
    for (uint32_t p = 0; p < o->pattern_count && c->failed == STATUS_OK; p++) {
        const struct automaton *own = o->patterns[p].keys;
        const struct automaton *cut = (set >> p & 1) != 0 ? own : schema_other_text(o->s, own);
        keys = intersect_keys(o, keys, cut);
    }
    const struct expr *value = place_list_expr(o->s, &list);
    if (c->failed != STATUS_OK)
        return NULL;
    if (keys == NULL) {
        /* Any key, however it is written: the string without its opening quote, which has been. */
        const struct expr *key = json_string_rest_expr(c);
        const struct expr *parts[] = {key, expr_word(c, ":"), c->gap, value};
        return expr_sequence(c, parts, 4);
    }
    const struct automaton *inside = json_escape_automaton(c, keys);
    return inside != NULL ? member_expr(c, expr_automaton(c, inside), value) : NULL;
}

/* Is one of the patterns of a place that is no condition? */
static bool set_describes(const struct object *o, uint32_t set)
{
    for (uint32_t p = 0; p < o->pattern_count; p++) {
        if ((set >> p & 1) != 0 && !o->patterns[p].place->is_condition)
            return true;
    }
    return false;
}

/* NULL with nothing failed: there are none. */
static const struct expr *others_expr(struct object *o)
{
    struct compile *c = o->s->c;
    const struct automaton *keys;
    struct expr_list list = {0};
    if (o->is_closed && o->pattern_count == 0)
        return NULL;
    if (!other_keys(o, &keys))
        return NULL;
    for (uint32_t set = 0; set < 1u << o->pattern_count; set++) {
        bool is_left_out = o->is_closed && !set_describes(o, set);
        if (!is_left_out && !expr_list_add(c, &list, other_member(o, set, keys)))
            return NULL;
    }
    const struct expr *e = expr_choice(c, list.items, list.count);
    return e != NULL && e->kind != EXPR_NONE ? e : NULL;
}

/* --- counts --- */

static const struct place *place_with(const struct conjunction *k, const char *keyword)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (json_object_get(k->places[i].schema, keyword) != NULL)
            return &k->places[i];
    }
    return &k->places[0];
}

/* Counts that the members do not keep by themselves are refused, but for those of objects that have only others. */
static bool check_counts(struct object *o, const struct expr *others)
{
    bool has_only_others = o->member_count == 0;
    bool keeps_min = o->min <= o->required_count || o->min == 1;
    bool keeps_max = o->max == EXPR_UNBOUNDED || has_only_others || o->max == 0 ||
                     (others == NULL && o->member_count <= o->max);
    if (!keeps_min)
        return schema_fail(o->s, STATUS_UNSUPPORTED, place_with(o->k, "minProperties"),
                           "minProperties", "cannot be kept beyond required properties and 1");
    return keeps_max || schema_fail(o->s, STATUS_UNSUPPORTED, place_with(o->k, "maxProperties"),
                                    "maxProperties", "cannot be kept beside so many properties");
}

/* --- the whole --- */

static const struct expr *braces(struct object *o, const struct expr *others)
{
    struct compile *c = o->s->c;
    const struct expr *space = c->whitespace;
    const struct expr *quote = expr_word(c, "\"");
    const struct expr *separator = expr_join(c, expr_word(c, ","), space, quote, NULL);
    const struct expr_members members = {.items = o->members,
                                         .is_required = o->is_required,
                                         .count = o->member_count,
                                         .separator = separator,
                                         .tail = others};
    const struct expr *inside = NULL;
    if (separator == NULL)
        return NULL;
    if (o->member_count > 0)
        inside = expr_members(c, &members);
    else if (others != NULL)
        inside = expr_repeat(c, others, separator, 1, o->max);
    bool may_be_empty = o->required_count == 0 && o->min == 0;
    const struct expr *filled =
        inside != NULL && o->max > 0
            ? expr_sequence(c, (const struct expr *const[]){space, quote, inside, space}, 4)
            : expr_none(c);
    const struct expr *body = may_be_empty ? expr_either(c, filled, space) : filled;
    return expr_join(c, expr_word(c, "{"), body, expr_word(c, "}"), NULL);
}

/* `not` of the empty object. */
static bool excludes_empty(const struct conjunction *k)
{
    json_t *empty = json_object();
    bool is_excluded = schema_is_excluded(k, empty);
    json_decref(empty);
    return is_excluded;
}

const struct expr *schema_object_expr(struct schema *s, const struct conjunction *k)
{
    struct object o = {.s = s, .k = k, .max = EXPR_UNBOUNDED};
    if (!read_patterns(&o) || !read_names(&o) || !read_closed(&o) || !read_key_rules(&o) ||
        !schema_count(s, k, "minProperties", false, &o.min) ||
        !schema_count(s, k, "maxProperties", true, &o.max))
        return NULL;
    if (o.min == 0 && excludes_empty(k))
        o.min = 1;
    o.members = compile_allocate(s->c, o.name_count, sizeof *o.members);
    o.is_required = compile_allocate(s->c, o.name_count, sizeof *o.is_required);
    for (uint32_t i = 0; i < o.name_count && s->c->failed == STATUS_OK; i++) {
        if (!add_member(&o, o.names[i]))
            return NULL;
    }
    const struct expr *others = s->c->failed == STATUS_OK ? others_expr(&o) : NULL;
    if (s->c->failed != STATUS_OK || !check_counts(&o, others))
        return NULL;
    return o.is_impossible ? expr_none(s->c) : braces(&o, others);
}
