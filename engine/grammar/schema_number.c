#include <math.h>
#include <stdlib.h>

#include "regex.h"
#include "schema.h"

/* Numbers with bounds and multiples, as automata over their decimal text.
 *
 * A bound cuts the numbers by sign: those without one are compared with it digit by digit, those with a minus have
 * their size compared the other way round. A multiple is a count modulo the divisor while the digits come. Both are intersected.
 * Bounded numbers have no exponent, and zero no minus. */

/* States of an automaton that counts modulo a divisor. */
#define MULTIPLE_STATES_MAX 20000u
/* Digits of a bound: those of the largest double, and its fraction. */
#define DIGITS_MAX 400u

/* A size, without sign: "I.F" without zeros that say nothing. */
struct decimal {
    char whole[DIGITS_MAX];    /* "0", or no zero at the start */
    char fraction[DIGITS_MAX]; /* no zero at the end */
    bool is_negative;
};

struct bounds {
    bool has_low, has_high, is_low_open, is_high_open;
    double low, high;
};

/* --- reading --- */

static void tighten_low(struct bounds *b, double value, bool is_open)
{
    if (!b->has_low || value > b->low || (value == b->low && is_open))
        *b = (struct bounds){true, b->has_high, is_open, b->is_high_open, value, b->high};
}

static void tighten_high(struct bounds *b, double value, bool is_open)
{
    if (!b->has_high || value < b->high || (value == b->high && is_open))
        *b = (struct bounds){b->has_low, true, b->is_low_open, is_open, b->low, value};
}

static struct bounds bounds_of(const struct conjunction *k)
{
    struct bounds b = {0};
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *schema = k->places[i].schema;
        const json_t *minimum = json_object_get(schema, "minimum");
        const json_t *maximum = json_object_get(schema, "maximum");
        const json_t *above = json_object_get(schema, "exclusiveMinimum");
        const json_t *below = json_object_get(schema, "exclusiveMaximum");
        if (minimum != NULL) /* a boolean beside it is draft 4 */
            tighten_low(&b, json_number_value(minimum), json_is_true(above));
        if (maximum != NULL)
            tighten_high(&b, json_number_value(maximum), json_is_true(below));
        if (json_is_number(above))
            tighten_low(&b, json_number_value(above), true);
        if (json_is_number(below))
            tighten_high(&b, json_number_value(below), true);
    }
    return b;
}

bool schema_number_fits(const struct conjunction *k, double value)
{
    struct bounds b = bounds_of(k);
    if ((b.has_low && (value < b.low || (b.is_low_open && value == b.low))) ||
        (b.has_high && (value > b.high || (b.is_high_open && value == b.high))))
        return false;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *multiple = json_object_get(k->places[i].schema, "multipleOf");
        double divisor = json_number_value(multiple);
        if (multiple != NULL && divisor > 0 && value / divisor != floor(value / divisor))
            return false;
    }
    return true;
}

/* The shortest decimal text that reads back as `value`, without exponent. */
static struct decimal decimal_of(double value)
{
    struct decimal d = {.is_negative = value < 0};
    char text[40];
    value = fabs(value);
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    char *exponent_text = strchr(text, 'e');
    long exponent = strtol(exponent_text + 1, NULL, 10);
    *exponent_text = '\0';
    uint32_t whole = 0;
    uint32_t fraction = 0;
    for (long i = exponent; i < -1; i++) /* zeros between the point and the first digit */
        d.fraction[fraction++] = '0';
    long place = exponent < 0 ? -1 : exponent;
    for (const char *c = text; *c != '\0' || place >= 0; place--) {
        char digit = *c != '\0' ? *c++ : '0';
        if (*c == '.')
            c++;
        if (place >= 0)
            d.whole[whole++] = digit;
        else
            d.fraction[fraction++] = digit;
    }
    while (fraction > 0 && d.fraction[fraction - 1] == '0')
        d.fraction[--fraction] = '\0';
    if (whole == 0)
        d.whole[0] = '0';
    return d;
}

