#include "unit_test.h"

#include "check.h"
#include "http1_chunked.h"

static const char body[] =
    "4\r\nWiki\r\n5;name=\"v\"\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\n";
static const char payload[] = "Wikipedia in\r\n\r\nchunks.";

static void a_body_is_decoded_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof body; piece++) {
        struct chunked chunked;
        char out[sizeof body] = "";
        size_t out_bytes = 0;
        status s = STATUS_AGAIN;
        chunked_init(&chunked);
        for (size_t at = 0; at < sizeof body - 1; at += piece) {
            char part[sizeof body];
            size_t count = sizeof body - 1 - at < piece ? sizeof body - 1 - at : piece;
            assert_int_equal(s, STATUS_AGAIN);
            memcpy(part, body + at, count);
            s = chunked_decode(&chunked, part, &count, NULL, NULL);
            memcpy(out + out_bytes, part, count);
            out_bytes += count;
        }
        assert_int_equal(s, STATUS_OK);
        assert_int_equal(out_bytes, sizeof payload - 1);
        assert_memory_equal(out, payload, out_bytes);
    }
}

static void what_follows_the_body_is_left_alone(void **state)
{
    (void)state;
    struct chunked chunked;
    char bytes[] = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1";
    size_t count = sizeof bytes - 1, taken = 0;
    chunked_init(&chunked);
    assert_int_equal(chunked_decode(&chunked, bytes, &count, NULL, &taken), STATUS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(taken, 11);
}

static void broken_coding_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\r\n",
                                        "g\r\n",
                                        "1\na\r\n",
                                        "1\r\nab\r\n",
                                        "1\r\na\n",
                                        " 1\r\na\r\n",
                                        "1 \r\na\r\n",
                                        "-1\r\n",
                                        "1\r\na\r\r\n",
                                        "0\r\n\n",
                                        "0\r\nX: y\n",
                                        "0x1\r\na\r\n",
                                        "1000000000000000\r\n",
                                        "1;\n",
                                        "0\r\n\r\r",
                                        "1;a\nb\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct chunked chunked;
        char bytes[64];
        size_t count = strlen(wrong[i]);
        memcpy(bytes, wrong[i], count);
        chunked_init(&chunked);
        if (chunked_decode(&chunked, bytes, &count, NULL, NULL) != STATUS_INVALID)
            fail_msg("accepted case %zu", i);
    }
}

static void extensions_are_bounded_over_the_whole_body(void **state)
{
    (void)state;
    struct chunked chunked;
    unsigned rounds = 0;
    chunked_init(&chunked);
    for (; rounds < 100000; rounds++) {
        char bytes[] = "1;12345678\r\na\r\n";
        size_t count = sizeof bytes - 1;
        if (chunked_decode(&chunked, bytes, &count, NULL, NULL) == STATUS_INVALID)
            break;
    }
    assert_in_range(rounds, CHUNKED_OVERHEAD_BYTES_MAX / 9 - 1, CHUNKED_OVERHEAD_BYTES_MAX / 8);
}

/* With a place to tell where it starts, one chunk's payload stays where it is; several are brought together. */
static void payload_need_not_be_moved(void **state)
{
    struct chunked chunked;
    char one[] = "5\r\nhello\r\n", two[] = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nrest";
    size_t count = sizeof(one) - 1, start = 99, taken = 0;

    (void)state;
    chunked_init(&chunked);
    assert_int_equal(chunked_decode(&chunked, one, &count, &start, &taken), STATUS_AGAIN);
    assert_int_equal(start, 3);
    assert_int_equal(count, 5);
    assert_int_equal(taken, sizeof(one) - 1);
    assert_memory_equal(one, "5\r\nhello\r\n", sizeof(one));

    count = sizeof(two) - 1;
    chunked_init(&chunked);
    assert_int_equal(chunked_decode(&chunked, two, &count, &start, &taken), STATUS_OK);
    assert_int_equal(count, 11);
    assert_memory_equal(two + start, "hello world", 11);
    assert_int_equal(taken, sizeof(two) - 1 - strlen("rest"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payload_need_not_be_moved),
        cmocka_unit_test(a_body_is_decoded_in_any_pieces),
        cmocka_unit_test(what_follows_the_body_is_left_alone),
        cmocka_unit_test(broken_coding_is_refused),
        cmocka_unit_test(extensions_are_bounded_over_the_whole_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
