/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "fail_nth.h"
#include "json.h"

static const struct json_limits limits = {.depth_max = 8, .value_count_max = 50};

static status scan(const char *text, struct error_note *note)
{
    return json_scan(text_slice_of(text), &limits, NULL, 0, note);
}

static status load(const char *text, json_t **out)
{
    struct error_note note;
    return json_load_limited(text_slice_of(text), &limits, out, &note);
}

static void valid_values_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e-7",
        "1E+2",
        "\"\"",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ 1 , 2 ] ",
        "{\"a\":{\"b\":[null]}}",
        "\"\\u00e9\\ud83d\\ude00\\u0000\"",
        "\"\xF4\x8F\xBF\xBF\"",
        "\"\x7f\"",
        "\t\r\n 1 \n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        json_t *value = NULL;
        if (load(good[i], &value) != STATUS_OK)
            fail_msg("refused: %s", good[i]);
        json_decref(value);
    }
}

static void what_rfc_8259_forbids_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "x",
        "tru",
        "nulll",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "-",
        "0x1",
        "NaN",
        "Infinity",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:2}",
        "[",
        "{",
        "[}",
        "{]",
        "[1",
        "{\"a\":1",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\n\"",
        "\"\t\"",
        "'a'",
        "\"\xff\"",
        "\"\xed\xa0\x80\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "1 2",
        "{} {}",
        "[]]",
        "\xef\xbb\xbf{}",
        "// c\n1",
        "/**/1",
        "\"\xc0\x80\"",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        json_t *value = NULL;
        if (load(bad[i], &value) != STATUS_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_null(value);
    }
}

static void the_note_names_what_and_where(void **state)
{
    (void)state;
    struct error_note note;
    assert_int_equal(scan("{\"a\": 01}", &note), STATUS_INVALID);
    assert_string_equal(note.text, "',' or '}' expected at byte 7");
    assert_int_equal(scan("[1]", &note), STATUS_INVALID);
    assert_string_equal(note.text, "JSON object expected at byte 0");
    assert_int_equal(scan("{\"a\":\"x\ny\"}", &note), STATUS_INVALID);
    assert_string_equal(note.text, "control character in a string at byte 7");
    assert_int_equal(scan("{} {", NULL), STATUS_INVALID); /* no note wanted */
}

static void text_add(char *text, size_t text_bytes, const char *more)
{
    size_t end = strlen(text);
    assert_true(strlen(more) < text_bytes - end);
    (void)snprintf(text + end, text_bytes - end, "%s", more);
}

static void limits_hold_at_the_limit_and_one_beyond(void **state)
{
    (void)state;
    struct error_note note;
    assert_int_equal(scan("{\"a\":[[[[[[[]]]]]]]}", &note), STATUS_OK); /* 8 deep */
    assert_int_equal(scan("{\"a\":[[[[[[[[]]]]]]]]}", &note), STATUS_TOO_LARGE);
    assert_string_equal(note.text, "nesting deeper than 8 at byte 12");
    char text[256] = "{\"a\":[0";
    for (int i = 0; i < 47; i++) /* object, array, 48 numbers: 50 */
        text_add(text, sizeof text, ",0");
    size_t end = strlen(text);
    text_add(text, sizeof text, "]}");
    assert_int_equal(scan(text, &note), STATUS_OK);
    text[end] = '\0';
    text_add(text, sizeof text, ",0]}");
    assert_int_equal(scan(text, &note), STATUS_TOO_LARGE);
}

static void top_level_names_have_limits_of_their_own(void **state)
{
    (void)state;
    const struct json_limits wide = {.depth_max = 1, .value_count_max = 1000};
    struct buffer text;
    buffer_init(&text, 100000);
    for (int count = 256; count <= 257; count++) {
        buffer_clear(&text);
        buffer_append_byte(&text, '{');
        for (int i = 0; i < count; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "n%d", i);
            json_write_key(&text, name);
            buffer_append_byte(&text, '1');
        }
        buffer_append_byte(&text, '}');
        assert_int_equal(json_scan(buffer_slice(&text), &wide, NULL, 0, NULL),
                         count == 256 ? STATUS_OK : STATUS_TOO_LARGE);
    }
    for (int length = 256; length <= 257; length++) {
        buffer_clear(&text);
        buffer_append_format(&text, "{\"%0*d\":1}", length, 7);
        assert_int_equal(json_scan(buffer_slice(&text), &wide, NULL, 0, NULL),
                         length == 256 ? STATUS_OK : STATUS_TOO_LARGE);
    }
    buffer_deinit(&text);
}