/* --- sizes against a bound --- */

static const struct expr *digit_range(struct compile *c, char low, char high)
{
    return low > high ? expr_none(c) : expr_range(c, (uint8_t)low, (uint8_t)high);
}

static const struct expr *digits(struct compile *c, uint32_t min, uint32_t max)
{
    return expr_repeat(c, expr_range(c, '0', '9'), NULL, min, max);
}

static const struct expr *prefix_of(struct compile *c, const char *text, uint32_t bytes)
{
    return expr_text(c, (struct text_slice){text, bytes});
}

/* Whole numbers whose first digits are those of `whole`, whose next is in the direction, and which are as long. */
static bool add_same_length(struct compile *c, struct expr_list *list, const char *whole,
                            bool is_greater)
{
    uint32_t length = (uint32_t)strlen(whole);
    for (uint32_t i = 0; i < length; i++) {
        char least = i == 0 && length > 1 ? '1' : '0';
        const struct expr *next =
            is_greater ? digit_range(c, whole[i] + 1, '9') : digit_range(c, least, whole[i] - 1);
        if (!expr_list_add(c, list,
                           expr_join(c, prefix_of(c, whole, i), next,
                                     digits(c, length - i - 1, length - i - 1), NULL)))
            return false;
    }
    return true;
}

static const struct expr *whole_beyond(struct compile *c, const char *whole, bool is_greater)
{
    struct expr_list list = {0};
    uint32_t length = (uint32_t)strlen(whole);
    const struct expr *start = expr_range(c, '1', '9');
    if (!add_same_length(c, &list, whole, is_greater) || start == NULL)
        return NULL;
    if (is_greater)
        (void)expr_list_add(c, &list,
                            expr_join(c, start, digits(c, length, EXPR_UNBOUNDED), NULL, NULL));
    if (!is_greater && length > 1) {
        (void)expr_list_add(c, &list, expr_word(c, "0"));
        (void)expr_list_add(c, &list, expr_join(c, start, digits(c, 0, length - 2), NULL, NULL));
    }
    return expr_choice(c, list.items, list.count);
}

static const struct expr *any_fraction(struct compile *c)
{
    return expr_optional(c,
                         expr_join(c, expr_word(c, "."), digits(c, 1, EXPR_UNBOUNDED), NULL, NULL));
}

static const struct expr *zeros(struct compile *c, uint32_t min)
{
    return expr_repeat(c, expr_word(c, "0"), NULL, min, EXPR_UNBOUNDED);
}

/* The fraction, with its point or missing, that is greater than `text`. */
static const struct expr *fraction_above(struct compile *c, const char *text)
{
    struct expr_list list = {0};
    uint32_t length = (uint32_t)strlen(text);
    const struct expr *rest = digits(c, 0, EXPR_UNBOUNDED);
    for (uint32_t i = 0; i < length; i++)
        (void)expr_list_add(
            c, &list,
            expr_join(c, prefix_of(c, text, i), digit_range(c, text[i] + 1, '9'), rest, NULL));
    (void)expr_list_add(
        c, &list,
        expr_join(c, prefix_of(c, text, length), zeros(c, 0), expr_range(c, '1', '9'), rest));
    const struct expr *after = expr_choice(c, list.items, list.count);
    return expr_join(c, expr_word(c, "."), after, NULL, NULL);
}

static const struct expr *fraction_below(struct compile *c, const char *text)
{
    struct expr_list list = {0};
    uint32_t length = (uint32_t)strlen(text);
    if (length == 0)
        return expr_none(c);
    const struct expr *rest = digits(c, 0, EXPR_UNBOUNDED);
    for (uint32_t i = 0; i < length; i++) {
        (void)expr_list_add(
            c, &list,
            expr_join(c, prefix_of(c, text, i), digit_range(c, '0', text[i] - 1), rest, NULL));
        if (i > 0) /* cut short: the digits that are missing count as zeros */
            (void)expr_list_add(c, &list, prefix_of(c, text, i));
    }
    const struct expr *after = expr_choice(c, list.items, list.count);
    return expr_optional(c, expr_join(c, expr_word(c, "."), after, NULL, NULL));
}

