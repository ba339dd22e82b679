#include "unit_test.h"

#include <stdlib.h>

#include "check.h"
#include "http1_head.h"

static struct http_header headers[8];
static struct http1_head head;
static const char *why;
static char text[4096];

static status parse(const char *request)
{
    size_t scanned = 0, head_bytes = 0, count = strlen(request);
    memcpy(text, request, count + 1);
    why = "";
    status s = http1_head_find(text, count, &scanned, &head_bytes);
    return s == STATUS_OK
               ? http1_request_parse(text, head_bytes, headers, ARRAY_COUNT(headers), &head, &why)
               : s;
}

static void a_plain_request_is_parsed(void **state)
{
    (void)state;
    assert_int_equal(parse("POST /v1/chat?x=1&y HTTP/1.1\r\nHost: a\r\nContent-Length: "
                           "12\r\nX-Thing:\t two words \r\n\r\nbody"),
                     STATUS_OK);
    assert_true(text_slice_is(head.method, "POST"));
    assert_true(text_slice_is(head.path, "/v1/chat"));
    assert_true(text_slice_is(head.query, "x=1&y"));
    assert_int_equal(head.header_count, 3);
    assert_true(text_slice_is(headers[2].name, "x-thing"));
    assert_true(text_slice_is(headers[2].value, "two words"));
    assert_int_equal(head.content_length, 12);
    assert_true(head.is_keep_alive);
    assert_false(head.is_chunked || head.expects_continue);
}

static void keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n"), STATUS_OK);
    assert_false(head.is_keep_alive);
    assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), STATUS_OK);
    assert_true(head.is_keep_alive);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE\r\n\r\n"),
                     STATUS_OK);
    assert_false(head.is_keep_alive);
}

/* Each shape has been used for request smuggling against some server. */
static void ambiguous_requests_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\tfolded: x\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        if (parse(wrong[i]) != STATUS_INVALID)
            fail_msg("accepted: %s", wrong[i]);
}

static void what_we_do_not_speak_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), STATUS_UNSUPPORTED);
    assert_int_equal(
        parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        STATUS_UNSUPPORTED);
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
                     STATUS_UNSUPPORTED);
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"),
                     STATUS_UNSUPPORTED);
}

static void fields_are_allowed_up_to_the_limit(void **state)
{
    (void)state;
    char request[512] = "GET / HTTP/1.1\r\nHost: a\r\n";
    size_t bytes = strlen(request);
    for (unsigned i = 1; i < ARRAY_COUNT(headers); i++, bytes += 6)
        memcpy(request + bytes, "x: y\r\n", 6);
    memcpy(request + bytes, "\r\n", 3);
    assert_int_equal(parse(request), STATUS_OK);
    memcpy(request + bytes, "x: y\r\n\r\n", 9);
    assert_int_equal(parse(request), STATUS_TOO_LARGE);
}

static void the_end_of_a_head_is_found_in_any_pieces(void **state)
{
    (void)state;
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
    size_t scanned = 0, head_bytes = 0;
    for (size_t count = 0; count < 27; count++)
        assert_int_equal(http1_head_find(request, count, &scanned, &head_bytes), STATUS_AGAIN);
    assert_int_equal(http1_head_find(request, 27, &scanned, &head_bytes), STATUS_OK);
    assert_int_equal(head_bytes, 27);
}

static void absolute_form_is_reduced_to_its_path(void **state)
{
    (void)state;
    assert_int_equal(parse("GET http://host:1/a/b?q HTTP/1.1\r\nHost: host:1\r\n\r\n"), STATUS_OK);
    assert_true(text_slice_is(head.path, "/a/b"));
    assert_true(text_slice_is(head.query, "q"));
}

static void answers_are_parsed_and_broken_ones_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        status expected;
        int status_code;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", STATUS_OK, 200},
        {"HTTP/1.1 204\r\n\r\n", STATUS_OK, 204},
        {"HTTP/1.0 404 Not Found\r\n\r\n", STATUS_OK, 404},
        {"HTTP/1.1 20 OK\r\n\r\n", STATUS_INVALID, 0},
        {"HTTP/1.1 2000 OK\r\n\r\n", STATUS_INVALID, 0},
        {"HTTP/1.1 099 x\r\n\r\n", STATUS_INVALID, 0},
        {"HTTP/1.1200 OK\r\n\r\n", STATUS_INVALID, 0},
        {"ICY 200 OK\r\n\r\n", STATUS_INVALID, 0},
        {"HTTP/2.0 200 OK\r\n\r\n", STATUS_UNSUPPORTED, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t scanned = 0, head_bytes = 0;
        memcpy(text, cases[i].text, strlen(cases[i].text) + 1);
        assert_int_equal(http1_head_find(text, strlen(text), &scanned, &head_bytes), STATUS_OK);
        assert_int_equal(
            http1_response_parse(text, head_bytes, headers, ARRAY_COUNT(headers), &head, &why),
            cases[i].expected);
        if (cases[i].expected == STATUS_OK)
            assert_int_equal(head.status_code, cases[i].status_code);
    }
}

static void no_bytes_lead_outside_the_head(void **state)
{
    (void)state;
    static const char letters[] = "GET / HTTP/1.1\r\nHost: a:,\r\n\r\n\t\nX";
    uint64_t random = 7;
    for (unsigned round = 0; round < 50000; round++) {
        size_t count = round % 60 + 1, scanned = 0, head_bytes = 0;
        char *bytes = malloc(count);
        assert_non_null(bytes);
        for (size_t i = 0; i < count; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            bytes[i] = (random >> 60) == 0 || i >= 29
                           ? letters[(random >> 32) % (sizeof letters - 1)]
                           : letters[i];
        }
        if (http1_head_find(bytes, count, &scanned, &head_bytes) == STATUS_OK) {
            (void)!http1_request_parse(bytes, head_bytes, headers, ARRAY_COUNT(headers), &head,
                                       &why);
            (void)!http1_response_parse(bytes, head_bytes, headers, ARRAY_COUNT(headers), &head,
                                        &why);
        }
        free(bytes);
    }
}

/* Against RFC 9110's grammar, byte by byte (5.6.2: tchar; 5.5: field-value). */
static void names_and_values_are_judged_by_every_byte(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        char bytes[40];
        struct text_slice name = {bytes, sizeof(bytes)};
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool is_token =
            is_letter || (c >= '0' && c <= '9') || (c != 0 && strchr("!#$%&'*+-.^_`|~", (int)c));
        memset(bytes, 'x', sizeof(bytes));
        bytes[c % sizeof(bytes)] = (char)c;
        assert_int_equal(http1_is_token(name), is_token);
        assert_int_equal(http1_is_lower_case_token(name), is_token && !(c >= 'A' && c <= 'Z'));
        assert_int_equal(http1_is_field_value(name), (c >= 0x20 || c == '\t') && c != 0x7f);
    }
    assert_false(http1_is_token(text_slice_of("")));
    assert_false(http1_is_lower_case_token(text_slice_of("")));
    assert_true(http1_is_field_value(text_slice_of("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_values_are_judged_by_every_byte),
        cmocka_unit_test(a_plain_request_is_parsed),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(ambiguous_requests_are_refused),
        cmocka_unit_test(what_we_do_not_speak_is_told_apart),
        cmocka_unit_test(fields_are_allowed_up_to_the_limit),
        cmocka_unit_test(the_end_of_a_head_is_found_in_any_pieces),
        cmocka_unit_test(absolute_form_is_reduced_to_its_path),
        cmocka_unit_test(answers_are_parsed_and_broken_ones_refused),
        cmocka_unit_test(no_bytes_lead_outside_the_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
