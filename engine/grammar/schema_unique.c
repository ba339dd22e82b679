#include "schema.h"

/* Arrays whose items are all different (uniqueItems). Few constants may come in any order, many in that of the schema. Other items have
 * no end of values, and no automaton remembers them: strings and numbers then begin with different characters, in rising
 * order, and of everything else there is one item at the most. */

/* States for all items together: what a set of constants in any order, or the groups of first characters may take. */
#define UNIQUE_STATES_MAX 20000u
/* First characters that tell items apart: printable ones that need no escape. */
#define FIRST_LOW  0x20u
#define FIRST_HIGH 0x7Eu
/* More items than that are never written where they rise and are counted, unless the least number says so. */
#define RISING_MAX 16u

/* --- constants --- */

/* An enum of constants, or boolean and null, as a new array; NULL: neither, or failed. */
static json_t *finite_values(struct schema *s, const struct conjunction *k)
{
    uint32_t types = schema_types(k);
    if (schema_has_constants(k))
        return schema_constants(s, k);
    if ((types & ~(uint32_t)(TYPE_BOOLEAN | TYPE_NULL)) != 0)
        return NULL;
    json_t *values = json_array();
    json_t *all[] = {json_true(), json_false(), json_null()};
    for (size_t i = 0; i < 3; i++) {
        if ((schema_type_of_value(all[i]) & types) != 0 && !schema_is_excluded(k, all[i]))
            (void)json_array_append(values, all[i]);
    }
    return values;
}

/* With a least number beyond one, or a most that all together exceed. */
static bool is_counted(const struct expr_distinct *distinct, uint32_t count)
{
    return distinct->min > 1 || distinct->max < count;
}

/* Items in their order, of which each may be left out; counted only where that is asked for. */
static const struct expr *ordered_expr(struct schema *s, const struct expr_list *items,
                                       struct expr_distinct distinct)
{
    if (items->count == 0)
        return expr_none(s->c);
    distinct.items = items->items;
    distinct.count = items->count;
    distinct.is_ordered = true;
    if (is_counted(&distinct, items->count))
        return expr_distinct(s->c, &distinct);
    bool *is_required = compile_allocate(s->c, items->count, sizeof *is_required);
    const struct expr_members members = {.items = items->items,
                                         .is_required = is_required,
                                         .count = items->count,
                                         .separator = distinct.separator};
    return is_required != NULL ? expr_members(s->c, &members) : NULL;
}

static const struct expr *constants_expr(struct schema *s, const json_t *values,
                                         struct expr_distinct distinct)
{
    struct expr_list list = {0};
    uint64_t size = 0;
    for (size_t i = 0; i < json_array_size(values); i++) {
        const struct expr *literal = json_literal_expr(s->c, json_array_get(values, i));
        if (!expr_list_add(s->c, &list, literal))
            return NULL;
        size += literal->size + distinct.separator->size;
    }
    bool is_large =
        list.count > EXPR_DISTINCT_MAX || (size << (list.count - 1)) > UNIQUE_STATES_MAX;
    if (list.count == 0 || is_large)
        return ordered_expr(s, &list, distinct);
    distinct.items = list.items;
    distinct.count = list.count;
    return expr_distinct(s->c, &distinct);
}

/* --- strings and numbers --- */

/* Texts of items that begin with a character of low..high: after the quote, or with the first digit. */
static const struct automaton *beginning_automaton(struct compile *c, bool is_string, uint8_t low,
                                                   uint8_t high)
{
    struct automaton_builder b = {.c = c};
    if (is_string && (!builder_start_state(&b, false) || !builder_add_edge(&b, '"', '"', 1)))
        return NULL;
    uint32_t rest = is_string ? 2 : 1;
    if (!builder_start_state(&b, false) || !builder_add_edge(&b, low, high, rest) ||
        !builder_start_state(&b, true) ||
        !(is_string ? builder_add_edge(&b, 0, UINT8_MAX, rest)
                    : builder_add_edge(&b, '0', '9', rest) && builder_add_edge(&b, '.', '.', rest)))
        return NULL;
    return builder_finish(&b);
}

