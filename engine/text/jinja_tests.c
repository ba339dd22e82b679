/* `is` tests. Rules: jinja2 3.1, tests.py. */
#include "jinja_functions.h"

#define KIND_TEST(name, condition)                                                                 \
    static struct value name(struct call *c)                                                       \
    {                                                                                              \
        enum value_kind kind = c->subject.kind;                                                    \
        return value_bool(condition);                                                              \
    }

KIND_TEST(is_defined, kind != VALUE_UNDEFINED)
KIND_TEST(is_undefined, kind == VALUE_UNDEFINED)
KIND_TEST(is_none, kind == VALUE_NONE)
KIND_TEST(is_boolean, kind == VALUE_BOOL)
KIND_TEST(is_true, kind == VALUE_BOOL && c->subject.boolean)
KIND_TEST(is_false, kind == VALUE_BOOL && !c->subject.boolean)
KIND_TEST(is_integer, kind == VALUE_INT)
KIND_TEST(is_float, kind == VALUE_FLOAT)
KIND_TEST(is_number, kind == VALUE_INT || kind == VALUE_FLOAT || kind == VALUE_BOOL)
KIND_TEST(is_string, kind == VALUE_STRING)
KIND_TEST(is_mapping, kind == VALUE_DICT)
KIND_TEST(is_callable, kind == VALUE_MACRO || kind == VALUE_FUNCTION || kind == VALUE_METHOD ||
                           kind == VALUE_UNDEFINED || kind == VALUE_JOINER || kind == VALUE_LOOP)
KIND_TEST(is_iterable, value_is_sequence(c->subject) || kind == VALUE_STRING ||
                           kind == VALUE_DICT || kind == VALUE_UNDEFINED || kind == VALUE_LOOP)
KIND_TEST(is_sequence, kind == VALUE_STRING || kind == VALUE_LIST || kind == VALUE_TUPLE ||
                           kind == VALUE_RANGE || kind == VALUE_DICT || kind == VALUE_UNDEFINED)
KIND_TEST(is_escaped, kind == VALUE_STRING && c->subject.text->is_markup)

/* value % by == rest, for numbers as Python has them. */
static struct value test_remainder(struct call *c, int64_t by, int64_t rest)
{
    if (c->subject.kind == VALUE_FLOAT) {
        double half = c->subject.real / (double)by;
        return value_bool((half == (double)(int64_t)half) == (rest == 0) &&
                          c->subject.real == (double)(int64_t)c->subject.real);
    }
    if (!value_is_integer(c->subject)) {
        jinja_fail(c->state, "'%s' is no number", value_type_name(c->subject));
        return value_undefined();
    }
    int64_t remainder = by == -1 ? 0 : value_integer(c->subject) % by;
    return value_bool((remainder < 0 ? remainder + by : remainder) == rest);
}

static struct value is_even(struct call *c)
{
    return test_remainder(c, 2, 0);
}

static struct value is_odd(struct call *c)
{
    return test_remainder(c, 2, 1);
}

static struct value is_divisible(struct call *c)
{
    if (!value_is_integer(c->arguments[0]) || value_integer(c->arguments[0]) == 0) {
        jinja_fail(c->state, "divisibleby takes an int other than zero");
        return value_undefined();
    }
    return test_remainder(c, value_integer(c->arguments[0]), 0);
}

static struct value is_equal(struct call *c)
{
    return value_bool(value_equals(c->state, c->subject, c->arguments[0]));
}

static struct value is_unequal(struct call *c)
{
    return value_bool(!value_equals(c->state, c->subject, c->arguments[0]));
}

static struct value is_less(struct call *c)
{
    return value_bool(value_compare(c->state, c->subject, c->arguments[0]) < 0);
}

static struct value is_at_most(struct call *c)
{
    return value_bool(value_compare(c->state, c->subject, c->arguments[0]) <= 0);
}

static struct value is_greater(struct call *c)
{
    return value_bool(value_compare(c->state, c->subject, c->arguments[0]) > 0);
}

static struct value is_at_least(struct call *c)
{
    return value_bool(value_compare(c->state, c->subject, c->arguments[0]) >= 0);
}

