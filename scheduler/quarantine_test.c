#include "unit_test.h"

#include "quarantine.h"

#define S 1000000000ull

static int clean(void **state)
{
    static struct quarantine quarantine;

    memset(&quarantine, 0, sizeof(quarantine));
    *state = &quarantine;
    return 0;
}

static void losses_are_counted_by_content(void **state)
{
    struct quarantine *quarantine = *state;

    assert_int_equal(quarantine_losses(quarantine, 7, S), 0);
    assert_int_equal(quarantine_note(quarantine, 7, 100, 10 * S, S), 1);
    assert_int_equal(quarantine_note(quarantine, 8, 100, 10 * S, S), 1);
    assert_int_equal(quarantine_note(quarantine, 7, 101, 10 * S, S), QUARANTINE_LOSS_MAX);
    assert_int_equal(quarantine_losses(quarantine, 7, S), 2);
    assert_int_equal(quarantine_losses(quarantine, 8, S), 1);
    assert_int_equal(quarantine->count, 2);
}

static void copies_that_die_with_one_replica_count_once(void **state)
{
    struct quarantine *quarantine = *state;

    for (int i = 0; i < 10; i++)
        assert_int_equal(quarantine_note(quarantine, 7, 100, 10 * S, S), 1);
}

static void an_answer_clears_a_suspect_but_not_who_is_refused(void **state)
{
    struct quarantine *quarantine = *state;

    (void)quarantine_note(quarantine, 7, 100, 10 * S, S);
    quarantine_clear(quarantine, 7);
    assert_int_equal(quarantine_losses(quarantine, 7, S), 0);
    assert_int_equal(quarantine->count, 0);
    (void)quarantine_note(quarantine, 7, 101, 10 * S, S);
    (void)quarantine_note(quarantine, 7, 102, 10 * S, S);
    quarantine_clear(quarantine, 7);
    assert_int_equal(quarantine_losses(quarantine, 7, S), 2);
    quarantine_clear(quarantine, 99);
}

static void the_time_ends(void **state)
{
    struct quarantine *quarantine = *state;

    (void)quarantine_note(quarantine, 7, 100, 10 * S, S);
    (void)quarantine_note(quarantine, 7, 101, 10 * S, 2 * S);
    assert_int_equal(quarantine_losses(quarantine, 7, 12 * S - 1), 2);
    assert_int_equal(quarantine_losses(quarantine, 7, 12 * S), 0);
    quarantine_sweep(quarantine, 12 * S);
    assert_int_equal(quarantine->count, 0);
    assert_int_equal(quarantine_note(quarantine, 7, 102, 10 * S, 13 * S), 1);
}

static void a_full_table_loses_the_oldest(void **state)
{
    struct quarantine *quarantine = *state;

    for (uint64_t i = 0; i <= QUARANTINE_ENTRIES_MAX; i++)
        assert_int_equal(quarantine_note(quarantine, i, i, 100000 * S, i * S), 1);
    assert_int_equal(quarantine->count, QUARANTINE_ENTRIES_MAX);
    assert_int_equal(quarantine_losses(quarantine, 0, 2000 * S), 0);
    assert_int_equal(quarantine_losses(quarantine, 1, 2000 * S), 1);
    assert_int_equal(quarantine_losses(quarantine, QUARANTINE_ENTRIES_MAX, 2000 * S), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(losses_are_counted_by_content, clean),
        cmocka_unit_test_setup(copies_that_die_with_one_replica_count_once, clean),
        cmocka_unit_test_setup(an_answer_clears_a_suspect_but_not_who_is_refused, clean),
        cmocka_unit_test_setup(the_time_ends, clean),
        cmocka_unit_test_setup(a_full_table_loses_the_oldest, clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
