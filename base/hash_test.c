#include "unit_test.h"

#include "check.h"
#include "hash.h"

/* Key 00..0f, message 00 01 02 ...; as OpenSSL 3.0's SIPHASH prints them (openssl mac -macopt
 * hexkey:... SIPHASH) and the authors' vectors.h has them. */
struct vector {
    size_t bytes;
    unsigned char short_tag[8], long_tag[16];
};

static const struct vector vectors[] = {
    {0,
     {0x31, 0x0E, 0x0E, 0xDD, 0x47, 0xDB, 0x6F, 0x72},
     {0xA3, 0x81, 0x7F, 0x04, 0xBA, 0x25, 0xA8, 0xE6, 0x6D, 0xF6, 0x72, 0x14, 0xC7, 0x55, 0x02,
      0x93}},
    {1,
     {0xFD, 0x67, 0xDC, 0x93, 0xC5, 0x39, 0xF8, 0x74},
     {0xDA, 0x87, 0xC1, 0xD8, 0x6B, 0x99, 0xAF, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9B, 0x22, 0xFC,
      0x45}},
    {7,
     {0x37, 0xD1, 0x01, 0x8B, 0xF5, 0x00, 0x02, 0xAB},
     {0xA1, 0xF1, 0xEB, 0xBE, 0xD8, 0xDB, 0xC1, 0x53, 0xC0, 0xB8, 0x4A, 0xA6, 0x1F, 0xF0, 0x82,
      0x39}},
    {8,
     {0x62, 0x24, 0x93, 0x9A, 0x79, 0xF5, 0xF5, 0x93},
     {0x3B, 0x62, 0xA9, 0xBA, 0x62, 0x58, 0xF5, 0x61, 0x0F, 0x83, 0xE2, 0x64, 0xF3, 0x14, 0x97,
      0xB4}},
    {9,
     {0xB0, 0xE4, 0xA9, 0x0B, 0xDF, 0x82, 0x00, 0x9E},
     {0x26, 0x44, 0x99, 0x06, 0x0A, 0xD9, 0xBA, 0xAB, 0xC4, 0x7F, 0x8B, 0x02, 0xBB, 0x6D, 0x71,
      0xED}},
    {15,
     {0xE5, 0x45, 0xBE, 0x49, 0x61, 0xCA, 0x29, 0xA1},
     {0x54, 0x93, 0xE9, 0x99, 0x33, 0xB0, 0xA8, 0x11, 0x7E, 0x08, 0xEC, 0x0F, 0x97, 0xCF, 0xC3,
      0xD9}},
    {16,
     {0xDB, 0x9B, 0xC2, 0x57, 0x7F, 0xCC, 0x2A, 0x3F},
     {0x6E, 0xE2, 0xA4, 0xCA, 0x67, 0xB0, 0x54, 0xBB, 0xFD, 0x33, 0x15, 0xBF, 0x85, 0x23, 0x05,
      0x77}},
    {17,
     {0x94, 0x47, 0xBE, 0x2C, 0xF5, 0xE9, 0x9A, 0x69},
     {0x47, 0x3D, 0x06, 0xE8, 0x73, 0x8D, 0xB8, 0x98, 0x54, 0xC0, 0x66, 0xC4, 0x7A, 0xE4, 0x77,
      0x40}},
    {63,
     {0x72, 0x45, 0x06, 0xEB, 0x4C, 0x32, 0x8A, 0x95},
     {0x51, 0x50, 0xD1, 0x77, 0x2F, 0x50, 0x83, 0x4A, 0x50, 0x3E, 0x06, 0x9A, 0x97, 0x3F, 0xBD,
      0x7C}},
};

static const struct hash_key counting_key = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

static uint64_t little_endian(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static void hashes_are_those_of_openssl_at_every_alignment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        for (size_t shift = 0; shift < 8; shift++) {
            unsigned char message[80];
            for (size_t at = 0; at < v->bytes; at++)
                message[shift + at] = (unsigned char)at;
            struct hash128 expected = {little_endian(v->long_tag), little_endian(v->long_tag + 8)};
            assert_int_equal(hash64(&counting_key, message + shift, v->bytes),
                             little_endian(v->short_tag));
            assert_true(
                hash128_equals(hash128(&counting_key, message + shift, v->bytes), expected));
        }
    }
}

static void another_key_gives_another_hash(void **state)
{
    (void)state;
    struct hash_key other = counting_key;
    other.k1 ^= 1;
    assert_int_not_equal(hash64(&counting_key, "x", 1), hash64(&other, "x", 1));
    assert_false(hash128_equals(hash128(&counting_key, "x", 1), hash128(&other, "x", 1)));
}

static void a_checksum_knows_every_changed_bit(void **state)
{
    (void)state;
    unsigned char data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    for (size_t bytes = 1; bytes < sizeof data; bytes += 13) {
        uint64_t honest = checksum64(data, bytes);
        for (size_t bit = 0; bit < 8 * bytes; bit++) {
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_int_not_equal(checksum64(data, bytes), honest);
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        assert_int_equal(checksum64(data, bytes), honest);
    }
}

/* The top bits of two words of one lane: they cancel in a sum that only multiplies. */
static void a_checksum_knows_pairs_of_changes_and_lengths(void **state)
{
    (void)state;
    unsigned char data[256] = {0};
    uint64_t honest = checksum64(data, sizeof data);
    for (size_t bit = 0; bit < 64; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        data[64 + bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_not_equal(checksum64(data, sizeof data), honest);
        memset(data, 0, sizeof data);
    }
    for (size_t bytes = 0; bytes < sizeof data; bytes++) /* zeros, but fewer of them */
        assert_int_not_equal(checksum64(data, bytes), honest);
}

/* Files keep it: it may never change. Values from a Python version of the definition. */
static void a_checksum_is_the_same_on_every_machine(void **state)
{
    (void)state;
    unsigned char counting[200];
    for (size_t i = 0; i < sizeof counting; i++)
        counting[i] = (unsigned char)i;
    assert_int_equal(checksum64("", 0), UINT64_C(0xaed87f43e1c4b1ba));
    assert_int_equal(checksum64("penstock", 8), UINT64_C(0xb18eea605bdf4aad));
    assert_int_equal(checksum64(counting, sizeof counting), UINT64_C(0x4dc7135e982e2ad8));
}

static void random_bytes_fill_everything_and_differ(void **state)
{
    (void)state;
    unsigned char a[1000] = {0};
    unsigned char b[1000] = {0};
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    random_bytes(b, 0);
    assert_memory_not_equal(a, b, sizeof a);
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof a; i++)
        zeros += a[i] == 0;
    assert_true(zeros < 50); /* expected 4; 50 has odds below 10^-30 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_openssl_at_every_alignment),
        cmocka_unit_test(another_key_gives_another_hash),
        cmocka_unit_test(a_checksum_knows_every_changed_bit),
        cmocka_unit_test(a_checksum_knows_pairs_of_changes_and_lengths),
        cmocka_unit_test(a_checksum_is_the_same_on_every_machine),
        cmocka_unit_test(random_bytes_fill_everything_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
