#include "schema.h"

/* Conjunctions: put together, found again, and taken apart at anyOf. See schema.h. */

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

void schema_leave_out(struct schema *s, const struct place *place, const char *keyword)
{
    if (s->c->left_out != NULL)
        return;
    s->c->left_out = keyword;
    s->c->left_out_path = place->path;
}

/* --- putting together --- */

/* A schema that is there already; what describes it once describes it always. */
static bool list_has(struct place_list *list, const json_t *schema, bool is_condition)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i].schema != schema)
            continue;
        list->items[i].is_condition &= is_condition;
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
    bool is_made = schema_derived(s, from->schema, MADE_PLAIN) != NULL;
    const char *path = is_made ? from->path : schema_path(s, from->path, "allOf");
    for (size_t i = json_array_size(all_of); path != NULL && i-- > 0;) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", i);
        const char *own = is_made ? path : schema_path(s, path, number);
        if (!pending_push(s, stack, json_array_get(all_of, i), own, from))
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
static bool list_add(struct schema *s, struct place_list *list, const json_t *schema,
                     const char *path, bool is_condition)
{
    struct pending_stack stack = {NULL};
    bool is_first = list->count == 0;
    if (!pending_push(s, &stack, schema, path, NULL))
        return false;
    while (stack.top != NULL) {
        const struct pending *item = stack.top;
        struct place place = {.schema = item->schema,
                              .path = item->path,
                              .is_condition = is_condition,
                              .is_sole_top = is_first && item->from == NULL};
        stack.top = item->next;
        if (json_is_boolean(item->schema)) {
            list->is_false |= json_is_false(item->schema);
            continue;
        }
        if (!json_is_object(item->schema))
            return compile_fail(s->c, STATUS_INVALID,
                                "the schema at '%.400s' is neither an object nor a boolean",
                                item->path);
        if (list_has(list, item->schema, is_condition)) {
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

bool place_list_add(struct schema *s, struct place_list *list, const json_t *schema,
                    const char *path)
{
    if (list->count > 0)
        list->items[0].is_sole_top = false;
    return list_add(s, list, schema, path, false);
}

bool place_list_add_condition(struct schema *s, struct place_list *list, const json_t *schema,
                              const char *path)
{
    return list_add(s, list, schema, path, true);
}

/* --- finding again --- */

static uint64_t hash_places(const struct place_list *list)
{
    uint64_t hash = list->count;
    for (uint32_t i = 0; i < list->count; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)list->items[i].schema) * 0x9E3779B97F4A7C15ull;
    return hash;
}

static bool same_places(const struct conjunction *k, const struct place_list *list, uint64_t hash)
{
    if (k->hash != hash || k->count != list->count)
        return false;
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *a = &k->places[i];
        const struct place *b = &list->items[i];
        if (a->schema != b->schema || a->is_any_of_done != b->is_any_of_done ||
            a->is_core_added != b->is_core_added || a->is_condition != b->is_condition ||
            a->is_sole_top != b->is_sole_top)
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
    uint64_t hash = hash_places(list);
    for (uint32_t i = 0; i < s->known_count; i++) {
        if (same_places(&s->known[i], list, hash))
            return expr_rule(c, s->known[i].rule);
    }
    s->known = compile_grow(c, s->known, s->known_count, &s->known_capacity, sizeof *s->known);
    uint32_t rule = compile_add_rule(c, (struct text_slice){NULL, 0});
    if (!compile_go_on(c, s->known_count + 16))
        return NULL;
    s->known[s->known_count++] = (struct conjunction){
        .places = list->items, .count = list->count, .rule = rule, .hash = hash};
    return expr_rule(c, rule);
}

/* --- taking apart --- */

static bool list_copy(struct schema *s, const struct conjunction *k, struct place_list *out)
{
    *out = (struct place_list){0};
    for (uint32_t i = 0; i < k->count; i++) {
        if (!list_append(s, out, k->places[i]))
            return false;
    }
    return true;
}

/* One place denies another as a whole. */
static bool list_contradicts(struct schema *s, const struct place_list *list)
{
    for (uint32_t i = 0; i < list->count && compile_go_on(s->c, list->count); i++) {
        const json_t *denied = json_object_get(list->items[i].schema, "not");
        for (uint32_t j = 0; denied != NULL && j < list->count; j++) {
            if (list->items[j].schema == denied)
                return true;
        }
    }
    return false;
}

/* What place `at` says by oneOf, not, if, dependent* and contains; and a denial that has one branch only, which is no choice. */
static bool complete_place(struct schema *s, struct place_list *list, uint32_t at)
{
    struct place place = list->items[at]; /* the array may move */
    const json_t *branches = json_object_get(place.schema, "anyOf");
    const json_t *core;
    if (!place.is_core_added) {
        list->items[at].is_core_added = true;
        if (!schema_core(s, &place, &core) ||
            (core != NULL && !list_add(s, list, core, place.path, place.is_condition)))
            return false;
    }
    if (place.is_any_of_done || json_array_size(branches) != 1 ||
        !schema_is_denial(s, place.schema))
        return true;
    list->items[at].is_any_of_done = true;
    return list_add(s, list, json_array_get(branches, 0), place.path, true);
}

static bool list_complete(struct schema *s, struct place_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (!complete_place(s, list, i))
            return false;
    }
    list->is_false |= list_contradicts(s, list);
    return s->c->failed == STATUS_OK;
}

/* Schemas that were made have none of their own. */
static const char *branch_path(struct schema *s, const struct place *place, size_t index)
{
    bool is_one_of = schema_derived(s, place->schema, MADE_ONE_OF) != NULL;
    if (!is_one_of && (schema_is_denial(s, place->schema) ||
                       schema_derived(s, place->schema, MADE_PLAIN) != NULL))
        return place->path;
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", index);
    const char *path = schema_path(s, place->path, is_one_of ? "oneOf" : "anyOf");
    return path != NULL ? schema_path(s, path, number) : NULL;
}

/* The conjunction of a list in which place `at` has taken one branch of its anyOf; NULL: failed. */
static const struct expr *branch_expr(struct schema *s, const struct conjunction *k, uint32_t at,
                                      size_t index)
{
    struct place_list list;
    struct place place = k->places[at];
    const json_t *branch = json_array_get(json_object_get(place.schema, "anyOf"), index);
    const char *path = branch_path(s, &place, index);
    if (path == NULL || !list_copy(s, k, &list))
        return NULL;
    list.items[at].is_any_of_done = true;
    bool is_condition = place.is_condition || schema_is_denial(s, place.schema);
    if (!list_add(s, &list, branch, path, is_condition) || !list_complete(s, &list))
        return NULL;
    struct conjunction taken = {.places = list.items, .count = list.count};
    list.is_false |= schema_is_impossible(s, &taken);
    return place_list_expr(s, &list);
}

/* The choice that place `at` has; of a denial that holds anyway, none. */
static const struct expr *branches_expr(struct schema *s, const struct conjunction *k, uint32_t at)
{
    const json_t *branches = json_object_get(k->places[at].schema, "anyOf");
    struct expr_list list = {0};
    struct place_list rest;
    bool is_denial = schema_is_denial(s, k->places[at].schema);
    for (size_t i = 0; is_denial && i < json_array_size(branches); i++) {
        if (!schema_is_implied(k, json_array_get(branches, i)))
            continue;
        if (!list_copy(s, k, &rest))
            return NULL;
        rest.items[at].is_any_of_done = true;
        return place_list_expr(s, &rest);
    }
    for (size_t i = 0; i < json_array_size(branches); i++) {
        if (!expr_list_add(s->c, &list, branch_expr(s, k, at, i)))
            return NULL;
    }
    return expr_choice(s->c, list.items, list.count);
}

/* The place whose anyOf is next; denials come last, when more is there to tell which of their branches are left. */
static uint32_t find_choice(const struct schema *s, const struct conjunction *k)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = k->count; i-- > 0;) {
        const struct place *place = &k->places[i];
        if (place->is_any_of_done || json_object_get(place->schema, "anyOf") == NULL)
            continue;
        bool is_denial = schema_is_denial(s, place->schema);
        if (!is_denial)
            found = i;
        else if (found == UINT32_MAX || schema_is_denial(s, k->places[found].schema))
            found = i;
    }
    return found;
}

