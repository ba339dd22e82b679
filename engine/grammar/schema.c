#include "schema.h"

#include <stdlib.h>

/* Conjunctions: put together, found again, and taken apart at anyOf and oneOf. See schema.h. */

/* Schemas that may hold at one place, and $ref after $ref: beyond this it is no schema that anybody means. */
#define PLACES_MAX 256u

const char *schema_path(struct schema *s, const char *path, const char *name)
{
    size_t base = strlen(path);
    size_t extra = strlen(name);
    char *joined = compile_allocate(s->c, base + extra + 2, 1);
    if (joined == NULL)
        return NULL;
    memcpy(joined, path, base);
    joined[base] = '/';
    memcpy(joined + base + 1, name, extra);
    return joined;
}

bool schema_fail(struct schema *s, status code, const struct place *place, const char *keyword,
                 const char *text)
{
    return compile_fail(s->c, code, "the schema at '%.400s': '%.100s' %s",
                        place->path[0] != '\0' ? place->path : "/", keyword, text);
}

/* --- putting together --- */

static bool list_has(const struct place_list *list, const json_t *schema)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i].schema == schema)
            return true;
    }
    return false;
}

static bool list_append(struct schema *s, struct place_list *list, struct place place)
{
    if (list->count == PLACES_MAX)
        return compile_fail(s->c, STATUS_TOO_LARGE,
                            "the schema at '%.400s': more than %u schemas hold at one place",
                            place.path, PLACES_MAX);
    list->items =
        compile_grow(s->c, list->items, list->count, &list->capacity, sizeof *list->items);
    if (list->items == NULL)
        return false;
    list->items[list->count++] = place;
    return true;
}

/* A schema that waits to be added, and the one whose $ref or allOf led there. */
struct pending {
    const json_t *schema;
    const char *path;
    const struct pending *from;
    const struct pending *next;
};

struct pending_stack {
    const struct pending *top;
};

static bool pending_push(struct schema *s, struct pending_stack *stack, const json_t *schema,
                         const char *path, const struct pending *from)
{
    struct pending *item = compile_allocate(s->c, 1, sizeof *item);
    if (item == NULL || path == NULL || !compile_go_on(s->c, 8))
        return false;
    *item = (struct pending){schema, path, from, stack->top};
    stack->top = item;
    return true;
}

static bool push_all_of(struct schema *s, struct pending_stack *stack, const struct pending *from)
{
    const json_t *all_of = json_object_get(from->schema, "allOf");
    const char *path = schema_path(s, from->path, "allOf");
    for (size_t i = json_array_size(all_of); path != NULL && i-- > 0;) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", i);
        if (!pending_push(s, stack, json_array_get(all_of, i), schema_path(s, path, number), from))
            return false;
    }
    return path != NULL;
}

static bool push_reference(struct schema *s, struct pending_stack *stack,
                           const struct pending *from)
{
    const char *reference = json_string_value(json_object_get(from->schema, "$ref"));
    struct place place = {.schema = from->schema, .path = from->path};
    const json_t *target;
    const char *path;
    return reference == NULL || (schema_resolve(s, &place, reference, &target, &path) &&
                                 pending_push(s, stack, target, path, from));
}

/* A schema that is in the list already adds nothing, unless it has come back to itself. */
static bool check_circle(struct schema *s, const struct pending *item)
{
    struct place place = {.schema = item->schema, .path = item->path};
    for (const struct pending *p = item->from; p != NULL; p = p->from) {
        if (p->schema == item->schema)
            return schema_fail(s, STATUS_INVALID, &place, "$ref", "leads in a circle");
    }
    return true;
}

/* In the order of the text, each before what it refers to. */
bool place_list_add(struct schema *s, struct place_list *list, const json_t *schema,
                    const char *path)
{
    struct pending_stack stack = {NULL};
    if (!pending_push(s, &stack, schema, path, NULL))
        return false;
    while (stack.top != NULL) {
        const struct pending *item = stack.top;
        struct place place = {.schema = item->schema, .path = item->path};
        stack.top = item->next;
        if (json_is_boolean(item->schema)) {
            list->is_false |= json_is_false(item->schema);
            continue;
        }
        if (!json_is_object(item->schema))
            return compile_fail(s->c, STATUS_INVALID,
                                "the schema at '%.400s' is neither an object nor a boolean",
                                item->path);
        if (list_has(list, item->schema)) {
            if (!check_circle(s, item))
                return false;
            continue;
        }
        if (!schema_check_keywords(s, &place) || !list_append(s, list, place) ||
            !push_all_of(s, &stack, item) || !push_reference(s, &stack, item))
            return false;
    }
    return true;
}

