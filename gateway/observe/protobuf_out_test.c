#include "protobuf_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void bytes_are(const struct buffer *out, const char *wanted, size_t bytes)
{
    assert_int_equal(out->failed, STATUS_OK);
    assert_int_equal(out->bytes, bytes);
    assert_memory_equal(out->data, wanted, bytes);
}
#define BYTES_ARE(out, text) bytes_are((out), (text), sizeof(text) - 1)

/* The examples of protobuf.dev's page on the encoding. */
static void the_manuals_examples_come_out(void **state)
{
    struct buffer out;
    size_t mark;

    (void)state;
    buffer_init(&out, 1000);
    protobuf_uint(&out, 1, 150);
    BYTES_ARE(&out, "\x08\x96\x01");
    buffer_clear(&out);
    protobuf_text(&out, 2, "testing");
    BYTES_ARE(&out, "\x12\x07testing");
    buffer_clear(&out);
    mark = protobuf_begin(&out, 3);
    protobuf_uint(&out, 1, 150);
    protobuf_end(&out, mark);
    BYTES_ARE(&out, "\x1a\x03\x08\x96\x01");
    buffer_clear(&out);
    protobuf_int(&out, 1, -2);
    BYTES_ARE(&out, "\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    buffer_deinit(&out);
}

static void fixed_numbers_have_their_lowest_byte_first(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 1000);
    protobuf_fixed32(&out, 16, 0x01020304);
    BYTES_ARE(&out, "\x85\x01\x04\x03\x02\x01");
    buffer_clear(&out);
    protobuf_fixed64(&out, 7, 0x0102030405060708);
    BYTES_ARE(&out, "\x39\x08\x07\x06\x05\x04\x03\x02\x01");
    buffer_clear(&out);
    protobuf_double(&out, 5, 1.0);
    BYTES_ARE(&out, "\x29\0\0\0\0\0\0\xf0\x3f");
    buffer_deinit(&out);
}

/* Around the sizes at which the length takes a byte more, and nested, so that what is inside is moved twice. */
static void lengths_of_every_size_fit(void **state)
{
    static const size_t sizes[] = {0,   1,   120,   122,   123,   124,  126,
                                   127, 128, 16380, 16383, 16384, 20000};
    static char data[20000];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)i;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct protobuf_field field;
        struct text_slice rest;
        struct buffer out;
        size_t outer, inner;

        buffer_init(&out, 100000);
        outer = protobuf_begin(&out, 1);
        inner = protobuf_begin(&out, 2);
        protobuf_bytes(&out, 3, data, sizes[i]);
        protobuf_end(&out, inner);
        protobuf_uint(&out, 4, 7);
        protobuf_end(&out, outer);
        rest = buffer_slice(&out);
        assert_true(protobuf_next(&rest, &field));
        assert_int_equal(field.number, 1);
        assert_int_equal(rest.bytes, 0);
        rest = field.bytes;
        assert_true(protobuf_next(&rest, &field));
        assert_int_equal(field.number, 2);
        struct text_slice inside = field.bytes;
        assert_true(protobuf_next(&inside, &field));
        assert_int_equal(field.number, 3);
        assert_int_equal(field.bytes.bytes, sizes[i]);
        assert_memory_equal(field.bytes.data, data, sizes[i]);
        assert_true(protobuf_next(&rest, &field));
        assert_int_equal(field.value, 7);
        assert_false(protobuf_next(&rest, &field));
        buffer_deinit(&out);
    }
}

static void broken_text_becomes_valid(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 1000);
    protobuf_text(&out, 1, "a\xffz\xc3");
    BYTES_ARE(&out, "\x0a\x08"
                    "a\xef\xbf\xbdz\xef\xbf\xbd");
    buffer_deinit(&out);
}

static void a_buffer_that_is_full_stays_failed(void **state)
{
    struct buffer out;
    size_t mark;

    (void)state;
    buffer_init(&out, 130);
    mark = protobuf_begin(&out, 1);
    for (int i = 0; i < 64; i++)
        protobuf_uint(&out, 1, 1);
    protobuf_end(&out, mark); /* 128 bytes of content: no room for a longer length */
    assert_int_equal(out.failed, STATUS_TOO_LARGE);
    buffer_deinit(&out);
}

static void broken_messages_end_the_reading(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
    } bad[] = {{"\x08", 1},
               {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
               {"\x0a\x05"
                "abc",
                5},
               {"\x09\x01\x02", 3},
               {"\x0d\x01", 2},
               {"\x0b", 1},
               {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct text_slice rest = {bad[i].bytes, bad[i].count};
        struct protobuf_field field;

        assert_false(protobuf_next(&rest, &field));
        assert_int_equal(rest.bytes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manuals_examples_come_out),
        cmocka_unit_test(fixed_numbers_have_their_lowest_byte_first),
        cmocka_unit_test(lengths_of_every_size_fit),
        cmocka_unit_test(broken_text_becomes_valid),
        cmocka_unit_test(a_buffer_that_is_full_stays_failed),
        cmocka_unit_test(broken_messages_end_the_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
