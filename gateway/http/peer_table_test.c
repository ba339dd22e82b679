#include "unit_test.h"

#include "clock.h"
#include "peer_table.h"

static struct peer_table table;

static struct peer_key key_of(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), STATUS_OK);
    return peer_table_key(&table, &address);
}

static void an_address_gets_its_connections_and_not_one_more(void **state)
{
    (void)state;
    peer_table_init(&table);
    struct peer_key one = key_of("10.0.0.1:1");
    for (unsigned i = 0; i < 5; i++)
        assert_true(peer_table_admit(&table, one, 5, 0, 1));
    assert_false(peer_table_admit(&table, one, 5, 0, 1));
    peer_table_release(&table, one);
    assert_true(peer_table_admit(&table, one, 5, 0, 1));
    assert_true(peer_table_admit(&table, one, 0, 0, 1));
}

static void ports_are_one_address_and_ipv6_counts_by_64_bits(void **state)
{
    (void)state;
    peer_table_init(&table);
    struct peer_key a = key_of("10.0.0.1:1"), b = key_of("10.0.0.1:2");
    assert_memory_equal(&a, &b, sizeof a);
    a = key_of("[2001:db8:0:1::1]:1"), b = key_of("[2001:db8:0:1:ffff::2]:1");
    assert_memory_equal(&a, &b, sizeof a);
}

static void other_addresses_are_not_held_back(void **state)
{
    (void)state;
    peer_table_init(&table);
    struct peer_key busy = key_of("10.0.0.1:1");
    for (unsigned i = 0; i < 100; i++)
        assert_true(peer_table_admit(&table, busy, 100, 0, 1));
    unsigned refused = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "10.1.%u.%u:1", i / 250, i % 250);
        refused += !peer_table_admit(&table, key_of(text), 100, 0, 1);
    }
    assert_true(refused <= 1); /* a double collision, 1 in 2^24 a pair */
}

static void the_rate_allows_a_burst_and_then_its_share_of_time(void **state)
{
    (void)state;
    peer_table_init(&table);
    struct peer_key one = key_of("10.0.0.1:1");
    uint64_t now_ns = 5 * NS_PER_SECOND;
    unsigned admitted = 0;
    for (unsigned i = 0; i < 100; i++)
        admitted += peer_table_admit(&table, one, 0, 10, now_ns);
    assert_in_range(admitted, 10, 11);
    assert_false(peer_table_admit(&table, one, 0, 10, now_ns));
    assert_true(peer_table_admit(&table, one, 0, 10, now_ns + NS_PER_SECOND / 5));
    for (unsigned i = 0; i < 100; i++)
        (void)peer_table_admit(&table, one, 0, 10, now_ns + NS_PER_SECOND / 5);
    assert_true(peer_table_admit(&table, one, 0, 10,
                                 now_ns + 3 * NS_PER_SECOND)); /* refusals cost nothing */
}

static void uploads_are_summed_by_address(void **state)
{
    (void)state;
    peer_table_init(&table);
    struct peer_key one = key_of("10.0.0.1:1"), other = key_of("10.0.0.2:1");
    assert_int_equal(peer_table_upload(&table, one, 0, 100), 100);
    assert_int_equal(peer_table_upload(&table, one, 0, 50), 150);
    assert_int_equal(peer_table_upload(&table, other, 0, 7), 7);
    assert_int_equal(peer_table_upload(&table, one, 100, 120), 170);
    assert_int_equal(peer_table_upload(&table, one, 120, 0), 50);
    assert_int_equal(peer_table_upload(&table, one, 50, 0), 0);
}

static void addresses_are_parsed_strictly(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        ":",
                                        "127.0.0.1",
                                        "127.0.0.1:",
                                        "127.0.0.1:65536",
                                        "127.0.0.1:-1",
                                        "127.0.0.1:1x",
                                        "localhost:80",
                                        "[::1:80",
                                        "::1:80",
                                        "[127.0.0.1]:80",
                                        "unix:",
                                        "1.2.3:4"};
    struct address address;
    struct error_note note;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(address_parse(wrong[i], &address, &note), STATUS_INVALID);
    char long_path[200] = "unix:/";
    memset(long_path + 6, 'a', sizeof long_path - 7);
    long_path[5 + 107] = '\0';
    assert_int_equal(address_parse(long_path, &address, &note), STATUS_OK);
    long_path[5 + 107] = 'a';
    assert_int_equal(address_parse(long_path, &address, &note), STATUS_INVALID);
    assert_int_equal(address_parse("[::1]:65535", &address, &note), STATUS_OK);
    assert_int_equal(address_port(&address), 65535);
    char text[ADDRESS_TEXT_BYTES];
    address_host_text(&address, text);
    assert_string_equal(text, "::1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_gets_its_connections_and_not_one_more),
        cmocka_unit_test(ports_are_one_address_and_ipv6_counts_by_64_bits),
        cmocka_unit_test(other_addresses_are_not_held_back),
        cmocka_unit_test(the_rate_allows_a_burst_and_then_its_share_of_time),
        cmocka_unit_test(uploads_are_summed_by_address),
        cmocka_unit_test(addresses_are_parsed_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