static const struct expr *fraction_equal(struct compile *c, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    const struct expr *point = expr_word(c, ".");
    return length == 0 ? expr_optional(c, expr_join(c, point, zeros(c, 1), NULL, NULL))
                       : expr_join(c, point, prefix_of(c, text, length), zeros(c, 0), NULL);
}

/* Sizes beyond `d`, and `d` itself unless it is left out. */
static const struct expr *size_beyond(struct compile *c, const struct decimal *d, bool is_greater,
                                      bool is_open, bool is_integer)
{
    const struct expr *same = prefix_of(c, d->whole, (uint32_t)strlen(d->whole));
    const struct expr *far = whole_beyond(c, d->whole, is_greater);
    if (is_integer) {
        bool has_fraction = d->fraction[0] != '\0';
        bool takes_same = has_fraction ? !is_greater : !is_open;
        return takes_same ? expr_either(c, far, same) : far;
    }
    const struct expr *beyond =
        is_greater ? fraction_above(c, d->fraction) : fraction_below(c, d->fraction);
    const struct expr *near =
        is_open ? beyond : expr_either(c, beyond, fraction_equal(c, d->fraction));
    return expr_either(c, expr_join(c, far, any_fraction(c), NULL, NULL),
                       expr_join(c, same, near, NULL, NULL));
}

/* --- both signs --- */

static const struct expr *any_size(struct compile *c, bool is_integer)
{
    const struct expr *whole = expr_either(
        c, expr_word(c, "0"),
        expr_join(c, expr_range(c, '1', '9'), digits(c, 0, EXPR_UNBOUNDED), NULL, NULL));
    return is_integer ? whole : expr_join(c, whole, any_fraction(c), NULL, NULL);
}

static const struct expr *size_above_zero(struct compile *c, bool is_integer)
{
    struct decimal zero = decimal_of(0);
    return size_beyond(c, &zero, true, true, is_integer);
}

/* Numbers on one side of `value`: those at least as large, or those at most. */
static const struct expr *side_expr(struct compile *c, double value, bool is_low, bool is_open,
                                    bool is_integer)
{
    struct decimal d = decimal_of(value);
    const struct expr *minus = expr_word(c, "-");
    /* On the side of the bound's own sign sizes are compared; the other sign is taken whole or not at all. */
    bool is_own_greater = is_low != d.is_negative;
    const struct expr *own = size_beyond(c, &d, is_own_greater, is_open, is_integer);
    if (c->failed != STATUS_OK)
        return NULL;
    if (!d.is_negative)
        return is_low
                   ? own
                   : expr_either(c, own,
                                 expr_join(c, minus, size_above_zero(c, is_integer), NULL, NULL));
    const struct automaton *sizes = automaton_from_expr(c, own);
    const struct automaton *above = automaton_from_expr(c, size_above_zero(c, is_integer));
    const struct automaton *both = automaton_intersect(c, sizes, above);
    if (both == NULL)
        return NULL;
    const struct expr *negative = expr_join(c, minus, expr_automaton(c, both), NULL, NULL);
    return is_low ? expr_either(c, negative, any_size(c, is_integer)) : negative;
}

static bool intersect_expr(struct compile *c, const struct automaton **all, const struct expr *e)
{
    const struct automaton *one = e != NULL ? automaton_from_expr(c, e) : NULL;
    if (one == NULL)
        return false;
    *all = *all != NULL ? automaton_intersect(c, *all, one) : one;
    return *all != NULL;
}

/* --- multiples --- */

/* value = digits / 10^places */
struct divisor {
    uint64_t digits;
    uint32_t places;
};

