#include "unit_test.h"

#include "buffer.h"
#include "json.h"
#include "upstream_usage.h"

static struct text_slice options_of(const char *body)
{
    const struct json_limits limits = {64, 1000};
    struct json_field field = {.name = "stream_options"};
    struct error_note note;

    assert_int_equal(json_scan(text_slice_of(body), &limits, &field, 1, &note), STATUS_OK);
    return field.value;
}

static void a_body_asks_for_usage_once(void **state)
{
    static const struct {
        const char *body, *asks; /* NULL: it stays */
    } rows[] = {
        {"{\"stream\":true}", "{\"stream_options\":{\"include_usage\":true},\"stream\":true}"},
        {" { \"a\":1}", " {\"stream_options\":{\"include_usage\":true}, \"a\":1}"},
        {"{\"stream_options\":null}", "{\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":{}}", "{\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":{ }}", "{\"stream_options\":{\"include_usage\":true }}"},
        {"{\"stream_options\":{\"x\":1},\"b\":2}",
         "{\"stream_options\":{\"include_usage\":true,\"x\":1},\"b\":2}"},
        {"{\"stream_options\":{\"include_usage\":false}}",
         "{\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":{\"x\":1,\"include_usage\" : null }}",
         "{\"stream_options\":{\"x\":1,\"include_usage\" : true }}"},
        {"{\"stream_options\":{\"include_usage\":true}}", NULL},
        {"{\"stream_options\":7}", NULL},
        {"{\"stream_options\":[]}", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[256];
        struct text_slice body = text_slice_of(rows[i].body);
        size_t bytes = upstream_usage_ask(body, options_of(rows[i].body), out);

        assert_true(bytes <= body.bytes + UPSTREAM_USAGE_ASK_BYTES);
        out[bytes] = '\0';
        assert_string_equal(out, rows[i].asks != NULL ? rows[i].asks : "");
    }
}

static void each_apis_answer_is_read(void **state)
{
    static const struct {
        const char *answer;
        struct request_usage usage;
    } rows[] = {
        {"{\"choices\":[{}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_"
         "tokens\":13,"
         "\"prompt_tokens_details\":{\"cached_tokens\":5},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":3}}}",
         {true, false, 9, 5, 4, 3, 0, NULL, 0}},
        {"{\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}",
         {true, false, 7, 0, 0, 0, 0, NULL, 0}},
        {"{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1,\"prompt_tokens_details\":null}}",
         {true, false, 7, 0, 1, 0, 0, NULL, 0}},
        {"{\"type\":\"message\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":30,"
         "\"cache_creation_input_tokens\":2,\"output_tokens\":6}}",
         {true, false, 42, 30, 6, 0, 0, NULL, 0}},
        {"{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":"
         "1}}}",
         {true, true, 8, 0, 1, 0, 0, NULL, 0}},
        {"{\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":8,"
         "\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":5,"
         "\"output_tokens_details\":{\"reasoning_tokens\":2}}}}",
         {true, false, 8, 4, 5, 2, 0, NULL, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct request_usage usage = {0}, expected = rows[i].usage;

        assert_true(upstream_usage_read(text_slice_of(rows[i].answer), &usage));
        assert_int_equal(usage.is_known, expected.is_known);
        assert_int_equal(usage.is_estimated, expected.is_estimated);
        assert_int_equal(usage.prompt_tokens, expected.prompt_tokens);
        assert_int_equal(usage.cached_tokens, expected.cached_tokens);
        assert_int_equal(usage.completion_tokens, expected.completion_tokens);
        assert_int_equal(usage.reasoning_tokens, expected.reasoning_tokens);
    }
}

static void what_stands_elsewhere_is_no_usage(void **state)
{
    static const char *const answers[] = {
        "",
        "[]",
        "{}",
        "{\"usage\":null}",
        "{\"usage\":3}",
        "{\"usage\":{}}",
        "{\"usage\":{\"prompt_tokens\":1}",
        "{\"usage\":{\"prompt_tokens\":1},\"usage\":{\"prompt_tokens\":2}}",
        "{\"choices\":[{\"message\":{\"usage\":{\"prompt_tokens\":1}}}]}",
        "{\"content\":[{\"type\":\"tool_use\",\"input\":{\"usage\":{\"output_tokens\":1}}}]}",
        "{\"response\":{\"tools\":[{\"usage\":{\"input_tokens\":1}}],\"usage\":null}}",
        "{\"text\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":1}\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct request_usage usage = {.prompt_tokens = 77};

        assert_false(upstream_usage_read(text_slice_of(answers[i]), &usage));
        assert_false(usage.is_known);
        assert_int_equal(usage.prompt_tokens, 77);
    }
}