/* Adds the items that begin with low..high, if there are any. */
static bool add_group(struct schema *s, const struct automaton *items, bool is_string, uint8_t low,
                      uint8_t high, struct expr_list *out)
{
    struct compile *c = s->c;
    const struct automaton *begins = beginning_automaton(c, is_string, low, high);
    const struct automaton *group = begins != NULL ? automaton_intersect(c, items, begins) : NULL;
    if (group == NULL)
        return false;
    bool is_empty = group->edge_first[1] == 0;
    return is_empty || expr_list_add(c, out, expr_automaton(c, group));
}

/* So many first characters to a group that all groups together are no larger than they may be. */
static bool list_groups(struct schema *s, const struct automaton *items, bool is_string,
                        uint32_t rows, struct expr_list *out)
{
    uint32_t first = is_string ? FIRST_LOW : '0';
    uint32_t last = is_string ? FIRST_HIGH : '9';
    uint64_t groups = UNIQUE_STATES_MAX / ((uint64_t)items->state_count * rows + 1);
    groups = groups > 0 ? groups : 1;
    uint32_t width = (uint32_t)((last - first) / groups) + 1;
    for (uint32_t low = first; low <= last; low += width) {
        uint32_t end = low + width - 1 < last ? low + width - 1 : last;
        for (uint32_t at = low; at <= end;) {
            /* A quote ends the string, and what is escaped may be written in two ways. */
            uint32_t stop = at;
            while (is_string && stop <= end && stop != '"' && stop != '\\')
                stop++;
            stop = is_string ? stop : end + 1;
            if (stop > at && !add_group(s, items, is_string, (uint8_t)at, (uint8_t)(stop - 1), out))
                return false;
            at = stop + (is_string ? 1 : 0);
        }
    }
    return true;
}

static const struct expr *rising_expr(struct schema *s, const struct conjunction *k, uint32_t types,
                                      struct expr_distinct distinct)
{
    bool is_string = types == TYPE_STRING;
    struct expr_list groups = {0};
    const struct expr *e = is_string ? schema_string_expr(s, k) : schema_number_expr(s, k, types);
    const struct automaton *items = e != NULL ? automaton_from_expr(s->c, e) : NULL;
    if (items == NULL)
        return NULL;
    uint32_t characters = is_string ? FIRST_HIGH - FIRST_LOW + 1 : 10;
    bool counts = is_counted(&distinct, characters);
    uint32_t most = distinct.min > RISING_MAX ? distinct.min : RISING_MAX;
    if (counts && distinct.max > most)
        distinct.max = most;
    if (!list_groups(s, items, is_string, counts ? distinct.max : 1, &groups))
        return NULL;
    return ordered_expr(s, &groups, distinct);
}

/* --- the whole --- */

static bool has_choice(const struct conjunction *k)
{
    static const char *const keywords[] = {"anyOf", "oneOf", "if", "contains"};
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        for (size_t j = 0; j < sizeof keywords / sizeof keywords[0]; j++) {
            if (json_object_get(schema, keywords[j]) != NULL)
                return true;
        }
        if (json_object_get(schema, "not") != NULL && schema_atom(schema) == NULL)
            return true;
    }
    return false;
}

const struct expr *schema_unique_expr(struct schema *s, const struct conjunction *k,
                                      const struct place *place, uint32_t min, uint32_t max,
                                      const struct expr *separator)
{
    struct expr_distinct distinct = {.separator = separator, .min = min, .max = max};
    uint32_t types = schema_types(k);
    bool is_open = has_choice(k) || k->count == 0;
    json_t *values = is_open ? NULL : finite_values(s, k);
    const struct expr *e = NULL;
    if (values != NULL) {
        e = constants_expr(s, values, distinct);
        json_decref(values);
        return e;
    }
    schema_leave_out(s, place, "uniqueItems");
    if (!is_open &&
        (types == TYPE_STRING || (types & ~(uint32_t)(TYPE_INTEGER | TYPE_FRACTION)) == 0))
        return rising_expr(s, k, types, distinct);
    if (min > 1)
        return expr_none(s->c);
    struct place_list list = {
        .items = (struct place *)(uintptr_t)k->places, .count = k->count, .capacity = k->count};
    return place_list_expr(s, &list);
}
