#include "unit_test.h"

#include <stdlib.h>

#include "hpack_scan.h"

static struct hpack_scan scan;
static struct hpack_block block;

static int setup(void **state)
{
    (void)state;
    hpack_scan_deinit(&scan);
    return 0;
}

#define SCAN(bytes, count_max)                                                                     \
    hpack_scan_block(&scan, (const uint8_t *)(bytes), sizeof(bytes) - 1, (count_max), &block)

static void an_ordinary_request_is_counted(void **state)
{
    (void)state;
    /* RFC 7541, C.3.1 */
    assert_int_equal(SCAN("\x82\x86\x84\x41\x0fwww.example.com", 100), STATUS_OK);
    assert_int_equal(block.field_count, 4);
    assert_true(block.content_length == HPACK_LENGTH_UNKNOWN);
    assert_in_range(block.decoded_bytes, 4 * 32 + 15, 4 * (32 + 64) + 15);
}

static void fields_are_allowed_up_to_the_limit_and_not_one_more(void **state)
{
    (void)state;
    assert_int_equal(SCAN("\x82\x82\x82", 3), STATUS_OK);
    assert_int_equal(SCAN("\x82\x82\x82\x82", 3), STATUS_TOO_LARGE);
}

static void a_large_table_entry_counts_each_time_it_is_named(void **state)
{
    (void)state;
    uint8_t bytes[3000] = {0x40, 1, 'a', 0x7f, 0x81, 0x0f}; /* a: 127 + 1 + 15*128 = 2048 bytes */
    memset(bytes + 6, 'v', 2048);
    memset(bytes + 6 + 2048, 0xbe, 10); /* index 62, ten times */
    assert_int_equal(hpack_scan_block(&scan, bytes, 6 + 2048 + 10, 100, &block), STATUS_OK);
    assert_int_equal(block.field_count, 11);
    assert_true(block.decoded_bytes >= 11 * (2049 + 32));
    /* and in later blocks of the connection */
    assert_int_equal(SCAN("\xbe", 100), STATUS_OK);
    assert_true(block.decoded_bytes >= 2049 + 32);
}

static void content_length_is_read_in_all_forms(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        uint64_t length;
    } cases[] = {
        {"\x0f\x0d\x05"
         "12345",
         8, 12345}, /* static name, not indexed */
        {"\x5c\x03"
         "123",
         5, 123},         /* static name, indexed */
        {"\xbe", 1, 123}, /* the entry just made */
        {"\x0f\x2f\x02"
         "77",
         5, 77}, /* name of that entry (index 62) */
        {"\x00\x0e"
         "content-length"
         "\x01"
         "9",
         18, 9}, /* literal name */
        {"\x0f\x0d\x02"
         "1x",
         5, HPACK_LENGTH_UNKNOWN},
        {"\x0f\x0d\x00", 3, HPACK_LENGTH_UNKNOWN},
        {"\x0f\x0d\x18"
         "999999999999999999999999",
         27, UINT64_MAX - 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            hpack_scan_block(&scan, (const uint8_t *)cases[i].bytes, cases[i].count, 10, &block),
            STATUS_OK);
        assert_true(block.content_length == cases[i].length);
    }
}

static void huffman_digits_are_read(void **state)
{
    (void)state;
    /* "0123456789": 5+5+5 + 7*6 = 57 bits + 7 of padding = 8 octets */
    static const unsigned codes[10][2] = {{0, 5},  {1, 5},  {2, 5},  {25, 6}, {26, 6},
                                          {27, 6}, {28, 6}, {29, 6}, {30, 6}, {31, 6}};
    for (unsigned length = 1; length <= 10; length++) {
        uint8_t field[20] = {0x0f, 0x0d};
        unsigned bit = 0;
        uint64_t expected = 0;
        memset(field + 3, 0xff, 16);
        for (unsigned i = 0; i < length; i++) {
            unsigned digit = (i + length) % 10;
            expected = expected * 10 + digit;
            for (unsigned b = codes[digit][1]; b-- > 0; bit++)
                if ((codes[digit][0] >> b & 1) == 0)
                    field[3 + bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
        }
        unsigned octets = (bit + 7) / 8;
        field[2] = (uint8_t)(0x80 | octets);
        assert_int_equal(hpack_scan_block(&scan, field, 3 + octets, 10, &block), STATUS_OK);
        assert_true(block.content_length == expected);
    }
}

static void what_is_not_hpack_is_refused(void **state)
{
    (void)state;
    assert_int_equal(SCAN("\x80", 10), STATUS_INVALID);     /* index 0 */
    assert_int_equal(SCAN("\x82\x20", 10), STATUS_INVALID); /* size update after a field */
    assert_int_equal(SCAN("\x40\x05"
                          "ab",
                          10),
                     STATUS_INVALID); /* name longer than the block */
    assert_int_equal(SCAN("\x41\x7f\xff\xff\xff\xff\x0f", 10),
                     STATUS_INVALID); /* integer too long */
    assert_int_equal(SCAN("\xff\xff\xff\xff\xff\x0f", 10), STATUS_INVALID);
    assert_int_equal(SCAN("\x41", 10), STATUS_INVALID);
    assert_int_equal(SCAN("\x00\x01"
                          "a",
                          10),
                     STATUS_INVALID);
    assert_int_equal(SCAN("\x3f\x80\x1e\x82", 10), STATUS_OK); /* size update, then a field */
}

/* Every cut of a valid block and any bytes end without reading past the end (run with sanitizers).
 */
static void no_bytes_lead_outside_the_block(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *bytes = malloc(64);
        size_t count = 0;
        assert_non_null(bytes);
        for (; count < 64; count++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            bytes[count] = (uint8_t)(random >> 56);
        }
        uint8_t *end_at_page = malloc(round % 64 + 1);
        assert_non_null(end_at_page);
        memcpy(end_at_page, bytes, round % 64 + 1);
        (void)!hpack_scan_block(&scan, end_at_page, round % 64 + 1, 20, &block);
        assert_true(block.field_count <= 21);
        free(bytes);
        free(end_at_page);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_ordinary_request_is_counted, setup),
        cmocka_unit_test_setup(fields_are_allowed_up_to_the_limit_and_not_one_more, setup),
        cmocka_unit_test_setup(a_large_table_entry_counts_each_time_it_is_named, setup),
        cmocka_unit_test_setup(content_length_is_read_in_all_forms, setup),
        cmocka_unit_test_setup(huffman_digits_are_read, setup),
        cmocka_unit_test_setup(what_is_not_hpack_is_refused, setup),
        cmocka_unit_test_setup(no_bytes_lead_outside_the_block, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
