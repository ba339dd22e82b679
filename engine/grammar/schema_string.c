#include "regex.h"
#include "schema.h"

/* Strings. Length alone counts characters, however they are written. Patterns and formats speak of the decoded text: they are
 * intersected as automata over it, and the result is escaped. */

/* Texts that every common checker of the format takes: a part of what the RFCs allow where checkers differ. */
#define YEAR_COMMON "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
/* A year is a leap year if 4 divides it, unless it ends in 00 and 400 does not. */
#define YEAR_LEAP                                                                                  \
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                                       \
    "(?:" YEAR_COMMON "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-"           \
    "(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" YEAR_LEAP "-02-29)"
#define TIME                                                                                       \
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):"   \
    "[0-5][0-9])"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
/* A shorter label, for texts that have more parts. */
#define NAME "[A-Za-z0-9](?:[A-Za-z0-9-]{0,14}[A-Za-z0-9])?"
#define TOP  "[A-Za-z]{2,8}"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(?:\\." BYTE "){3}"
#define HEX4 "[0-9A-Fa-f]{1,4}"
#define DURATION_TIME                                                                              \
    "T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S)"
#define DURATION_DATE                                                                              \
    "(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)"

struct format {
    const char *name, *regex;
};

static const struct format formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", "P(?:" DURATION_DATE "(?:" DURATION_TIME ")?|" DURATION_TIME "|[0-9]{1,6}W)"},
    {"email",
     "[A-Za-z0-9_+-]{1,16}(?:\\.[A-Za-z0-9_+-]{1,16}){0,2}@" NAME "(?:\\." NAME ")?\\." TOP},
    {"hostname", LABEL "(?:\\." LABEL "){0,2}"},
    {"ipv4", IPV4},
    {"ipv6", "(?:(?:" HEX4 ":){7}" HEX4 "|(?:" HEX4 ":){1,6}:" HEX4 "|(?:" HEX4
             ":){1,7}:|::(?:" HEX4 ":){0,6}" HEX4 "|::)"},
    {"uri", "(?:https?|ftp)://" NAME "(?:\\." NAME "){0,2}(?::[1-9][0-9]{0,3})?"
            "(?:/"
            "(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}){0,24}){0,6}(?:\\?[A-Za-z0-9._~=&-]{0,32})?(?:#[A-"
            "Za-z0-9._~-]{0,16})?"},
    {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
};

const char *schema_format_regex(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].regex;
    }
    return NULL;
}

static bool intersect(struct schema *s, const struct automaton **all, const struct automaton *one)
{
    if (one == NULL)
        return false;
    *all = *all != NULL ? automaton_intersect(s->c, *all, one) : one;
    return *all != NULL;
}

static bool add_pattern(struct schema *s, const struct place *place, const struct automaton **all)
{
    const json_t *pattern = json_object_get(place->schema, "pattern");
    if (pattern == NULL)
        return true;
    const char *where = schema_path(s, place->path, "pattern");
    struct text_slice text = {json_string_value(pattern), json_string_length(pattern)};
    return where != NULL && intersect(s, all, regex_search(s->c, text, where));
}

static bool add_format(struct schema *s, const struct place *place, const struct automaton **all)
{
    const char *name = json_string_value(json_object_get(place->schema, "format"));
    const char *regex = schema_format_regex(name);
    if (regex == NULL)
        return true;
    const struct expr *e = regex_whole(s->c, text_slice_of(regex), name);
    return e != NULL && intersect(s, all, automaton_from_expr(s->c, e));
}

const struct automaton *schema_other_text(struct schema *s, const struct automaton *a)
{
    struct compile *c = s->c;
    const struct expr *character = expr_range(c, 0, 0x10FFFF);
    const struct expr *any =
        character != NULL ? expr_repeat(c, character, NULL, 0, EXPR_UNBOUNDED) : NULL;
    const struct automaton *others = automaton_complement(c, a);
    return any != NULL && others != NULL
               ? automaton_intersect(c, automaton_from_expr(c, any), others)
               : NULL;
}

