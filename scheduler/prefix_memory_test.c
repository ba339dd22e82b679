#include "prefix_memory.h"

#include "unit_test.h"

#define SAME_SET(number) ((uint64_t)(number) * (PREFIX_MEMORY_NAMES / PREFIX_MEMORY_WAYS) + 5)

static void what_was_sent_is_matched_from_the_front(void **state)
{
    const uint64_t names[] = {11, 12, 13, 14}, other[] = {11, 12, 99, 14}, none[] = {98, 12};
    prefix_memory *memory = prefix_memory_create();

    (void)state;
    assert_non_null(memory);
    assert_int_equal(prefix_memory_match(memory, names, 4), 0);
    prefix_memory_note(memory, names, 3);
    assert_int_equal(prefix_memory_match(memory, names, 4), 3);
    assert_int_equal(prefix_memory_match(memory, other, 4), 2);
    assert_int_equal(prefix_memory_match(memory, none, 2), 0);
    assert_int_equal(prefix_memory_match(memory, names, 0), 0);
    prefix_memory_clear(memory);
    assert_int_equal(prefix_memory_match(memory, names, 4), 0);
    prefix_memory_destroy(memory);
}

static void what_was_sent_longest_ago_makes_room(void **state)
{
    prefix_memory *memory = prefix_memory_create();
    uint64_t first = SAME_SET(0), second = SAME_SET(1);

    (void)state;
    assert_non_null(memory);
    for (uint32_t i = 0; i < PREFIX_MEMORY_WAYS; i++)
        prefix_memory_note(memory, &(uint64_t){SAME_SET(i)}, 1);
    prefix_memory_note(memory, &first, 1);
    prefix_memory_note(memory, &(uint64_t){SAME_SET(PREFIX_MEMORY_WAYS)}, 1);
    assert_int_equal(prefix_memory_match(memory, &first, 1), 1);
    assert_int_equal(prefix_memory_match(memory, &second, 1), 0);
    prefix_memory_destroy(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_is_matched_from_the_front),
        cmocka_unit_test(what_was_sent_longest_ago_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