static void duplicate_names_are_refused_however_they_are_written(void **state)
{
    (void)state;
    struct error_note note;
    json_t *value = NULL;
    assert_int_equal(scan("{\"model\":\"a\",\"model\":\"b\"}", &note), STATUS_INVALID);
    assert_string_equal(note.text, "name \"model\" twice, again at byte 14");
    assert_int_equal(scan("{\"model\":\"a\",\"\\u006d\\u006fdel\":\"b\"}", &note), STATUS_INVALID);
    assert_int_equal(load("{\"model\":\"a\",\"\\u006d\\u006fdel\":\"b\"}", &value), STATUS_INVALID);
    assert_int_equal(load("[{\"a\":1,\"a\":2}]", &value), STATUS_INVALID);
    assert_int_equal(scan("{\"a\":{\"b\":1},\"b\":{\"b\":1}}", &note), STATUS_OK);
}

static void fields_are_found_at_the_top_level_only(void **state)
{
    (void)state;
    struct json_field fields[] = {
        {.name = "model"}, {.name = "stream"}, {.name = "n"}, {.name = "stop"}};
    const char *text = "{\"a\":{\"model\":\"inner\",\"n\":7}, \"\\u006dodel\" : \"o\\u0075ter\" "
                       ",\"stop\":[\"x\", {}],\"stream\":true}";
    assert_int_equal(json_scan(text_slice_of(text), &limits, fields, ARRAY_COUNT(fields), NULL),
                     STATUS_OK);
    assert_true(text_slice_is(fields[0].value, "\"o\\u0075ter\""));
    assert_true(text_slice_is(fields[1].value, "true"));
    assert_null(fields[2].value.data);
    assert_true(text_slice_is(fields[3].value, "[\"x\", {}]"));
    struct buffer model;
    buffer_init(&model, 100);
    assert_int_equal(json_field_text(fields[0].value, &model), STATUS_OK);
    assert_string_equal(model.data, "outer");
    assert_int_equal(json_field_text(fields[1].value, &model), STATUS_INVALID);
    assert_int_equal(json_field_text(fields[2].value, &model), STATUS_INVALID);
    buffer_deinit(&model);
}

static void strings_are_decoded_with_all_escapes_up_to_the_ceiling(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 17);
    const char *raw = "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00E9\\ud83D\\uDe00abc\"";
    assert_int_equal(json_field_text(text_slice_of(raw), &out), STATUS_OK);
    assert_string_equal(out.data, "\"\\/\b\f\n\r\t\xC3\xA9\xF0\x9F\x98\x80"
                                  "abc");
    buffer_append_byte(&out, '!');
    assert_int_equal(json_field_text(text_slice_of("\"x\""), &out), STATUS_TOO_LARGE);
    buffer_clear(&out);
    assert_int_equal(json_field_text(text_slice_of("\"a\"b\""), &out), STATUS_INVALID);
    assert_int_equal(json_field_text(text_slice_of("\""), &out), STATUS_INVALID);
    assert_int_equal(json_field_text(text_slice_of("\"\\\""), &out), STATUS_INVALID);
    buffer_deinit(&out);
}

static void numbers_beyond_our_types_are_refused(void **state)
{
    (void)state;
    json_t *value = NULL;
    assert_int_equal(load("9223372036854775807", &value), STATUS_OK);
    assert_int_equal(json_integer_value(value), INT64_MAX);
    json_decref(value);
    assert_int_equal(load("9223372036854775808", &value), STATUS_INVALID);
    assert_int_equal(load("1e400", &value), STATUS_INVALID);
}

static void every_byte_place_of_a_broken_string_is_seen(void **state)
{
    (void)state;
    for (size_t at = 0; at < 40; at++) {
        char text[64] = "{\"a\":\"........................................\"}";
        static const char wrong[] = {'\n', '\x80', '\0', '\x1f'};
        for (size_t i = 0; i < sizeof wrong; i++) {
            text[6 + at] = wrong[i];
            struct text_slice body = {text, 48};
            assert_int_equal(json_scan(body, &limits, NULL, 0, NULL), STATUS_INVALID);
        }
    }
}

