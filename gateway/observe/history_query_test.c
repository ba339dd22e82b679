#include <string.h>

#include "check.h"
#include "history.h"
#include "history_store.h"
#include "unit_test.h"

#define NOW 1750000000

static status read_words(const char *step, const char *from, const char *to,
                         struct history_query *out, struct error_note *note)
{
    const struct history_words words = {step, from, to, ""};

    return history_query_read(&words, NOW, out, note);
}

static void without_words_it_is_what_people_look_at(void **state)
{
    struct history_query query;
    struct error_note note;

    (void)state;
    assert_int_equal(read_words("", "", "", &query, &note), STATUS_OK);
    assert_int_equal(query.step_s, HISTORY_HOUR_S);
    assert_int_equal(query.to_s, NOW + 1);
    assert_true(query.to_s - query.from_s >= 2 * HISTORY_DAY_S);
    assert_int_equal(query.from_s % HISTORY_HOUR_S, 0);
    assert_int_equal(read_words("day", "", "", &query, &note), STATUS_OK);
    assert_true(query.to_s - query.from_s >= 30 * HISTORY_DAY_S);
}

static void times_are_seconds_or_dates(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {{"1750000000", 1750000000},       {"0", 0},
                {"2025-06-15", 1749945600},       {"2025-06-15T15", 1749999600},
                {"2025-06-15T15:06", 1749999960}, {"2024-02-29", 1709164800}};
    struct history_query query;
    struct error_note note;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_int_equal(read_words("minute", rows[i].text, "1850000000", &query, &note),
                         STATUS_OK);
        assert_int_equal(query.from_s, rows[i].seconds - rows[i].seconds % 60);
    }
}

static void what_makes_no_sense_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *step, *from, *to, *why;
    } rows[] = {
        {"week", "", "", "'step'"},
        {"", "yesterday", "", "'from'"},
        {"", "2025-02-30", "", "'from'"},
        {"", "2025-06-15T24", "", "'from'"},
        {"", "2025-06-15T15:60", "", "'from'"},
        {"", "-5", "", "'from'"},
        {"", "1969-12-31", "", "'from'"},
        {"", "123456789012", "", "'from'"},
        {"", "", "2025-6-15", "'to'"},
        {"", "2025-06-15 15", "", "'from'"},
        {"", "200", "100", "before"},
        {"", "100", "100", "before"},
    };
    struct history_query query;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error_note note = {""};

        assert_int_equal(read_words(rows[i].step, rows[i].from, rows[i].to, &query, &note),
                         STATUS_INVALID);
        assert_non_null(strstr(note.text, rows[i].why));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_words_it_is_what_people_look_at),
        cmocka_unit_test(times_are_seconds_or_dates),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
