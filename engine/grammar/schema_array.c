#include "schema.h"

/* Arrays: the first items each with a schema of its own, then the others. Those whose items are all different are in
 * schema_unique.c. */

/* Items with schemas of their own; each is an expression inside the one before. */
#define PREFIX_MAX 256u

struct array_rules {
    uint32_t min, max, prefix_count;
    const struct expr *separator;
};

static const json_t *prefix_of(const json_t *schema)
{
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items");
    return prefix == NULL && json_is_array(items) ? items : prefix;
}

/* What the items after the prefix keep; NULL: anything. */
static const json_t *others_of(const json_t *schema, const char **keyword)
{
    bool is_old = json_is_array(json_object_get(schema, "items"));
    *keyword = is_old ? "additionalItems" : "items";
    return json_object_get(schema, *keyword);
}

/* The schema of a place for item `index`. */
static bool add_item(struct schema *s, struct place_list *list, const struct place *place,
                     uint32_t index)
{
    const json_t *prefix = prefix_of(place->schema);
    const json_t *schema = json_array_get(prefix, index);
    const char *keyword = "prefixItems";
    if (schema == NULL)
        schema = others_of(place->schema, &keyword);
    if (schema == NULL)
        return true;
    const char *path = schema_path(s, place->path, keyword);
    return path != NULL && place_list_add(s, list, schema, path);
}

static bool open_item(struct schema *s, const struct conjunction *k, uint32_t index,
                      struct place_list *out)
{
    *out = (struct place_list){0};
    for (uint32_t i = 0; i < k->count; i++) {
        if (!add_item(s, out, &k->places[i], index))
            return false;
    }
    return true;
}

static const struct expr *item_expr(struct schema *s, const struct conjunction *k, uint32_t index)
{
    struct place_list list;
    return open_item(s, k, index, &list) ? place_list_expr(s, &list) : NULL;
}

/* unevaluatedItems: false, with no schema for the others. */
static bool is_closed(const struct conjunction *k)
{
    const char *keyword;
    return k->count == 1 && others_of(k->places[0].schema, &keyword) == NULL &&
           json_is_false(json_object_get(k->places[0].schema, "unevaluatedItems"));
}

static bool read_rules(struct schema *s, const struct conjunction *k, struct array_rules *out)
{
    struct compile *c = s->c;
    *out = (struct array_rules){.max = EXPR_UNBOUNDED};
    out->separator = expr_join(c, expr_word(c, ","), c->whitespace, NULL, NULL);
    for (uint32_t i = 0; i < k->count; i++) {
        size_t count = json_array_size(prefix_of(k->places[i].schema));
        if (count > PREFIX_MAX)
            return schema_fail(s, STATUS_TOO_LARGE, &k->places[i], "prefixItems",
                               "has more than 256 items");
        if (k->count > 1 && json_is_false(json_object_get(k->places[i].schema, "unevaluatedItems")))
            return schema_fail(s, STATUS_UNSUPPORTED, &k->places[i], "unevaluatedItems",
                               "cannot be kept beside other schemas");
        if (count > out->prefix_count)
            out->prefix_count = (uint32_t)count;
    }
    return schema_count(s, k, "minItems", false, &out->min) &&
           schema_count(s, k, "maxItems", true, &out->max);
}

/* All items from `first` on, which there must be if that is less than the least number. */
static const struct expr *others_expr(struct schema *s, const struct conjunction *k,
                                      const struct array_rules *rules)
{
    struct compile *c = s->c;
    uint32_t first = rules->prefix_count;
    uint32_t min = rules->min > first ? rules->min - first : 0;
    uint32_t max = rules->max == EXPR_UNBOUNDED ? rules->max
                   : rules->max > first         ? rules->max - first
                                                : 0;
    const struct expr *item = is_closed(k) ? expr_none(c) : item_expr(s, k, first);
    if (item == NULL)
        return NULL;
    if (first == 0)
        return expr_repeat(c, item, rules->separator, min > 0 ? min : 1, max);
    return expr_repeat(c, expr_join(c, rules->separator, item, NULL, NULL), NULL, min, max);
}

/* The items in their order, one at least. */
static const struct expr *items_expr(struct schema *s, const struct conjunction *k,
                                     const struct array_rules *rules)
{
    struct compile *c = s->c;
    const struct expr *rest = others_expr(s, k, rules);
    for (uint32_t i = rules->prefix_count; rest != NULL && i-- > 0;) {
        if (i >= rules->max) {
            rest = expr_word(c, "");
            continue;
        }
        const struct expr *item = item_expr(s, k, i);
        rest = item == NULL ? NULL
               : i == 0     ? expr_join(c, item, rest, NULL, NULL)
                            : expr_join(c, rules->separator, item, rest, NULL);
        if (i >= rules->min && i > 0 && rest != NULL)
            rest = expr_optional(c, rest);
    }
    return rest;
}

/* --- the whole --- */

/* The place that wants all items different; NULL: none does. */
static const struct place *unique_place(const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        if (json_is_true(json_object_get(k->places[i].schema, "uniqueItems")))
            return &k->places[i];
    }
    return NULL;
}

/* Of two items or more. Where the first ones have schemas of their own there is one at the most. */
static const struct expr *unique_expr(struct schema *s, const struct conjunction *k,
                                      const struct place *place, struct array_rules *rules)
{
    struct place_list list;
    if (!open_item(s, k, 0, &list))
        return NULL;
    struct conjunction item = {.places = list.items, .count = list.count};
    uint32_t min = rules->min > 0 ? rules->min : 1;
    if (rules->prefix_count == 0 && !list.is_false && !is_closed(k))
        return schema_unique_expr(s, &item, place, min, rules->max, rules->separator);
    schema_leave_out(s, place, "uniqueItems");
    rules->max = 1;
    return min > 1 ? expr_none(s->c) : items_expr(s, k, rules);
}

/* `not` of the empty array. */
static bool excludes_empty(const struct conjunction *k)
{
    json_t *empty = json_array();
    bool is_excluded = schema_is_excluded(k, empty);
    json_decref(empty);
    return is_excluded;
}

const struct expr *schema_array_expr(struct schema *s, const struct conjunction *k)
{
    struct compile *c = s->c;
    struct array_rules rules;
    const struct place *unique = unique_place(k);
    if (!read_rules(s, k, &rules))
        return NULL;
    if (rules.min == 0 && excludes_empty(k))
        rules.min = 1;
    if (rules.max < rules.min)
        return expr_none(c);
    const struct expr *items = rules.max == 0                    ? expr_none(c)
                               : unique != NULL && rules.max > 1 ? unique_expr(s, k, unique, &rules)
                                                                 : items_expr(s, k, &rules);
    if (items == NULL)
        return NULL;
    const struct expr *filled = expr_join(c, c->whitespace, items, c->whitespace, NULL);
    const struct expr *inside = rules.min > 0 ? filled : expr_either(c, c->whitespace, filled);
    return expr_join(c, expr_word(c, "["), inside, expr_word(c, "]"), NULL);
}
