#include "unit_test.h"

#include "check.h"
#include "usage_report.h"

static void what_is_written_is_read_again(void **state)
{
    const struct api_usage usage = {.prompt_tokens = 4000000000u,
                                    .cached_tokens = 16,
                                    .completion_tokens = 7,
                                    .reasoning_tokens = 0,
                                    .busy_ns = INT64_MAX,
                                    .finish = "tool_calls"};
    struct api_usage read = {0};
    struct buffer out;

    (void)state;
    buffer_init(&out, USAGE_REPORT_BYTES_MAX);
    usage_report_write(&usage, &out);
    assert_true(usage_report_read(buffer_slice(&out), &read));
    assert_string_equal(read.finish, usage.finish);
    read.finish = usage.finish;
    assert_memory_equal(&usage, &read, sizeof(usage));
    buffer_deinit(&out);
}

static void anything_else_is_no_report(void **state)
{
    static const char *const texts[] = {"",
                                        "1 2 3 4",
                                        "1 2 3 4 5",
                                        "1 2 3 4 5 ",
                                        "1 2 3 4 5 6",
                                        "1 2 3 4 5 stop -",
                                        "1 2 3 -4 5 -",
                                        "1  2 3 4 5 -",
                                        "1 2 3 4.0 5 -",
                                        "a b c d e f",
                                        "4294967296 0 0 0 0 -",
                                        "18446744073709551616 0 0 0 0 -",
                                        "0 0 0 0 9223372036854775808 -"};
    struct api_usage usage = {.prompt_tokens = 9};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(usage_report_read(text_slice_of(texts[i]), &usage));
    }
    assert_int_equal(usage.prompt_tokens, 9);
}

static void reports_are_taken_out_of_a_stream(void **state)
{
    struct api_usage usage = {.prompt_tokens = 3, .completion_tokens = 1};
    struct usage_report report;
    struct text_slice rest;
    struct buffer stream, seen, line;
    bool has_report;
    uint32_t last = 0;

    (void)state;
    buffer_init(&stream, 4096);
    buffer_init(&seen, 4096);
    buffer_init(&line, 64);
    buffer_append_text(&stream, ": hello\n\n");
    for (; usage.completion_tokens <= 3; usage.completion_tokens++) {
        size_t at = stream.bytes;

        buffer_append_format(&stream, "data: \":u 1 1 1 1 %u\"\n\n", usage.completion_tokens);
        buffer_clear(&line);
        usage_report_write_line(&usage, &line);
        usage_report_insert(buffer_slice(&line), &stream, at);
    }
    buffer_append_text(&stream, "data: [DONE]\n\n");
    rest = buffer_slice(&stream);
    while (rest.bytes > 0) {
        buffer_append_slice(&seen, usage_report_skip(&rest, &report, &has_report));
        if (has_report) {
            assert_int_equal(report.usage.completion_tokens, last + 1);
            assert_false(report.tells_tokens);
            last = report.usage.completion_tokens;
        }
    }
    assert_int_equal(last, 3);
    assert_string_equal(seen.data, ": hello\n\ndata: \":u 1 1 1 1 1\"\n\ndata: \":u 1 1 1 1 2\"\n\n"
                                   "data: \":u 1 1 1 1 3\"\n\ndata: [DONE]\n\n");
    buffer_deinit(&stream);
    buffer_deinit(&seen);
    buffer_deinit(&line);
}

static void a_report_may_tell_tokens_of_a_choice(void **state)
{
    static const int32_t tokens[] = {345, 0, INT32_MAX};
    const struct api_usage usage = {.prompt_tokens = 12,
                                    .completion_tokens = 5,
                                    .reasoning_tokens = 2,
                                    .busy_ns = 41,
                                    .cache_write_tokens = 16};
    struct usage_report report;
    struct text_slice rest;
    struct buffer stream;
    bool has_report;
    int32_t token;

    (void)state;
    buffer_init(&stream, 4096);
    usage_report_write_told(&usage, 3, tokens, ARRAY_COUNT(tokens), &stream);
    usage_report_write_told(&usage, 0, NULL, 0, &stream);
    assert_string_equal(stream.data, ":u 12 0 5 2 41 - 16 3 345 0 2147483647\n"
                                     ":u 12 0 5 2 41 - 16 0\n");
    rest = buffer_slice(&stream);
    assert_int_equal(usage_report_skip(&rest, &report, &has_report).bytes, 0);
    assert_true(has_report && report.tells_tokens);
    assert_int_equal(report.usage.completion_tokens, usage.completion_tokens);
    assert_int_equal(report.usage.cache_write_tokens, usage.cache_write_tokens);
    assert_int_equal(report.usage.busy_ns, usage.busy_ns);
    assert_int_equal(report.choice, 3);
    for (size_t i = 0; i < ARRAY_COUNT(tokens); i++) {
        assert_true(usage_report_next(&report, &token));
        assert_int_equal(token, tokens[i]);
    }
    assert_false(usage_report_next(&report, &token));
    assert_int_equal(usage_report_skip(&rest, &report, &has_report).bytes, 0);
    assert_true(has_report && report.tells_tokens && report.choice == 0);
    assert_false(usage_report_next(&report, &token));
    buffer_deinit(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(anything_else_is_no_report),
        cmocka_unit_test(reports_are_taken_out_of_a_stream),
        cmocka_unit_test(a_report_may_tell_tokens_of_a_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
