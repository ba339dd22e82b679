#include "unit_test.h"

#include "slice_faults.h"

#define SECOND NS_PER_SECOND
#define NOW    (1000000 * SECOND)

static struct slice_faults faults;

static int begin(void **state)
{
    (void)state;
    memset(&faults, 0, sizeof faults);
    return 0;
}

static uint64_t program(const char *id, uint64_t now_ns)
{
    return slice_faults_note(&faults, 1, id, SLICE_FAULT_PROGRAM, 100, now_ns);
}

static uint64_t device(const char *id, uint64_t now_ns)
{
    return slice_faults_note(&faults, 1, id, SLICE_FAULT_DEVICE, 100, now_ns);
}

static void the_third_strike_within_an_hour_is_enough(void **state)
{
    (void)state;
    assert_int_equal(program("n0/GPU-0", NOW), 0);
    assert_int_equal(program("n0/GPU-0", NOW + 1800 * SECOND), 0);
    assert_int_equal(program("n0/GPU-0", NOW + 3600 * SECOND), 0); /* the first is forgotten */
    assert_int_equal(program("n0/GPU-0", NOW + 3601 * SECOND), NOW + 3901 * SECOND);
    assert_int_equal(slice_faults_until(&faults, 1, "n0/GPU-0", NOW + 3900 * SECOND),
                     NOW + 3901 * SECOND);
    assert_int_equal(slice_faults_until(&faults, 1, "n0/GPU-0", NOW + 3901 * SECOND), 0);
}

static void slices_and_members_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(program("n0/GPU-0", NOW), 0);
    assert_int_equal(program("n0/GPU-1", NOW), 0);
    assert_int_equal(slice_faults_note(&faults, 2, "n0/GPU-0", SLICE_FAULT_DEVICE, 100, NOW), 0);
    assert_int_equal(program("n0/GPU-0", NOW), 0);
    assert_int_equal(faults.count, 3);
}

static void a_device_has_two(void **state)
{
    (void)state;
    assert_int_equal(device("n0/GPU-0", NOW), 0);
    assert_int_equal(device("n0/GPU-0", NOW), NOW + SLICE_FAULT_FIRST_NS);
    assert_int_equal(program("n0/GPU-1", NOW), 0);
    assert_int_equal(device("n0/GPU-1", NOW), NOW + SLICE_FAULT_FIRST_NS);
}

static void each_quarantine_is_twice_as_long_up_to_a_day(void **state)
{
    uint64_t now_ns = NOW, expected_ns = SLICE_FAULT_FIRST_NS;

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(device("n0/GPU-0", now_ns), 0);
        assert_int_equal(device("n0/GPU-0", now_ns), now_ns + expected_ns);
        /* Those that ran on there say nothing new. */
        assert_int_equal(device("n0/GPU-0", now_ns + 1), now_ns + expected_ns);
        now_ns += expected_ns;
        expected_ns = 2 * expected_ns < SLICE_FAULT_MOST_NS ? 2 * expected_ns : SLICE_FAULT_MOST_NS;
    }
}

static void a_day_without_faults_makes_it_a_first_one_again(void **state)
{
    uint64_t end_ns;

    (void)state;
    (void)device("n0/GPU-0", NOW);
    end_ns = device("n0/GPU-0", NOW);
    assert_int_equal(slice_faults_sweep(&faults, NOW), end_ns);
    assert_int_equal(slice_faults_sweep(&faults, end_ns), UINT64_MAX);
    assert_int_equal(slice_faults_sweep(&faults, end_ns + SLICE_FAULT_MEMORY_NS - 1), UINT64_MAX);
    assert_int_equal(faults.count, 1);
    (void)slice_faults_sweep(&faults, end_ns + SLICE_FAULT_MEMORY_NS);
    assert_int_equal(faults.count, 0);
}

static void what_is_closed_stays_until_it_was_opened(void **state)
{
    uint64_t end_ns;

    (void)state;
    (void)device("n0/GPU-0", NOW);
    end_ns = device("n0/GPU-0", NOW);
    faults.entries[0].is_closed = true;
    (void)slice_faults_sweep(&faults, end_ns + 2 * SLICE_FAULT_MEMORY_NS);
    assert_int_equal(faults.count, 1);
    faults.entries[0].is_closed = false;
    (void)slice_faults_sweep(&faults, end_ns + 2 * SLICE_FAULT_MEMORY_NS);
    assert_int_equal(faults.count, 0);
}

static uint32_t quarantined(uint32_t slice_count, uint32_t bad_count)
{
    uint32_t count = 0;
    char id[16];

    (void)begin(NULL);
    for (uint32_t i = 0; i < bad_count; i++) {
        (void)snprintf(id, sizeof id, "n%u/cpu", i);
        for (uint32_t k = 0; k < 5; k++)
            (void)slice_faults_note(&faults, 0, id, SLICE_FAULT_DEVICE, slice_count, NOW);
        count += slice_faults_until(&faults, 0, id, NOW) != 0;
    }
    return count;
}

static void no_more_than_a_tenth_is_taken_out(void **state)
{
    (void)state;
    assert_int_equal(quarantined(1, 1), 1);
    assert_int_equal(quarantined(8, 8), 1);
    assert_int_equal(quarantined(100, 50), 10);
    assert_int_equal(quarantined(10000, 200), 200);
}

static void those_in_quarantine_stay_in_a_full_table(void **state)
{
    char id[16];

    (void)state;
    assert_int_equal(quarantined(10000, SLICE_FAULTS_MAX - 1), SLICE_FAULTS_MAX - 1);
    for (uint32_t i = 0; i < 3; i++) {
        (void)snprintf(id, sizeof id, "new%u", i);
        assert_int_equal(slice_faults_note(&faults, 0, id, SLICE_FAULT_PROGRAM, 10000, NOW + i), 0);
    }
    assert_int_equal(faults.count, SLICE_FAULTS_MAX);
    assert_string_equal(faults.entries[SLICE_FAULTS_MAX - 1].id, "new2");
    assert_true(slice_faults_note(&faults, 0, "new2", SLICE_FAULT_DEVICE, 10000, NOW + 3) > NOW);
    assert_int_equal(slice_faults_note(&faults, 0, "more", SLICE_FAULT_DEVICE, 10000, NOW + 3), 0);
    assert_true(slice_faults_until(&faults, 0, "n0/cpu", NOW) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_third_strike_within_an_hour_is_enough, begin),
        cmocka_unit_test_setup(slices_and_members_are_told_apart, begin),
        cmocka_unit_test_setup(a_device_has_two, begin),
        cmocka_unit_test_setup(each_quarantine_is_twice_as_long_up_to_a_day, begin),
        cmocka_unit_test_setup(a_day_without_faults_makes_it_a_first_one_again, begin),
        cmocka_unit_test_setup(what_is_closed_stays_until_it_was_opened, begin),
        cmocka_unit_test_setup(no_more_than_a_tenth_is_taken_out, begin),
        cmocka_unit_test_setup(those_in_quarantine_stay_in_a_full_table, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