static struct value is_in(struct call *c)
{
    return value_bool(value_contains(c->state, c->arguments[0], c->subject));
}

static struct value is_same(struct call *c)
{
    struct value a = c->subject, b = c->arguments[0];
    if (a.kind != b.kind)
        return value_bool(false);
    if (a.kind == VALUE_NONE || a.kind == VALUE_BOOL || a.kind == VALUE_INT)
        return value_bool(value_equals(c->state, a, b));
    return value_bool(a.list == b.list);
}

static struct value test_case(struct call *c, bool upper)
{
    const struct text *text = value_text(c->state, c->subject);
    struct value same = text_change_case(c->state, text, upper ? CASE_UPPER : CASE_LOWER);
    struct value other = text_change_case(c->state, text, upper ? CASE_LOWER : CASE_UPPER);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    return value_bool(text_slice_equals(text_slice_from(same.text), text_slice_from(text)) &&
                      !text_slice_equals(text_slice_from(other.text), text_slice_from(text)));
}

static struct value is_upper(struct call *c)
{
    return test_case(c, true);
}

static struct value is_lower(struct call *c)
{
    return test_case(c, false);
}

static struct value is_filter(struct call *c)
{
    return value_bool(value_is_string(c->subject) &&
                      filter_find(text_slice_from(c->subject.text)) != NULL);
}

static struct value is_test(struct call *c)
{
    return value_bool(value_is_string(c->subject) &&
                      test_find(text_slice_from(c->subject.text)) != NULL);
}

// clang-format off
#define NO_ARGUMENT  {{NULL}, 0, false}
#define ONE_ARGUMENT {{"other"}, 1, false}
static const struct test_entry tests[] = {
    {"defined", is_defined, NO_ARGUMENT}, {"undefined", is_undefined, NO_ARGUMENT}, {"none", is_none, NO_ARGUMENT},
    {"boolean", is_boolean, NO_ARGUMENT}, {"true", is_true, NO_ARGUMENT}, {"false", is_false, NO_ARGUMENT},
    {"integer", is_integer, NO_ARGUMENT}, {"float", is_float, NO_ARGUMENT}, {"number", is_number, NO_ARGUMENT},
    {"string", is_string, NO_ARGUMENT}, {"mapping", is_mapping, NO_ARGUMENT}, {"callable", is_callable, NO_ARGUMENT},
    {"iterable", is_iterable, NO_ARGUMENT}, {"sequence", is_sequence, NO_ARGUMENT}, {"escaped", is_escaped, NO_ARGUMENT},
    {"even", is_even, NO_ARGUMENT}, {"odd", is_odd, NO_ARGUMENT}, {"divisibleby", is_divisible, {{"num"}, 1, false}},
    {"eq", is_equal, ONE_ARGUMENT}, {"equalto", is_equal, ONE_ARGUMENT}, {"==", is_equal, ONE_ARGUMENT},
    {"ne", is_unequal, ONE_ARGUMENT}, {"!=", is_unequal, ONE_ARGUMENT},
    {"lt", is_less, ONE_ARGUMENT}, {"lessthan", is_less, ONE_ARGUMENT}, {"<", is_less, ONE_ARGUMENT},
    {"le", is_at_most, ONE_ARGUMENT}, {"<=", is_at_most, ONE_ARGUMENT},
    {"gt", is_greater, ONE_ARGUMENT}, {"greaterthan", is_greater, ONE_ARGUMENT}, {">", is_greater, ONE_ARGUMENT},
    {"ge", is_at_least, ONE_ARGUMENT}, {">=", is_at_least, ONE_ARGUMENT},
    {"in", is_in, {{"seq"}, 1, false}}, {"sameas", is_same, ONE_ARGUMENT},
    {"upper", is_upper, NO_ARGUMENT}, {"lower", is_lower, NO_ARGUMENT},
    {"filter", is_filter, NO_ARGUMENT}, {"test", is_test, NO_ARGUMENT},
};
// clang-format on

const struct test_entry *test_find(struct text_slice name)
{
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (text_slice_is(name, tests[i].name))
            return &tests[i];
    }
    return NULL;
}
