#ifndef PENSTOCK_GRAMMAR_SCHEMA_H
#define PENSTOCK_GRAMMAR_SCHEMA_H

#include "json_text.h"

/* JSON Schema -> rules. Drafts 4 to 2020-12 as far as grammar.h says.
 *
 * The unit is a conjunction: the schemas that hold at one place of the value, because $ref and allOf add to what they stand
 * beside. Each conjunction is a rule, found again by the schemas in it; so recursion in the schema becomes recursion of
 * rules, and what is named twice is compiled once. Rules wait in a list until their turn: nothing recurses over $ref.
 *
 * An anyOf in a conjunction makes it a choice of conjunctions, one a branch; what is left has none and is taken apart by
 * type. oneOf, not, if, dependent* and contains are first said by schemas that have only anyOf, allOf, keywords of types, and
 * `not` of constants or of one pattern (schema_core.c, schema_denial.c): a schema that holds where another does not is the
 * anyOf of what denies each of its keywords. A keyword whose denial cannot be said is left out of that choice, so what
 * is written still keeps the schema. */

/* A schema and where it stands, for messages. */
struct place {
    const json_t *schema; /* an object */
    const char *path;     /* JSON pointer */
    /* It asks (if, not) and does not describe: its properties are none that an object without additionalProperties has. */
    bool is_condition;
    bool is_sole_top; /* all other places of its list came by way of it */
    bool is_any_of_done, is_core_added;
};

struct conjunction {
    const struct place *places; /* [count]; in the order of the text */
    uint32_t count;
    uint32_t rule;
    uint64_t hash; /* of the places */
};

/* Schemas that were made of others, found again by those: what is denied twice is one schema, so recursion ends. */
struct derivation {
    const json_t *from;
    uint32_t kind; /* enum derivation_kind */
    const json_t *made;
};

struct schema {
    struct compile *c;
    const json_t *root;
    json_t *made;                   /* owned; array: holds all that were made */
    struct derivation *derivations; /* [derivation_mask + 1], by hash; `from` NULL: free */
    uint32_t derivation_count, derivation_mask;
    struct json_rules json;
    struct conjunction *known; /* all so far; [known_count] */
    uint32_t known_count, known_capacity;
};

enum type_bit {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_FRACTION = 8, /* "number" is both; alone: no whole number, however written */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127
};

/* The type of TYPE_FRACTION, which only denials of "integer" name. */
#define SCHEMA_FRACTION "number but no integer"

/* The whole. NULL: failed. */
const struct expr *schema_expr(struct compile *c, const json_t *schema);

/* --- between its files --- */

/* Schemas that hold together, in the making. */
struct place_list {
    struct place *items;
    uint32_t count, capacity;
    bool is_false; /* one of them is `false` */
};

/* Adds a schema (an object or a boolean) with all that $ref and allOf bring in. False: failed. `path` is kept. */
bool place_list_add(struct schema *s, struct place_list *list, const json_t *schema,
                    const char *path);
/* The same, as a condition. */
bool place_list_add_condition(struct schema *s, struct place_list *list, const json_t *schema,
                              const char *path);
/* The value that all of them describe. NULL: failed. */
const struct expr *place_list_expr(struct schema *s, struct place_list *list);

/* "path/name" in the compilation's memory; NULL: failed. */
const char *schema_path(struct schema *s, const char *path, const char *name);
/* Fails with "path: keyword: text". Always false. */
bool schema_fail(struct schema *s, status code, const struct place *place, const char *keyword,
                 const char *text);

/* Reads the keywords that a place has; false: one of them has the wrong form, or cannot be kept. */
bool schema_check_keywords(struct schema *s, const struct place *place);

/* The largest minimum or smallest maximum that a keyword gives to all places. False: failed. */
bool schema_count(struct schema *s, const struct conjunction *k, const char *keyword, bool is_most,
                  uint32_t *out);

/* The rule's body, made of places without anyOf. */
const struct expr *schema_value_expr(struct schema *s, const struct conjunction *k);
const struct expr *schema_string_expr(struct schema *s, const struct conjunction *k);
/* `types`: TYPE_INTEGER, TYPE_FRACTION or both. */
const struct expr *schema_number_expr(struct schema *s, const struct conjunction *k,
                                      uint32_t types);
const struct expr *schema_array_expr(struct schema *s, const struct conjunction *k);
const struct expr *schema_object_expr(struct schema *s, const struct conjunction *k);

/* Decoded texts that patterns, formats and lengths allow; *out NULL: any. False: failed. */
bool schema_string_automaton(struct schema *s, const struct conjunction *k,
                             const struct automaton **out);
