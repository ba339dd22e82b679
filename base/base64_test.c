#include "base64.h"

#include "check.h"
#include "unit_test.h"

/* RFC 4648, section 10, and what Python's base64 says. */
static const struct {
    const char *plain, *standard, *url;
} pairs[] = {{"", "", ""},
             {"f", "Zg==", "Zg"},
             {"fo", "Zm8=", "Zm8"},
             {"foo", "Zm9v", "Zm9v"},
             {"foob", "Zm9vYg==", "Zm9vYg"},
             {"\xfb\xff\xbf", "+/+/", "-_-_"}};

static void texts_are_written_and_read_in_both_alphabets(void **state)
{
    uint8_t plain[8];
    size_t bytes;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        for (int kind = BASE64_STANDARD; kind <= BASE64_URL; kind++) {
            const char *text = kind == BASE64_STANDARD ? pairs[i].standard : pairs[i].url;
            struct buffer out;

            buffer_init(&out, 64);
            buffer_append_byte(&out, '>');
            base64_write(&out, (enum base64_kind)kind, pairs[i].plain, strlen(pairs[i].plain));
            assert_string_equal(out.data + 1, text);
            buffer_deinit(&out);
            assert_int_equal(
                base64_read(text_slice_of(text), (enum base64_kind)kind, plain, &bytes), STATUS_OK);
            assert_int_equal(bytes, strlen(pairs[i].plain));
            assert_memory_equal(plain, pairs[i].plain, bytes);
        }
    }
}

static void what_is_not_written_so_is_refused(void **state)
{
    static const struct {
        enum base64_kind kind;
        const char *text;
    } bad[] = {{BASE64_STANDARD, "Zg"},
               {BASE64_STANDARD, "Zg="},
               {BASE64_STANDARD, "Zg==Zg=="},
               {BASE64_STANDARD, "Zh=="},
               {BASE64_STANDARD, "-_-_"},
               {BASE64_STANDARD, "Zm9vY==="},
               {BASE64_STANDARD, "Zm9v===="},
               {BASE64_URL, "Zg=="},
               {BASE64_URL, "Z"},
               {BASE64_URL, "Zh"},
               {BASE64_URL, "+/+/"},
               {BASE64_URL, "Zm 9v"}};

    uint8_t out[16];
    size_t bytes;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(base64_read(text_slice_of(bad[i].text), bad[i].kind, out, &bytes),
                         STATUS_INVALID);
}

static void white_space_in_standard_text_is_passed_over(void **state)
{
    uint8_t out[16];
    size_t bytes;

    (void)state;
    assert_int_equal(base64_read(text_slice_of(" Z\nm8\t=\r\n"), BASE64_STANDARD, out, &bytes),
                     STATUS_OK);
    assert_int_equal(bytes, 2);
    assert_memory_equal(out, "fo", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_written_and_read_in_both_alphabets),
        cmocka_unit_test(what_is_not_written_so_is_refused),
        cmocka_unit_test(white_space_in_standard_text_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