static bool divisor_of(struct schema *s, const struct place *place, double value,
                       struct divisor *out)
{
    if (!(value > 0))
        return schema_fail(s, STATUS_INVALID, place, "multipleOf", "must be greater than 0");
    struct decimal d = decimal_of(value);
    out->places = (uint32_t)strlen(d.fraction);
    out->digits = 0;
    for (const char *part = d.whole; part != NULL; part = part == d.whole ? d.fraction : NULL) {
        for (const char *c = part; *c != '\0'; c++) {
            out->digits = out->digits * 10 + (uint64_t)(*c - '0');
            if (out->digits * (out->places + 2) > MULTIPLE_STATES_MAX)
                return schema_fail(s, STATUS_UNSUPPORTED, place, "multipleOf",
                                   "is too large a divisor to be kept");
        }
    }
    return true;
}

/* The digits after which `places - used` zeros more would make a multiple. */
static bool is_multiple(struct divisor d, uint64_t rest, uint32_t used)
{
    for (uint32_t i = used; i < d.places; i++)
        rest = rest * 10 % d.digits;
    return rest == 0;
}

/* State 0: start; 1: after the minus; 2: after a zero that begins; then for each rest the whole numbers; then for each count of
 * digits after the point, and each rest, one. */
static const struct automaton *multiple_automaton(struct compile *c, struct divisor d)
{
    struct automaton_builder b = {.c = c};
    uint32_t m = (uint32_t)d.digits;
    uint32_t whole = 3;
    uint32_t fraction = whole + m;
    for (uint32_t sign = 0; sign < 2; sign++) {
        if (!builder_start_state(&b, false) || (sign == 0 && !builder_add_edge(&b, '-', '-', 1)) ||
            !builder_add_edge(&b, '0', '0', 2))
            return NULL;
        for (uint8_t digit = 1; digit <= 9; digit++) {
            if (!builder_add_edge(&b, '0' + digit, '0' + digit, whole + digit % m))
                return NULL;
        }
    }
    if (!builder_start_state(&b, true) ||
        (d.places > 0 && !builder_add_edge(&b, '.', '.', fraction)))
        return NULL;
    for (uint32_t used = 0; used <= d.places + 1; used++) {
        /* used 0: before the point; else used - 1 digits after it */
        for (uint32_t rest = 0; rest < m; rest++) {
            uint32_t count = used == 0 ? 0 : used - 1;
            bool is_final = used != 1 && is_multiple(d, rest, count);
            if (!builder_start_state(&b, is_final))
                return NULL;
            uint32_t next = used == 0 ? whole : fraction + (count + 1) * m;
            for (uint8_t digit = 0; digit <= 9 && (used == 0 || count < d.places); digit++) {
                uint32_t target = next + (uint32_t)(((uint64_t)rest * 10 + digit) % m);
                if (!builder_add_edge(&b, '0' + digit, '0' + digit, target))
                    return NULL;
            }
            if (used == 0 && d.places > 0 && !builder_add_edge(&b, '.', '.', fraction + rest))
                return NULL;
        }
        if (d.places == 0)
            break;
    }
    return automaton_trim(c, builder_finish(&b));
}

static bool add_multiples(struct schema *s, const struct conjunction *k,
                          const struct automaton **all)
{
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *value = json_object_get(k->places[i].schema, "multipleOf");
        struct divisor d;
        if (value == NULL)
            continue;
        if (!divisor_of(s, &k->places[i], json_number_value(value), &d))
            return false;
        const struct automaton *one = multiple_automaton(s->c, d);
        *all = one != NULL && *all != NULL ? automaton_intersect(s->c, *all, one) : one;
        if (*all == NULL)
            return false;
    }
    return true;
}

/* --- exclusions --- */

/* Beside what `not` excludes numbers have so few digits that no two texts mean the same double but for zeros at the end. */
#define EXCLUSIVE_DECIMAL "-?[0-9]{1,9}(?:\\.[0-9]{1,6})?"
/* Such of them as no whole number can be written. */
#define FRACTION_DECIMAL "-?[0-9]{1,9}\\.[0-9]{0,5}[1-9]"
#define EXCLUSIVE_PLACES 6