bool schema_number_fits(const struct conjunction *k, double value);

/* The types that a conjunction leaves, from `type`, `nullable`, and the keywords that it has; enum_type_bit. */
uint32_t schema_types(const struct conjunction *k);
/* Those that values which keep it have, from `type` alone. */
uint32_t schema_declared_types(const struct conjunction *k);
uint32_t schema_type_of_value(const json_t *value);
const char *schema_type_name(uint32_t bit); /* of one bit */
uint32_t schema_named_types(const json_t *type);
/* Equal as JSON Schema has it: 1 and 1.0 are. */
bool schema_values_equal(const json_t *a, const json_t *b);
/* The values of a place's `const` or `enum`; NULL: it has none. */
const json_t *schema_constant(const json_t *schema, size_t index);
size_t schema_constant_count(const json_t *schema);
/* What a place excludes by `not`, where that is left to its own kind of value: an object with `const`, `enum` or `pattern` alone;
 * NULL: nothing. */
const json_t *schema_atom(const json_t *schema);
bool schema_has_constants(const struct conjunction *k);
/* Does `not` of a place exclude the constant? */
bool schema_is_excluded(const struct conjunction *k, const json_t *value);
/* Notes that a keyword is kept by leaving out texts that it allows. */
void schema_leave_out(struct schema *s, const struct place *place, const char *keyword);
/* The constants that keep a conjunction, each once; a new array, NULL: failed, or it names none. */
json_t *schema_constants(struct schema *s, const struct conjunction *k);
/* May objects of the conjunction have no properties but those that it names? */
bool schema_is_closed(const struct conjunction *k);
/* Does a place that is no condition speak of the property? Patterns are not tried: where there are some it may. */
bool schema_may_know(const struct conjunction *k, const char *name);

/* --- schema_shown.c: what can be seen without compiling --- */

/* No value keeps both. */
bool schema_excludes(struct schema *s, const struct conjunction *a, const struct conjunction *b);
/* No value keeps it. */
bool schema_is_impossible(struct schema *s, const struct conjunction *k);
/* Every value that is written for the conjunction keeps `schema`, which a denial was made of. */
bool schema_is_implied(const struct conjunction *k, const json_t *schema);

/* --- schema_core.c, schema_denial.c: schemas made of others --- */

enum derivation_kind {
    DERIVED_CORE,
    DERIVED_DENIAL,
    /* Marks: `from` and `made` are the same. */
    MADE_PLAIN,
    MADE_DENIAL, /* its branches are conditions */
    MADE_ONE_OF
};

/* What has been made before; NULL: nothing. */
const json_t *schema_derived(const struct schema *s, const json_t *from, enum derivation_kind kind);
/* Takes over `made` (NULL: there was no memory) until the end, and finds it again by `from`; NULL: failed. */
const json_t *schema_derive(struct schema *s, const json_t *from, enum derivation_kind kind,
                            json_t *made);
/* Marks what has been made already. False: failed. */
bool schema_mark(struct schema *s, const json_t *made, enum derivation_kind mark);
static inline bool schema_is_denial(const struct schema *s, const json_t *schema)
{
    return schema_derived(s, schema, MADE_DENIAL) != NULL;
}
/* What oneOf, not, if, dependent* and contains say, in keywords that conjunctions are taken apart by. *out NULL: the schema has
 * none of them. False: failed. */
bool schema_core(struct schema *s, const struct place *place, const json_t **out);
/* A schema, true or false, that holds where `schema` does not; NULL: failed. */
const json_t *schema_denial(struct schema *s, const json_t *schema, const char *path);
/* A schema in JSON that others are made of: jansson's functions want it without const, and count it. */
json_t *schema_part(const json_t *schema);

/* --- schema_unique.c --- */

/* One or more items that are all different, min..max of them, each of which keeps `item`, `separator` between. `place` has the
 * keyword. NULL: failed. */
const struct expr *schema_unique_expr(struct schema *s, const struct conjunction *item,
                                      const struct place *place, uint32_t min, uint32_t max,
                                      const struct expr *separator);

/* The schema that a reference names, and its path; false: failed. */
bool schema_resolve(struct schema *s, const struct place *from, const char *reference,
                    const json_t **out, const char **path);

/* The regex of a format; NULL: the format is an annotation. */
const char *schema_format_regex(const char *name);

/* Decoded texts that the automaton does not have. NULL: failed. */
const struct automaton *schema_other_text(struct schema *s, const struct automaton *a);

#endif
