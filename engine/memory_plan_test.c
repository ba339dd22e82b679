#include "unit_test.h"

#include "memory_plan.h"

static const struct memory_plan_input base = {.kv_block_bytes = 1000,
                                              .weight_bytes = 500000,
                                              .available_bytes = 2500000,
                                              .sequence_count_max = 100,
                                              .context_max = 1600};

static uint32_t plan(const struct memory_plan_input *input)
{
    uint32_t blocks = 0;
    assert_int_equal(memory_plan_kv_blocks(input, &blocks, NULL), STATUS_OK);
    return blocks;
}

static void without_a_size_half_of_what_the_weights_leave_is_taken(void **state)
{
    (void)state;
    assert_int_equal(plan(&base), 1000);
}

static void engines_beside_each_other_share_what_is_free(void **state)
{
    (void)state;
    struct memory_plan_input input = base;
    input.share_count = 2;
    assert_int_equal(plan(&input), (2500000 / 2 - 500000) / 2 / 1000);
    input.kv_bytes = 77999; /* what was asked for is given all the same */
    assert_int_equal(plan(&input), 77);
}

static void a_given_size_is_taken_as_it_is(void **state)
{
    (void)state;
    struct memory_plan_input input = base;
    input.kv_bytes = 77999;
    assert_int_equal(plan(&input), 77);
}

static void never_more_than_all_sequences_can_use(void **state)
{
    (void)state;
    struct memory_plan_input input = base;
    input.kv_bytes = UINT64_MAX;
    assert_int_equal(plan(&input), 100 * 100);
    input.context_max = 1601;
    assert_int_equal(plan(&input), 100 * 101);
}

static void too_little_is_refused_with_the_numbers(void **state)
{
    (void)state;
    struct memory_plan_input input = base;
    struct error_note note = {""};
    uint32_t blocks = 7;
    input.kv_bytes = 1999;
    assert_int_equal(memory_plan_kv_blocks(&input, &blocks, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "1999"));
    assert_int_equal(blocks, 7);
    input.kv_bytes = 2000;
    assert_int_equal(plan(&input), 2);
    input.kv_bytes = 0;
    input.weight_bytes = 3000000;
    assert_int_equal(memory_plan_kv_blocks(&input, &blocks, &note), STATUS_TOO_LARGE);
}

static void this_machine_has_some_memory(void **state)
{
    (void)state;
    assert_true(memory_available_bytes() > 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_size_half_of_what_the_weights_leave_is_taken),
        cmocka_unit_test(engines_beside_each_other_share_what_is_free),
        cmocka_unit_test(a_given_size_is_taken_as_it_is),
        cmocka_unit_test(never_more_than_all_sequences_can_use),
        cmocka_unit_test(too_little_is_refused_with_the_numbers),
        cmocka_unit_test(this_machine_has_some_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
