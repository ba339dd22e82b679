#include "unit_test.h"

#include "text_stream.h"

#define TEXT_MAX 512

/* Feeds `text` in pieces that end where the bits of `cuts` are set, and collects what comes out. */
static int32_t feed_cut(const stop_matcher *stops, const char *text, uint32_t cuts, char *out)
{
    arena *memory;
    struct text_stream stream;
    assert_int_equal(arena_create(1 << 16, &memory), STATUS_OK);
    assert_int_equal(text_stream_init(&stream, stops, 64, 64, memory), STATUS_OK);
    size_t bytes = strlen(text), start = 0, out_bytes = 0;
    int32_t stop = -1;
    for (size_t end = 1; end <= bytes && stop < 0; end++) {
        if (end < bytes && (cuts >> (end - 1) & 1) == 0)
            continue;
        struct text_slice piece = {text + start, end - start};
        struct text_ready ready = text_stream_feed(&stream, piece, true, end == bytes);
        memcpy(out + out_bytes, ready.text.data, ready.text.bytes);
        out_bytes += ready.text.bytes;
        stop = ready.stop;
        start = end;
    }
    out[out_bytes] = '\0';
    arena_destroy(memory);
    return stop;
}

/* All 2^(n-1) ways to cut `text` must give `want`. */
static void assert_every_split(const stop_matcher *stops, const char *text, const char *want,
                               int32_t want_stop)
{
    char out[TEXT_MAX];
    for (uint32_t cuts = 0; cuts < 1u << (strlen(text) - 1); cuts++) {
        assert_int_equal(feed_cut(stops, text, cuts, out), want_stop);
        assert_string_equal(out, want);
    }
}

static void every_split_of_the_bytes_gives_the_same_text(void **state)
{
    (void)state;
    assert_every_split(NULL, "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z",
                       "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z", -1);
}

/* Expected texts are those of Python's bytes.decode("utf-8", "replace"). */
static void broken_bytes_are_replaced_as_python_does(void **state)
{
    (void)state;
    assert_every_split(NULL,
                       "a\xFF\xFE"
                       "b",
                       "a\xEF\xBF\xBD\xEF\xBF\xBD"
                       "b",
                       -1);
    assert_every_split(NULL,
                       "\xE2\x82"
                       "x",
                       "\xEF\xBF\xBDx", -1);
    assert_every_split(NULL, "\xF0\x9F\x98\xF0\x9F", "\xEF\xBF\xBD\xEF\xBF\xBD", -1);
    assert_every_split(NULL, "\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", -1);
    assert_every_split(NULL, "\x80\x80z\xC3", "\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD", -1);
}

static void a_stop_string_is_found_across_any_cut_and_nothing_of_it_leaks(void **state)
{
    (void)state;
    static const struct text_slice list[] = {{"\xE2\x82\xAC!", 4}, {"end", 3}};
    stop_matcher *stops;
    assert_int_equal(stop_matcher_create(list, 2, false, &stops), STATUS_OK);
    assert_every_split(stops, "a e en\xE2\x82\xAC end x", "a e en\xE2\x82\xAC ", 1);
    assert_every_split(stops, "\xFF\xE2\x82\xAC!zz", "\xEF\xBF\xBD", 0);
    assert_every_split(stops, "en en", "en en", -1); /* held back, then it was not */
    stop_matcher_destroy(stops);
}

static void stops_are_not_looked_for_before_they_are_watched(void **state)
{
    (void)state;
    static const struct text_slice list[] = {{"ab", 2}};
    stop_matcher *stops;
    arena *memory;
    struct text_stream stream;
    assert_int_equal(stop_matcher_create(list, 1, false, &stops), STATUS_OK);
    assert_int_equal(arena_create(1 << 16, &memory), STATUS_OK);
    assert_int_equal(text_stream_init(&stream, stops, 8, 2, memory), STATUS_OK);
    struct text_slice piece = {"xaba", 4};
    struct text_ready ready = text_stream_feed(&stream, piece, false, false);
    assert_int_equal(ready.text.bytes, 4);
    assert_int_equal(ready.stop, -1);
    piece = (struct text_slice){"bab", 3}; /* the b does not complete the a from before */
    ready = text_stream_feed(&stream, piece, true, false);
    assert_int_equal(ready.text.bytes, 1);
    assert_int_equal(ready.stop, 0);
    arena_destroy(memory);
    stop_matcher_destroy(stops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_of_the_bytes_gives_the_same_text),
        cmocka_unit_test(broken_bytes_are_replaced_as_python_does),
        cmocka_unit_test(a_stop_string_is_found_across_any_cut_and_nothing_of_it_leaks),
        cmocka_unit_test(stops_are_not_looked_for_before_they_are_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
