#include "unit_test.h"

#include "http_remote.h"

static void urls_are_read_in_parts(void **state)
{
    static const struct {
        const char *text, *host, *prefix;
        bool is_tls;
        uint16_t port;
    } rows[] = {
        {"http://127.0.0.1:8000", "127.0.0.1", "", false, 8000},
        {"https://api.example.com/v1/", "api.example.com", "/v1", true, 443},
        {"http://[::1]:1/a/b", "::1", "/a/b", false, 1},
        {"http://[::1]", "::1", "", false, 80},
        {"https://host:65535//", "host", "", true, 65535},
    };
    struct http_url url;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(http_url_parse(rows[i].text, &url, NULL), STATUS_OK);
        assert_string_equal(url.host, rows[i].host);
        assert_string_equal(url.prefix, rows[i].prefix);
        assert_int_equal(url.port, rows[i].port);
        assert_int_equal(url.is_tls, rows[i].is_tls);
    }
}

static void what_is_no_url_of_a_server_is_refused_with_a_reason(void **state)
{
    static const char *const texts[] = {"",
                                        "ftp://h",
                                        "http:/h",
                                        "http://",
                                        "http:///v1",
                                        "http://h:0",
                                        "http://h:65536",
                                        "http://h:8x",
                                        "http://h:",
                                        "http://h?x=1",
                                        "http://h/v1?x",
                                        "http://h/#a",
                                        "http://h/a b",
                                        "http://u:p@h",
                                        "https://u@h/v1",
                                        "http://h\r\nx: y",
                                        "http://[::1",
                                        "http://[zz]:1",
                                        "http://-h",
                                        "https://127.0.0.1",
                                        "https://[::1]:443/v1",
                                        "http://a_very~odd;host"};
    char long_host[400] = "http://";

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error_note note = {""};
        struct http_url url;

        if (http_url_parse(texts[i], &url, &note) != STATUS_INVALID || note.text[0] == '\0')
            fail_msg("%s: %s", texts[i], note.text);
        assert_null(strstr(note.text, "u:p")); /* no credentials in a message */
    }
    memset(long_host + 7, 'a', 300);
    assert_int_equal(http_url_parse(long_host, &(struct http_url){0}, NULL), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read_in_parts),
        cmocka_unit_test(what_is_no_url_of_a_server_is_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
