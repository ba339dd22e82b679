#include "unit_test.h"

#include "cells.h"

static char *shown(const char *text, uint32_t columns, uint32_t *width)
{
    static char out[4096];
    struct buffer buffer;

    buffer_init(&buffer, sizeof(out) - 1);
    *width = cells_write(&buffer, text, columns);
    (void)snprintf(out, sizeof(out), "%.*s", (int)buffer.bytes,
                   buffer.data != NULL ? buffer.data : "");
    buffer_deinit(&buffer);
    return out;
}

static void cuts_by_columns_and_not_by_bytes(void **state)
{
    static const struct {
        const char *text, *shown;
        uint32_t columns, width;
    } rows[] = {
        {"model", "model", 5, 5},
        {"model", "mod\xE2\x80\xA6", 4, 4},
        {"model", "\xE2\x80\xA6", 1, 1},
        {"model", "", 0, 0},
        {"", "", 4, 0},
        {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", 4, 4},
        /* Two wide characters take four columns; half of one is never shown. */
        {"\xE6\xA8\xA1\xE5\x9E\x8B", "\xE6\xA8\xA1\xE5\x9E\x8B", 4, 4},
        {"\xE6\xA8\xA1\xE5\x9E\x8B", "\xE6\xA8\xA1\xE2\x80\xA6", 3, 3},
        {"\xE6\xA8\xA1\xE5\x9E\x8B", "\xE2\x80\xA6", 2, 1},
        {"e\xCC\x81t", "e\xCC\x81t", 2, 2}, /* a combining mark takes none */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t width;

        assert_string_equal(shown(rows[i].text, rows[i].columns, &width), rows[i].shown);
        assert_int_equal(width, rows[i].width);
        assert_true(width <= rows[i].columns);
    }
}

static void what_could_steer_the_terminal_is_replaced(void **state)
{
    static const char *const hostile[] = {"\033",
                                          "\a",
                                          "\n",
                                          "\r",
                                          "\t",
                                          "\x7f",
                                          "\xC2\x9B" /* CSI of one code point */,
                                          "\x9B" /* and of one byte */,
                                          "\xE2\x80\xAE" /* right to left */,
                                          "\xE2\x80\x8B",
                                          "\xEF\xBB\xBF",
                                          "\xC0\x80",
                                          "\xED\xA0\x80",
                                          "\xF3\xA0\x81\x81" /* tag */};

    (void)state;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        char text[32];
        uint32_t width;
        const char *out;

        (void)snprintf(text, sizeof(text), "a%sb", hostile[i]);
        out = shown(text, 20, &width);
        assert_null(strstr(out, hostile[i]));
        assert_non_null(strstr(out, "\xEF\xBF\xBD"));
        assert_true(out[0] == 'a' && out[strlen(out) - 1] == 'b');
        assert_int_equal(width, cells_width(text));
    }
}

static void marks_are_not_heaped(void **state)
{
    char text[1024] = "a";
    uint32_t width;

    (void)state;
    for (int i = 0; i < 100; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "\xCC\x81");
    assert_string_equal(shown(text, 20, &width), "a\xCC\x81\xCC\x81");
    assert_int_equal(width, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_by_columns_and_not_by_bytes),
        cmocka_unit_test(what_could_steer_the_terminal_is_replaced),
        cmocka_unit_test(marks_are_not_heaped),
    };

    if (!cells_locale_set())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