static void written_text_is_what_json_wants(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 10000);
    static const char text[] = "q\" b\\ \n\t\r\b\f\x01\x7f \xC3\xA9 \xF0\x9F\x98\x80 \xE2\x82! \0."
                               "\xC2\x84\xC2\x85\xE2\x80\xA7\xE2\x80\xA8\xE2\x80\xA9";
    json_write_string(&out, (struct text_slice){text, sizeof text - 1});
    assert_string_equal(out.data, "\"q\\\" b\\\\ \\n\\t\\r\\b\\f\\u0001\x7f \xC3\xA9 "
                                  "\xF0\x9F\x98\x80 \xEF\xBF\xBD! \\u0000."
                                  "\xC2\x84\\u0085\xE2\x80\xA7\\u2028\\u2029\"");
    json_t *back = json_loads(out.data, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(back);
    json_decref(back);
    buffer_clear(&out);
    json_write_string(&out, (struct text_slice){NULL, 0});
    json_write_text(&out, NULL);
    assert_string_equal(out.data, "\"\"null");
    buffer_deinit(&out);
}

static void doubles_are_short_and_read_back_equal(void **state)
{
    (void)state;
    static const double values[] = {0.1,
                                    -1.5,
                                    1.0,
                                    0.0,
                                    -0.0,
                                    1e300,
                                    5e-324,
                                    1.7976931348623157e308,
                                    -0.6931471805599453,
                                    (double)0.1f,
                                    3e15,
                                    123456789012345680.0};
    static const char *const texts[] = {
        "0.1", "-1.5", "1.0", "0.0", "-0.0", "1e+300", NULL, NULL, "-0.6931471805599453",
        NULL,  NULL,   NULL};
    struct buffer out;
    buffer_init(&out, 100);
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        buffer_clear(&out);
        json_write_double(&out, values[i]);
        if (texts[i] != NULL)
            assert_string_equal(out.data, texts[i]);
        assert_true(strtod(out.data, NULL) == values[i]);
        json_t *back = json_loads(out.data, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(back));
        json_decref(back);
    }
    buffer_clear(&out);
    json_write_double(&out, NAN);
    json_write_double(&out, INFINITY);
    assert_string_equal(out.data, "nullnull");
    buffer_deinit(&out);
}

static void keys_and_commas_place_themselves(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 200);
    buffer_append_byte(&out, '{');
    json_write_key(&out, "a");
    buffer_append_byte(&out, '[');
    for (int i = 0; i < 3; i++) {
        json_write_comma(&out);
        buffer_append_i64(&out, i);
    }
    buffer_append_byte(&out, ']');
    json_write_key(&out, "b\"");
    json_write_bool(&out, true);
    json_write_key(&out, "c");
    json_t *value = json_pack("{s:i,s:[n,b]}", "x", 1, "y", 0);
    json_write_value(&out, value);
    json_decref(value);
    buffer_append_byte(&out, '}');
    assert_string_equal(out.data,
                        "{\"a\":[0,1,2],\"b\\\"\":true,\"c\":{\"x\":1,\"y\":[null,false]}}");
    buffer_deinit(&out);
}

static void memory_that_runs_out_is_a_status_and_leaks_nothing(void **state)
{
    (void)state;
    /* Jansson is not wrapped by the linker (it is a shared library), so its allocator is replaced.
     */
    json_set_alloc_funcs(malloc, free);
    const char *text = "{\"a\":[1,2.5,\"x\\u00e9\",{\"b\":null}],\"c\":\"d\"}";
    unsigned long n = 1;
    for (;; n++) {
        json_t *value = NULL;
        fail_nth_begin(n);
        status result = load(text, &value);
        bool was_hit = fail_nth_end();
        if (!was_hit) {
            assert_int_equal(result, STATUS_OK);
            json_decref(value);
            break;
        }
        assert_int_not_equal(result, STATUS_OK);
        assert_null(value);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_values_are_taken),
        cmocka_unit_test(what_rfc_8259_forbids_is_refused),
        cmocka_unit_test(the_note_names_what_and_where),
        cmocka_unit_test(limits_hold_at_the_limit_and_one_beyond),
        cmocka_unit_test(top_level_names_have_limits_of_their_own),
        cmocka_unit_test(duplicate_names_are_refused_however_they_are_written),
        cmocka_unit_test(fields_are_found_at_the_top_level_only),
        cmocka_unit_test(strings_are_decoded_with_all_escapes_up_to_the_ceiling),
        cmocka_unit_test(numbers_beyond_our_types_are_refused),
        cmocka_unit_test(every_byte_place_of_a_broken_string_is_seen),
        cmocka_unit_test(written_text_is_what_json_wants),
        cmocka_unit_test(doubles_are_short_and_read_back_equal),
        cmocka_unit_test(keys_and_commas_place_themselves),
        cmocka_unit_test(memory_that_runs_out_is_a_status_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