/* All texts of a number: "-0", "1.500". Not a decimal of so many places: NULL with nothing failed. */
static const struct expr *texts_of(struct compile *c, double value)
{
    char text[64];
    if (!(fabs(value) < 1e9))
        return NULL;
    int count = snprintf(text, sizeof text, "%.*f", EXCLUSIVE_PLACES, value);
    if (count <= 0 || strtod(text, NULL) != value)
        return NULL;
    size_t used = (size_t)count;
    while (text[used - 1] == '0')
        used--;
    bool is_whole = text[used - 1] == '.';
    used -= is_whole ? 1 : 0;
    const char *digits_at = text + (text[0] == '-');
    struct text_slice written = {digits_at, used - (size_t)(digits_at - text)};
    const struct expr *some = expr_repeat(c, expr_word(c, "0"), NULL, 0, EXPR_UNBOUNDED);
    const struct expr *tail =
        is_whole ? expr_optional(c, expr_join(c, expr_word(c, "."), some, NULL, NULL)) : some;
    const struct expr *sign = value == 0  ? expr_optional(c, expr_word(c, "-"))
                              : value < 0 ? expr_word(c, "-")
                                          : expr_word(c, "");
    return expr_join(c, sign, expr_text(c, written), tail, NULL);
}

/* The numbers that `not` excludes. *has_any: there are some. False: failed. */
static bool exclude_numbers(struct compile *c, const struct conjunction *k,
                            const struct automaton **all, bool *has_any)
{
    struct expr_list list = {0};
    *has_any = false;
    for (uint32_t i = 0; i < k->count; i++) {
        const json_t *atom = schema_atom(k->places[i].schema);
        for (size_t j = 0; j < schema_constant_count(atom); j++) {
            const json_t *value = schema_constant(atom, j);
            *has_any |= json_is_number(value);
            const struct expr *texts =
                json_is_number(value) ? texts_of(c, json_number_value(value)) : NULL;
            if (texts != NULL && !expr_list_add(c, &list, texts))
                return false;
        }
    }
    if (list.count == 0)
        return c->failed == STATUS_OK;
    const struct automaton *excluded =
        automaton_from_expr(c, expr_choice(c, list.items, list.count));
    const struct automaton *others = excluded != NULL ? automaton_complement(c, excluded) : NULL;
    if (others == NULL)
        return false;
    *all = *all != NULL ? automaton_intersect(c, *all, others) : others;
    return *all != NULL;
}

/* --- the whole --- */

const struct expr *schema_number_expr(struct schema *s, const struct conjunction *k, uint32_t types)
{
    struct compile *c = s->c;
    struct bounds b = bounds_of(k);
    const struct automaton *all = NULL;
    bool is_integer = types == TYPE_INTEGER;
    bool has_excluded;
    if (!add_multiples(s, k, &all))
        return NULL;
    if (b.has_low && !intersect_expr(c, &all, side_expr(c, b.low, true, b.is_low_open, is_integer)))
        return NULL;
    if (b.has_high &&
        !intersect_expr(c, &all, side_expr(c, b.high, false, b.is_high_open, is_integer)))
        return NULL;
    if (!exclude_numbers(c, k, &all, &has_excluded))
        return NULL;
    bool is_fraction = types == TYPE_FRACTION;
    const char *form = is_fraction ? FRACTION_DECIMAL : EXCLUSIVE_DECIMAL;
    if ((is_fraction || has_excluded) &&
        !intersect_expr(c, &all, regex_whole(c, text_slice_of(form), "the form of numbers")))
        return NULL;
    if (all == NULL)
        return is_integer ? json_integer_expr(c) : json_number_expr(c);
    return intersect_expr(c, &all, is_integer ? json_integer_expr(c) : json_decimal_expr(c))
               ? expr_automaton(c, all)
               : NULL;
}