static const struct expr *conjunction_expr(struct schema *s, const struct conjunction *k)
{
    struct place_list list;
    if (!list_copy(s, k, &list) || !list_complete(s, &list))
        return NULL;
    struct conjunction whole = {.places = list.items, .count = list.count};
    if (list.is_false || schema_is_impossible(s, &whole))
        return s->c->failed == STATUS_OK ? expr_none(s->c) : NULL;
    uint32_t choice = find_choice(s, &whole);
    return choice == UINT32_MAX ? schema_value_expr(s, &whole) : branches_expr(s, &whole, choice);
}

static const struct expr *root_expr(struct schema *s)
{
    struct compile *c = s->c;
    struct place_list list = {0};
    if (!json_rules_add(c, &s->json) || !place_list_add(s, &list, s->root, ""))
        return NULL;
    const struct expr *whole = place_list_expr(s, &list);
    for (uint32_t i = 0; i < s->known_count && c->failed == STATUS_OK; i++) {
        struct conjunction k = s->known[i]; /* the array may move */
        const struct expr *body = conjunction_expr(s, &k);
        if (c->failed == STATUS_OK)
            c->rules[k.rule].body = body;
    }
    return c->failed == STATUS_OK ? whole : NULL;
}

const struct expr *schema_expr(struct compile *c, const json_t *root)
{
    struct schema s = {.c = c, .root = root, .made = json_array()};
    if (s.made == NULL) {
        compile_fail(c, STATUS_NO_MEMORY, "no memory for the schema");
        return NULL;
    }
    const struct expr *whole = root_expr(&s);
    json_decref(s.made);
    return whole;
}
