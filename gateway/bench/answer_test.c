#include "unit_test.h"

#include "answer.h"

static const char stream[] =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\r\n\r\n"
    ": a comment\n\n"
    "data:{\"choices\":[{\"delta\":{\"content\":\" two\"}}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"
    "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"
    "data: [DONE]\n\n";

static void any_split_gives_the_same(void **state)
{
    (void)state;
    for (size_t split = 0; split < sizeof(stream); split++) {
        struct bench_samples gaps = {NULL, 0, 0, 0};
        struct answer answer = {0};
        struct buffer body;

        buffer_init(&body, sizeof(stream));
        buffer_append(&body, stream, split);
        assert_int_equal(answer_read(&answer, &body, 1000000, &gaps), STATUS_OK);
        buffer_append(&body, stream + split, sizeof(stream) - 1 - split);
        assert_int_equal(answer_read(&answer, &body, 3000000, &gaps), STATUS_OK);
        assert_int_equal(answer.event_count, 2);
        assert_int_equal(gaps.count, 1);
        assert_true(gaps.values[0] == 0 || gaps.values[0] == 2);
        assert_int_equal(answer.prompt_tokens, 9);
        assert_int_equal(answer.cached_tokens, 4);
        assert_int_equal(answer.output_tokens, 2);
        assert_true(answer.is_complete && !answer.has_error);
        bench_samples_deinit(&gaps);
        buffer_deinit(&body);
    }
}

static void errors_in_the_stream_are_seen(void **state)
{
    const char *const bad[] = {"data: {\"error\":{\"message\":\"x\"}}\n", "data: {broken\n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bench_samples gaps = {NULL, 0, 0, 0};
        struct answer answer = {0};
        struct buffer body;

        buffer_init(&body, 100);
        buffer_append_text(&body, bad[i]);
        assert_int_equal(answer_read(&answer, &body, 1, &gaps), STATUS_OK);
        assert_true(answer.has_error && !answer.is_complete);
        buffer_deinit(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(errors_in_the_stream_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
