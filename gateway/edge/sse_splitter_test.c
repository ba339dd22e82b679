#include "unit_test.h"

#include "check.h"
#include "sse_splitter.h"

static const char stream[] = ": hello\n\n"
                             "data: {\"a\":1}\n\n"
                             "event: x\r\ndata: 2\r\n\r\n"
                             "data: [DONE]\n\n"
                             "data: cut";
static const size_t whole_bytes = sizeof(stream) - 1 - 9;

static void only_whole_events_are_complete(void **state)
{
    struct sse_splitter splitter = {0};

    (void)state;
    assert_int_equal(sse_splitter_feed(&splitter, text_slice_of(stream)), whole_bytes);
    assert_true(splitter.has_begun);
    assert_true(splitter.is_done);
}

/* Every split of the stream into three pieces says the same. */
static void the_way_it_is_cut_changes_nothing(void **state)
{
    size_t bytes = sizeof(stream) - 1;

    (void)state;
    for (size_t a = 0; a <= bytes; a++) {
        for (size_t b = a; b <= bytes; b++) {
            struct sse_splitter splitter = {0};
            const size_t cuts[] = {0, a, b, bytes};
            size_t complete = 0;

            for (int i = 0; i < 3; i++) {
                size_t got = sse_splitter_feed(
                    &splitter, (struct text_slice){stream + cuts[i], cuts[i + 1] - cuts[i]});

                if (got > 0)
                    complete = cuts[i] + got;
            }
            assert_int_equal(complete, whole_bytes);
            assert_true(splitter.has_begun && splitter.is_done);
        }
    }
}

static void each_api_has_its_last_event(void **state)
{
    static const char *const lasts[] = {"data: [DONE]\n\n", "event: message_stop\ndata: {}\n\n",
                                        "event: response.completed\r\ndata: {}\r\n\r\n",
                                        "event: response.failed\ndata: {}\n\n",
                                        "event: response.incomplete\ndata: {}\n\n"};
    static const char *const others[] = {"data: [DONE] \n\n", "event: message_stopped\n\n",
                                         "event: response.completed_and_more_so\n\n",
                                         "data: event: message_stop\n\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lasts); i++) {
        struct sse_splitter splitter = {0};

        assert_int_equal(sse_splitter_feed(&splitter, text_slice_of(lasts[i])), strlen(lasts[i]));
        assert_true(splitter.is_done);
    }
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        struct sse_splitter splitter = {0};

        assert_int_equal(sse_splitter_feed(&splitter, text_slice_of(others[i])), strlen(others[i]));
        assert_false(splitter.is_done);
    }
}

static void comments_alone_have_not_begun(void **state)
{
    struct sse_splitter splitter = {0};

    (void)state;
    assert_int_equal(
        sse_splitter_feed(&splitter, text_slice_of(": keep-alive\n\n: keep-alive\n\n")), 28);
    assert_false(splitter.has_begun);
    assert_int_equal(sse_splitter_feed(&splitter, text_slice_of("data: 1\n")), 0);
    assert_false(splitter.has_begun);
    assert_int_equal(sse_splitter_feed(&splitter, text_slice_of("\n")), 1);
    assert_true(splitter.has_begun);
}

static void done_is_only_the_whole_line(void **state)
{
    const char *others[] = {"data: [DONE] \n\n", "data: [DONE\n\n",        "xdata: [DONE]\n\n",
                            ":data: [DONE]\n\n", "data: data: [DONE]\n\n", "data: [DONE]\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct sse_splitter splitter = {0};

        (void)sse_splitter_feed(&splitter, text_slice_of(others[i]));
        if (splitter.is_done)
            fail_msg("%s", others[i]);
    }
}

/* A comment is told with the event that has it, whatever the pieces. */
static void comments_are_told_with_their_events(void **state)
{
    static const char commented[] =
        "data: a line that is longer than every line by which an end is known\n\n"
        ": a comment that is longer than every line by which an end is known\n"
        "data: and a line that is longer than every line by which an end is known\r\n\r\n"
        "data: short\n\n";
    const size_t first = strstr(commented, ": a comment") - commented,
                 second = strstr(commented, "data: short") - commented;

    (void)state;
    for (size_t cut = 0; cut < sizeof(commented); cut++) {
        struct sse_splitter splitter = {0};
        size_t complete = sse_splitter_feed(&splitter, (struct text_slice){commented, cut});
        bool had_comment = splitter.has_comment;

        assert_int_equal(complete, cut < first                   ? 0
                                   : cut < second                ? first
                                   : cut < sizeof(commented) - 1 ? second
                                                                 : sizeof(commented) - 1);
        assert_int_equal(had_comment, cut >= second);
        complete = sse_splitter_feed(
            &splitter, (struct text_slice){commented + cut, sizeof(commented) - 1 - cut});
        assert_int_equal(cut + complete,
                         cut == sizeof(commented) - 1 ? cut : sizeof(commented) - 1);
        assert_int_equal(splitter.has_comment, cut < second);
        assert_true(splitter.has_begun);
        assert_false(splitter.is_done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_are_told_with_their_events),
        cmocka_unit_test(only_whole_events_are_complete),
        cmocka_unit_test(the_way_it_is_cut_changes_nothing),
        cmocka_unit_test(each_api_has_its_last_event),
        cmocka_unit_test(comments_alone_have_not_begun),
        cmocka_unit_test(done_is_only_the_whole_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
