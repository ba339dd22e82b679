#include "unit_test.h"

#include "usage_report.h"
#include "wire_format.h"

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
    struct text_slice rest;
    struct buffer stream, seen;
    bool has_report;
    uint32_t last = 0;

    (void)state;
    buffer_init(&stream, 4096);
    buffer_init(&seen, 4096);
    buffer_append_text(&stream, ": hello\n\n");
    for (; usage.completion_tokens <= 3; usage.completion_tokens++) {
        size_t at = stream.bytes;

        buffer_append_format(&stream, "data: \":u 1 1 1 1 %u\"\n\n", usage.completion_tokens);
        usage_report_insert(&usage, &stream, at);
    }
    buffer_append_text(&stream, "data: [DONE]\n\n");
    rest = buffer_slice(&stream);
    while (rest.bytes > 0) {
        buffer_append_slice(&seen, usage_report_skip(&rest, &usage, &has_report));
        if (has_report) {
            assert_int_equal(usage.completion_tokens, last + 1);
            last = usage.completion_tokens;
        }
    }
    assert_int_equal(last, 3);
    assert_string_equal(seen.data, ": hello\n\ndata: \":u 1 1 1 1 1\"\n\ndata: \":u 1 1 1 1 2\"\n\n"
                                   "data: \":u 1 1 1 1 3\"\n\ndata: [DONE]\n\n");
    buffer_deinit(&stream);
    buffer_deinit(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(anything_else_is_no_report),
        cmocka_unit_test(reports_are_taken_out_of_a_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
