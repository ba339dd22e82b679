#ifndef PENSTOCK_GRAMMAR_SCHEMA_H
#define PENSTOCK_GRAMMAR_SCHEMA_H

#include "json_text.h"

/* JSON Schema -> rules. Drafts 4 to 2020-12 as far as grammar.h says.
 *
 * The unit is a conjunction: the schemas that hold at one place of the value, because $ref and allOf add to what they stand
 * beside. Each conjunction is a rule, found again by the schemas in it; so recursion in the schema becomes recursion of
 * rules, and what is named twice is compiled once. Rules wait in a list until their turn: nothing recurses over $ref.
 *
 * An anyOf or oneOf in a conjunction makes it a choice of conjunctions, one a branch; what is left has none and is
 * taken apart by type. */

/* A schema and where it stands, for messages. */
struct place {
    const json_t *schema; /* an object */
    const char *path;     /* JSON pointer */
    bool is_any_of_done, is_one_of_done;
};

struct conjunction {
    const struct place *places; /* [count]; in the order of the text */
    uint32_t count;
    uint32_t rule;
};

struct schema {
    struct compile *c;
    const json_t *root;
    struct json_rules json;
    struct conjunction *known; /* all so far; [known_count] */
    uint32_t known_count, known_capacity;
};

enum type_bit {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_FRACTION = 8, /* "number" is both */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127
};

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

/* The rule's body, made of places without anyOf and oneOf. */
const struct expr *schema_value_expr(struct schema *s, const struct conjunction *k);
const struct expr *schema_string_expr(struct schema *s, const struct conjunction *k);
const struct expr *schema_number_expr(struct schema *s, const struct conjunction *k,
                                      bool is_integer);
const struct expr *schema_array_expr(struct schema *s, const struct conjunction *k);
const struct expr *schema_object_expr(struct schema *s, const struct conjunction *k);

/* Decoded texts that patterns, formats and lengths allow; *out NULL: any. False: failed. */
bool schema_string_automaton(struct schema *s, const struct conjunction *k,
                             const struct automaton **out);
/* Does the value keep `type`, `enum`, and the keywords for its own kind? Objects and arrays beside keywords for their parts
 * fail the compilation. */
bool schema_value_fits(struct schema *s, const struct conjunction *k, const json_t *value);
bool schema_number_fits(const struct conjunction *k, double value);

/* The types that a conjunction leaves, from `type`, `nullable`, and the keywords that it has; enum_type_bit. */
uint32_t schema_types(const struct conjunction *k);
uint32_t schema_type_of_value(const json_t *value);
/* Equal as JSON Schema has it: 1 and 1.0 are. */
bool schema_values_equal(const json_t *a, const json_t *b);

/* Do no two branches of a oneOf match the same value, as far as types and constants show? */
bool schema_branches_exclude(struct schema *s, const json_t *branches);

/* The schema that a reference names, and its path; false: failed. */
bool schema_resolve(struct schema *s, const struct place *from, const char *reference,
                    const json_t **out, const char **path);

/* The regex of a format; NULL: the format is an annotation. */
const char *schema_format_regex(const char *name);

#endif