/* --- finding again --- */

static bool same_places(const struct conjunction *k, const struct place_list *list)
{
    if (k->count != list->count)
        return false;
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *a = &k->places[i];
        const struct place *b = &list->items[i];
        if (a->schema != b->schema || a->is_any_of_done != b->is_any_of_done ||
            a->is_one_of_done != b->is_one_of_done)
            return false;
    }
    return true;
}

const struct expr *place_list_expr(struct schema *s, struct place_list *list)
{
    struct compile *c = s->c;
    if (c->failed != STATUS_OK)
        return NULL;
    if (list->is_false)
        return expr_none(c);
    if (list->count == 0)
        return expr_rule(c, s->json.value);
    for (uint32_t i = 0; i < s->known_count; i++) {
        if (same_places(&s->known[i], list))
            return expr_rule(c, s->known[i].rule);
    }
    s->known = compile_grow(c, s->known, s->known_count, &s->known_capacity, sizeof *s->known);
    uint32_t rule = compile_add_rule(c, (struct text_slice){NULL, 0});
    if (!compile_go_on(c, s->known_count + 16))
        return NULL;
    s->known[s->known_count++] =
        (struct conjunction){.places = list->items, .count = list->count, .rule = rule};
    return expr_rule(c, rule);
}

/* --- taking apart --- */

static const struct expr *branch_expr(struct schema *s, const struct conjunction *k, uint32_t at,
                                      const char *keyword, size_t index)
{
    struct place_list list = {0};
    bool is_any_of = keyword[0] == 'a';
    for (uint32_t i = 0; i < k->count; i++) {
        struct place place = k->places[i];
        place.is_any_of_done |= i == at && is_any_of;
        place.is_one_of_done |= i == at && !is_any_of;
        if (!list_append(s, &list, place))
            return NULL;
    }
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", index);
    const char *path = schema_path(s, k->places[at].path, keyword);
    path = path != NULL ? schema_path(s, path, number) : NULL;
    const json_t *branches = json_object_get(k->places[at].schema, keyword);
    if (path == NULL || !place_list_add(s, &list, json_array_get(branches, index), path))
        return NULL;
    return place_list_expr(s, &list);
}

static const struct expr *branches_expr(struct schema *s, const struct conjunction *k, uint32_t at,
                                        const char *keyword)
{
    const json_t *branches = json_object_get(k->places[at].schema, keyword);
    struct expr_list list = {0};
    for (size_t i = 0; i < json_array_size(branches); i++) {
        if (!expr_list_add(s->c, &list, branch_expr(s, k, at, keyword, i)))
            return NULL;
    }
    return expr_choice(s->c, list.items, list.count);
}

static const struct expr *conjunction_expr(struct schema *s, const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *place = &k->places[i];
        if (!place->is_any_of_done && json_object_get(place->schema, "anyOf") != NULL)
            return branches_expr(s, k, i, "anyOf");
        const json_t *one_of = json_object_get(place->schema, "oneOf");
        if (place->is_one_of_done || one_of == NULL)
            continue;
        if (!schema_branches_exclude(s, one_of)) {
            schema_fail(s, STATUS_UNSUPPORTED, place, "oneOf",
                        "has branches that may match the same value; use anyOf");
            return NULL;
        }
        return branches_expr(s, k, i, "oneOf");
    }
    return schema_value_expr(s, k);
}

const struct expr *schema_expr(struct compile *c, const json_t *root)
{
    struct schema s = {.c = c, .root = root};
    struct place_list list = {0};
    if (!json_rules_add(c, &s.json) || !place_list_add(&s, &list, root, ""))
        return NULL;
    const struct expr *whole = place_list_expr(&s, &list);
    for (uint32_t i = 0; i < s.known_count && c->failed == STATUS_OK; i++) {
        struct conjunction k = s.known[i]; /* the array may move */
        const struct expr *body = conjunction_expr(&s, &k);
        if (c->failed == STATUS_OK)
            c->rules[k.rule].body = body;
    }
    return c->failed == STATUS_OK ? whole : NULL;
}
