#include "unit_test.h"

#include "status.h"

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = 0; a < STATUS_COUNT; a++) {
        assert_non_null(status_name((status)a));
        for (int b = 0; b < a; b++)
            assert_string_not_equal(status_name((status)a), status_name((status)b));
    }
    assert_string_equal(status_name(STATUS_NO_MEMORY), "no_memory");
    assert_string_equal(status_name((status)999), "unknown");
}

static void a_note_commands_no_terminal(void **state)
{
    struct error_note note;

    (void)state;
    error_note_set(&note, "it says: %s", "\033[2J\x7f\r\007\tgr\xc3\xbc\xc3\x9f\n");
    assert_string_equal(note.text, "it says: ?[2J???\tgr\xc3\xbc\xc3\x9f\n");
}

static void a_note_is_cut_at_its_size(void **state)
{
    (void)state;
    struct error_note note;
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    error_note_set(&note, "%s", text);
    assert_int_equal(strlen(note.text), sizeof note.text - 1);
    error_note_prefix(&note, "%s", "front");
    assert_int_equal(strlen(note.text), sizeof note.text - 1);
    assert_memory_equal(note.text, "front: xxx", 10);
    error_note_prefix(&note, "%s", text);
    assert_int_equal(strlen(note.text), sizeof note.text - 1);
}

static void prefixes_pile_up_before_the_text(void **state)
{
    (void)state;
    struct error_note note;
    error_note_set(&note, "digit %d", 7);
    error_note_prefix(&note, "row %d", 2);
    error_note_prefix(&note, "file");
    assert_string_equal(note.text, "file: row 2: digit 7");
}

static void a_missing_note_is_no_error(void **state)
{
    (void)state;
    error_note_set(NULL, "nobody listens");
    error_note_prefix(NULL, "nobody listens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(a_note_commands_no_terminal),
        cmocka_unit_test(a_note_is_cut_at_its_size),
        cmocka_unit_test(prefixes_pile_up_before_the_text),
        cmocka_unit_test(a_missing_note_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
