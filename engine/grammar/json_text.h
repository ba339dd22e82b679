#ifndef PENSTOCK_GRAMMAR_JSON_TEXT_H
#define PENSTOCK_GRAMMAR_JSON_TEXT_H

#include "json.h"

#include "automaton.h"

/* The texts of JSON (RFC 8259) as expressions. Escapes of surrogates are left out: the characters can be written as they
 * are, and halves of them are refused by many readers. NULL: failed. */

/* Rules that describe any JSON value, made once a compilation. */
struct json_rules {
    uint32_t value, object, array, string;
};
bool json_rules_add(struct compile *c, struct json_rules *out);

/* A string of min..max characters. */
const struct expr *json_string_expr(struct compile *c, uint32_t min, uint32_t max);
/* Any string after its opening quote. */
const struct expr *json_string_rest_expr(struct compile *c);
/* Numbers have up to JSON_WHOLE_DIGITS digits, then JSON_FRACTION_DIGITS after the point, and those with an exponent
 * JSON_EXPONENT_DIGITS there: a double or an int64 tells no more apart, and without an end small models go on for ever. */
#define JSON_WHOLE_DIGITS    19u
#define JSON_FRACTION_DIGITS 17u
#define JSON_EXPONENT_DIGITS 3u
const struct expr *json_integer_expr(struct compile *c);
const struct expr *json_decimal_expr(struct compile *c); /* without exponent */
const struct expr *json_number_expr(struct compile *c);

/* The inside of a string whose decoded text is one of `a`'s: characters are escaped only where they must be. */
const struct automaton *json_escape_automaton(struct compile *c, const struct automaton *a);

/* A text as the inside of a JSON string. */
const struct expr *json_inside_expr(struct compile *c, struct text_slice text);

/* One value, with whitespace where it may be. Numbers are written as the value has them. */
const struct expr *json_literal_expr(struct compile *c, const json_t *value);

#endif
