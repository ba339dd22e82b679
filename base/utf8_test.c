#include "unit_test.h"

#include <stdbool.h>

#include "check.h"
#include "utf8.h"

static void every_scalar_value_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        char text[4];
        uint32_t back = 0;
        size_t bytes = utf8_encode(c, text);
        size_t expected = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (bytes != expected || utf8_decode(text, bytes, &back) != bytes || back != c)
            fail_msg("U+%04X", c);
        if (utf8_decode(text, bytes - 1 > 0 ? bytes - 1 : 1, &back) != (bytes == 1 ? 1 : 0))
            fail_msg("U+%04X cut short", c);
    }
}

/* By counting: of all texts of three bytes exactly those are valid that the definition gives. ASCII
 * 128, two-byte sequences 1,920 (beside one ASCII byte, in either order), three-byte sequences
 * 63,488 less 2,048 surrogates. */
static void of_all_three_byte_texts_the_right_number_is_valid(void **state)
{
    (void)state;
    size_t valid = 0;
    for (uint32_t bits = 0; bits < 1u << 24; bits++) {
        char text[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        valid += utf8_is_valid(text, 3);
    }
    size_t three = 65536 - 2048 - 2048; /* U+0800..U+FFFF without surrogates */
    assert_int_equal(valid, 128u * 128u * 128u + 2u * 128u * 1920u + three);
}

static void broken_sequences_are_refused(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\x80",         "\xBF",         "\xC0\x80",         "\xC1\xBF",
        "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80", "\xFF",         "\xE2\x82",         "\xC3("};
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        uint32_t c;
        if (utf8_decode(broken[i], strlen(broken[i]), &c) != 0)
            fail_msg("row %zu decoded", i);
        if (utf8_is_valid(broken[i], strlen(broken[i])))
            fail_msg("row %zu is valid", i);
    }
}

static void a_broken_byte_is_found_at_every_place_of_a_long_text(void **state)
{
    (void)state;
    for (size_t at = 0; at < 40; at++) {
        char text[40];
        memset(text, 'a', sizeof text);
        assert_true(utf8_is_valid(text, sizeof text));
        text[at] = '\xFF';
        assert_false(utf8_is_valid(text, sizeof text));
    }
    assert_true(utf8_is_valid("", 0));
}

struct cut {
    const char *text;
    size_t prefix;
};

static void the_complete_prefix_holds_back_only_what_can_still_be_completed(void **state)
{
    (void)state;
    static const struct cut cuts[] = {
        {"", 0},
        {"abc", 3},
        {"ab\xC3", 2},
        {"ab\xC3\xA9", 4},
        {"\xE2\x82", 0},
        {"\xF0\x9F\x98", 0},
        {"\xF0\x9F\x98\x80", 4},
        {"x\xF0", 1},
        {"x\xF0\x9F", 1},
        {"\x80\x80", 2}, /* no lead: complete */
        {"\x80\x80\x80\x80", 4},
        {"a\xE0\x80", 3}, /* overlong: nothing can complete it */
        {"a\xED\xA0", 3}, /* surrogate */
        {"a\xF4\x90", 3}, /* above U+10FFFF */
        {"a\xC0", 2},
        {"a\xFF", 2},
        {"\xC3\xC3", 1}, /* the first is broken, the second open */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        size_t prefix = utf8_complete_prefix(cuts[i].text, strlen(cuts[i].text));
        if (prefix != cuts[i].prefix)
            fail_msg("row %zu: %zu, expected %zu", i, prefix, cuts[i].prefix);
    }
}

static void broken_bytes_are_replaced_by_maximal_subparts(void **state)
{
    (void)state;
    /* The Unicode standard's table 3-8: 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64 gives one mark for
     * each group. */
    const char *text = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
    char marks[32] = {0};
    size_t mark_count = 0;
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        size_t length = utf8_decode(text + at, bytes - at, &c);
        if (length == 0)
            c = '?';
        marks[mark_count++] = (char)c;
        at += length > 0 ? length : utf8_broken_length(text + at, bytes - at);
    }
    assert_string_equal(marks, "a???b?c??d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_value_survives_the_round_trip),
        cmocka_unit_test(of_all_three_byte_texts_the_right_number_is_valid),
        cmocka_unit_test(broken_sequences_are_refused),
        cmocka_unit_test(a_broken_byte_is_found_at_every_place_of_a_long_text),
        cmocka_unit_test(the_complete_prefix_holds_back_only_what_can_still_be_completed),
        cmocka_unit_test(broken_bytes_are_replaced_by_maximal_subparts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