/* What `not` of a place excludes: constants, or what a pattern matches. */
static bool add_excluded(struct schema *s, const struct place *place, const struct automaton **all)
{
    struct compile *c = s->c;
    const json_t *atom = schema_atom(place->schema);
    const json_t *pattern = json_object_get(atom, "pattern");
    struct expr_list list = {0};
    if (pattern != NULL) {
        const char *where = schema_path(s, place->path, "not/pattern");
        struct text_slice text = {json_string_value(pattern), json_string_length(pattern)};
        const struct automaton *matched = where != NULL ? regex_search(c, text, where) : NULL;
        return matched != NULL && intersect(s, all, schema_other_text(s, matched));
    }
    for (size_t i = 0; i < schema_constant_count(atom); i++) {
        const json_t *value = schema_constant(atom, i);
        struct text_slice text = {json_string_value(value), json_string_length(value)};
        if (json_is_string(value) && !expr_list_add(c, &list, expr_text(c, text)))
            return false;
    }
    if (list.count == 0)
        return true;
    const struct automaton *texts = automaton_from_expr(c, expr_choice(c, list.items, list.count));
    return texts != NULL && intersect(s, all, schema_other_text(s, texts));
}

static bool add_length(struct schema *s, uint32_t min, uint32_t max, const struct automaton **all)
{
    if (min == 0 && max == EXPR_UNBOUNDED)
        return true;
    const struct expr *any = expr_range(s->c, 0, 0x10FFFF);
    const struct expr *e = any != NULL ? expr_repeat(s->c, any, NULL, min, max) : NULL;
    return e != NULL && intersect(s, all, automaton_from_expr(s->c, e));
}

static bool read_lengths(struct schema *s, const struct conjunction *k, uint32_t *min,
                         uint32_t *max)
{
    *min = 0;
    *max = EXPR_UNBOUNDED;
    return schema_count(s, k, "minLength", false, min) &&
           schema_count(s, k, "maxLength", true, max);
}

bool schema_string_automaton(struct schema *s, const struct conjunction *k,
                             const struct automaton **out)
{
    uint32_t min;
    uint32_t max;
    *out = NULL;
    for (uint32_t i = 0; i < k->count; i++) {
        const struct place *place = &k->places[i];
        if (!add_pattern(s, place, out) || !add_format(s, place, out) ||
            !add_excluded(s, place, out))
            return false;
    }
    return read_lengths(s, k, &min, &max) && (max >= min) && add_length(s, min, max, out);
}

static bool excludes_strings(const json_t *schema)
{
    const json_t *atom = schema_atom(schema);
    bool is_found = json_object_get(atom, "pattern") != NULL;
    for (size_t i = 0; i < schema_constant_count(atom); i++)
        is_found |= json_is_string(schema_constant(atom, i));
    return is_found;
}

static bool has_form(const struct conjunction *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        if (json_object_get(schema, "pattern") != NULL || excludes_strings(schema) ||
            schema_format_regex(json_string_value(json_object_get(schema, "format"))) != NULL)
            return true;
    }
    return false;
}

const struct expr *schema_string_expr(struct schema *s, const struct conjunction *k)
{
    struct compile *c = s->c;
    uint32_t min;
    uint32_t max;
    const struct automaton *text;
    if (!read_lengths(s, k, &min, &max))
        return NULL;
    if (max < min)
        return expr_none(c);
    if (!has_form(k))
        return min == 0 && max == EXPR_UNBOUNDED ? expr_rule(c, s->json.string)
                                                 : json_string_expr(c, min, max);
    if (!schema_string_automaton(s, k, &text))
        return NULL;
    const struct automaton *inside = json_escape_automaton(c, text);
    return inside == NULL ? NULL
                          : expr_join(c, expr_word(c, "\""), expr_automaton(c, inside),
                                      expr_word(c, "\""), NULL);
}
