/* Expected values: json.dumps(ast.literal_eval(...)) of CPython 3.11, but for words without quotes and values in parentheses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "buffer.h"
#include "json.h"
#include "python_literal.h"

static void put_json(void *context, const char *json, size_t bytes)
{
    buffer_append(context, json, bytes);
}

/* Feeds all of it; true: one whole literal. */
static bool convert(const char *python, struct buffer *out)
{
    struct python_literal literal = {.put = put_json, .context = out};
    python_literal_start(&literal);
    for (size_t i = 0; i < strlen(python); i++) {
        if (python_literal_step(&literal, python[i]) != PYTHON_MORE)
            return false;
    }
    return python_literal_finish(&literal);
}

static void check_equal(const char *python, const char *json)
{
    struct buffer out;
    buffer_init(&out, 1 << 16);
    if (!convert(python, &out))
        fail_msg("%s is refused", python);
    json_t *got = json_loadb(out.data, out.bytes, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    json_t *expected = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(expected);
    if (got == NULL || !json_equal(got, expected))
        fail_msg("%s is %s and not %s", python, out.data, json);
    json_decref(got);
    json_decref(expected);
    buffer_deinit(&out);
}

static void literals_mean_what_python_means(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"True", "true"},
        {"None", "null"},
        {"-17", "-17"},
        {"- 2", "-2"},
        {"+3", "3"},
        {"1_000", "1000"},
        {"0", "0"},
        {"0x1F", "31"},
        {"-0b101", "-5"},
        {"0o17", "15"},
        {"5.", "5.0"},
        {".5", "0.5"},
        {"-2.5e-3", "-2.5e-3"},
        {"1E+2", "1E+2"},
        {"''", "\"\""},
        {"'it\\'s \"x\"'", "\"it's \\\"x\\\"\""},
        {"\"a\\x41\\u00e9\\U0001f600\\101\\1\\n\\a\"",
         "\"aA\\u00e9\\ud83d\\ude00A\\u0001\\n\\u0007\""},
        {"'a\\\nb\\d'", "\"ab\\\\d\""},
        {"r'\\d\\''", "\"\\\\d\\\\'\""},
        {"u'x'", "\"x\""},
        {"'a' \"b\"\n'c'", "\"abc\""},
        {"\"\"\"two\nlines, \"q\" and \"\"two\"\"\"", "\"two\\nlines, \\\"q\\\" and \\\"\\\"two\""},
        {"''''x'''", "\"'x\""},
        {"[]", "[]"},
        {"()", "[]"},
        {"(1,)", "[1]"},
        {"[1, 2, ]", "[1, 2]"},
        {"{'k': [1, {'n': None}], \"l\": {},}", "{\"k\": [1, {\"n\": null}], \"l\": {}}"},
        {"{1: 2, True: 3, None: 4, 1.5: 5}", "{\"1\": 2, \"true\": 3, \"null\": 4, \"1.5\": 5}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_equal(cases[i][0], cases[i][1]);
}

static void words_that_mean_nothing_are_strings(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"Unit.CELSIUS", "\"Unit.CELSIUS\""},
        {"true", "true"},
        {"007", "\"007\""},
        {"1_", "\"1_\""},
        {"0x", "\"0x\""},
        {"1e", "\"1e\""},
        {"99999999999999999999999999999x", "\"99999999999999999999999999999x\""},
        {"[a, {b: c}]", "[\"a\", {\"b\": \"c\"}]"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_equal(cases[i][0], cases[i][1]);
}

static void what_is_no_literal_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",       "[",       "]",       "[1 2]",  "[,]",
                                        "[1,,2]", "{1, 2}",  "{'a'}",   "{'a':}", "{[1]:2}",
                                        "[1)",    "'open",   "'\\xg1'", "f(1)",   "'\\U00110000'",
                                        "1 2",    "{'a' 1}", "'''a''"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer out;
        buffer_init(&out, 1 << 16);
        if (convert(cases[i], &out))
            fail_msg("%s is taken for a literal", cases[i]);
        buffer_deinit(&out);
    }
}

static void nesting_and_words_have_their_limits(void **state)
{
    (void)state;
    char text[2 * (PYTHON_DEPTH_MAX + 1) + 1] = "";
    for (unsigned depth = PYTHON_DEPTH_MAX; depth <= PYTHON_DEPTH_MAX + 1; depth++) {
        struct buffer out;
        buffer_init(&out, 1 << 16);
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        assert_int_equal(convert(text, &out), depth == PYTHON_DEPTH_MAX);
        buffer_deinit(&out);
    }
    char word[PYTHON_WORD_MAX + 2];
    for (unsigned bytes = PYTHON_WORD_MAX; bytes <= PYTHON_WORD_MAX + 1; bytes++) {
        struct buffer out;
        buffer_init(&out, 1 << 16);
        memset(word, '7', bytes);
        word[bytes] = 0;
        assert_int_equal(convert(word, &out), bytes == PYTHON_WORD_MAX);
        buffer_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_mean_what_python_means),
        cmocka_unit_test(words_that_mean_nothing_are_strings),
        cmocka_unit_test(what_is_no_literal_is_refused),
        cmocka_unit_test(nesting_and_words_have_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