static void numbers_that_are_none_count_as_nothing(void **state)
{
    struct request_usage usage = {0};

    (void)state;
    assert_false(upstream_usage_read(
        text_slice_of("{\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":4294967296,"
                      "\"input_tokens\":1.5,\"output_tokens\":\"9\"}}"),
        &usage));
    assert_int_equal(usage.prompt_tokens, 0);
    assert_int_equal(usage.completion_tokens, 0);
    assert_true(upstream_usage_read(
        text_slice_of("{\"usage\":{\"input_tokens\":4294967295,\"cache_read_input_tokens\":1}}"),
        &usage));
    assert_int_equal(usage.prompt_tokens, UINT32_MAX);
}

static void passed_on_is(const char *stream, bool takes_out, const char *expected,
                         struct request_usage *usage)
{
    struct text_slice rest = text_slice_of(stream);
    struct buffer seen;

    buffer_init(&seen, 4096);
    while (rest.bytes > 0)
        buffer_append_slice(&seen, upstream_usage_skip(&rest, takes_out, usage));
    buffer_append_byte(&seen, '\0');
    assert_string_equal(seen.data, expected);
    buffer_deinit(&seen);
}

#define TEXT  "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\"\"}}],\"usage\":null}\n\n"
#define USAGE "data: {\"choices\":[ ],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
#define DONE  "data: [DONE]\n\n"

static void the_event_that_nobody_asked_for_is_taken_out(void **state)
{
    struct request_usage usage = {0};

    (void)state;
    passed_on_is(TEXT TEXT USAGE DONE, true, TEXT TEXT DONE, &usage);
    assert_true(usage.is_known && !usage.is_estimated);
    assert_int_equal(usage.completion_tokens, 2);
    passed_on_is(USAGE, true, "", &usage);
    passed_on_is(TEXT USAGE DONE, false, TEXT USAGE DONE, &usage);
    /* Lines that end in CR LF, an event of several lines, and no blank line at the end. */
    passed_on_is("id: 1\r\n\r\n: note\r\nevent: "
                 "x\r\ndata:{\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\r\nretry: 3\r\n\r\n"
                 ": end\n",
                 true, "id: 1\r\n\r\n: end\n", &usage);
    passed_on_is(TEXT "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8}}", true, TEXT, &usage);
    assert_int_equal(usage.prompt_tokens, 8);
}

static void a_usage_beside_choices_stays(void **state)
{
    static const char stream[] =
        "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n"
        "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    struct request_usage usage = {0};

    (void)state;
    passed_on_is(stream, true, stream, &usage);
    assert_int_equal(usage.completion_tokens, 2);
}

static void a_stream_of_messages_tells_its_prompt_first(void **state)
{
    static const char begin[] =
        "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":8,"
        "\"output_tokens\":1}}}\n\n",
                      end[] = "event: message_delta\ndata: {\"usage\":{\"output_tokens\":5}}\n\n";
    struct request_usage usage = {0};

    (void)state;
    passed_on_is(begin, true, begin, &usage);
    assert_true(usage.is_known && usage.is_estimated);
    passed_on_is(end, true, end, &usage);
    assert_false(usage.is_estimated);
    assert_int_equal(usage.prompt_tokens, 8);
    assert_int_equal(usage.completion_tokens, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_asks_for_usage_once),
        cmocka_unit_test(each_apis_answer_is_read),
        cmocka_unit_test(what_stands_elsewhere_is_no_usage),
        cmocka_unit_test(numbers_that_are_none_count_as_nothing),
        cmocka_unit_test(the_event_that_nobody_asked_for_is_taken_out),
        cmocka_unit_test(a_usage_beside_choices_stays),
        cmocka_unit_test(a_stream_of_messages_tells_its_prompt_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
