#include "unit_test.h"

#include "redis_link.h"

static void addresses_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *host, *user;
        bool is_socket;
        int port, database;
    } rows[] = {
        {"redis://localhost", "localhost", "", false, REDIS_PORT_DEFAULT, 0},
        {"redis://cache.example:7000", "cache.example", "", false, 7000, 0},
        {"redis://me@10.0.0.7:65535/3", "10.0.0.7", "me", false, 65535, 3},
        {"redis://[::1]", "::1", "", false, REDIS_PORT_DEFAULT, 0},
        {"redis://[fe80::2]:7001/65535", "fe80::2", "", false, 7001, 65535},
        {"redis://localhost/", "localhost", "", false, REDIS_PORT_DEFAULT, 0},
        {"unix:/run/redis.sock", "/run/redis.sock", "", true, REDIS_PORT_DEFAULT, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct redis_address found;
        struct error_note note = {""};

        assert_int_equal(redis_address_read(rows[i].text, &found, &note), STATUS_OK);
        assert_string_equal(found.host, rows[i].host);
        assert_string_equal(found.user, rows[i].user);
        assert_int_equal(found.is_socket, rows[i].is_socket);
        assert_int_equal(found.port, rows[i].port);
        assert_int_equal(found.database, rows[i].database);
    }
}

static void what_is_no_address_is_named(void **state)
{
    static const char *const texts[] = {
        "",
        "localhost",
        "http://localhost",
        "redis://",
        "redis://:7000",
        "redis://localhost:",
        "redis://localhost:0",
        "redis://localhost:65536",
        "redis://localhost:70a",
        "redis://localhost/a",
        "redis://localhost/65536",
        "redis://@localhost",
        "redis://[::1",
        "redis://[]",
        "redis://[::1]7000",
        "unix:",
        "unix:relative",
    };
    char longest[600] = "redis://";

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct redis_address found;
        struct error_note note = {""};

        assert_int_equal(redis_address_read(texts[i], &found, &note), STATUS_INVALID);
        assert_non_null(strstr(note.text, "is no address of Redis"));
    }
    for (size_t length = REDIS_HOST_BYTES - 1; length <= REDIS_HOST_BYTES; length++) {
        struct redis_address found;
        struct error_note note;

        memset(longest + strlen("redis://"), 'a', length);
        assert_int_equal(redis_address_read(longest, &found, &note),
                         length < REDIS_HOST_BYTES ? STATUS_OK : STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(what_is_no_address_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
