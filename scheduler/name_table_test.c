/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "name_table.h"
#include "slice.h"

static const struct hash_key key = {5, 6};

static struct name_table *make(uint32_t count_max)
{
    struct name_table *table;

    assert_int_equal(name_table_create(count_max, &key, &table), STATUS_OK);
    return table;
}

static uint32_t acquire(struct name_table *table, uint32_t scope, const char *text)
{
    uint32_t name = 99;

    assert_int_equal(name_table_acquire(table, scope, text, &name), STATUS_OK);
    return name;
}

static void the_same_text_has_one_number_in_a_scope(void **state)
{
    struct name_table *table = make(8);
    uint32_t a = acquire(table, 0, "eu"), b = acquire(table, 1, "eu");

    (void)state;
    assert_int_equal(acquire(table, 0, "eu"), a);
    assert_int_not_equal(a, b);
    assert_int_equal(name_table_find(table, 0, "eu"), a);
    assert_int_equal(name_table_find(table, 1, "eu"), b);
    assert_int_equal(name_table_find(table, 2, "eu"), NAME_NONE);
    assert_string_equal(name_table_text(table, b), "eu");
    assert_int_equal(name_table_count(table), 2);
    name_table_destroy(table);
}

static void no_text_is_no_name(void **state)
{
    struct name_table *table = make(8);

    (void)state;
    assert_int_equal(acquire(table, 0, NULL), NAME_NONE);
    assert_int_equal(acquire(table, 0, ""), NAME_NONE);
    assert_int_equal(name_table_find(table, 0, NULL), NAME_NONE);
    assert_string_equal(name_table_text(table, NAME_NONE), "");
    name_table_hold(table, NAME_NONE);
    name_table_release(table, NAME_NONE);
    assert_int_equal(name_table_count(table), 0);
    name_table_destroy(table);
}

static void a_number_lasts_until_its_last_holder_lets_go(void **state)
{
    struct name_table *table = make(8);
    uint32_t a = acquire(table, 0, "a");

    (void)state;
    name_table_hold(table, a);
    name_table_release(table, a);
    assert_int_equal(name_table_find(table, 0, "a"), a);
    name_table_release(table, a);
    assert_int_equal(name_table_find(table, 0, "a"), NAME_NONE);
    assert_int_equal(acquire(table, 0, "b"), a);
    assert_int_equal(name_table_bound(table), 2);
    name_table_destroy(table);
}

static void count_and_length_are_bounded(void **state)
{
    static char text[SLICE_NAME_BYTES_MAX + 2];
    struct name_table *table = make(2);
    uint32_t name = 99;

    (void)state;
    memset(text, 'x', SLICE_NAME_BYTES_MAX + 1);
    assert_int_equal(name_table_acquire(table, 0, text, &name), STATUS_TOO_LARGE);
    assert_int_equal(name_table_find(table, 0, text), NAME_NONE);
    text[SLICE_NAME_BYTES_MAX] = '\0';
    (void)acquire(table, 0, text);
    (void)acquire(table, 0, "b");
    assert_int_equal(name_table_acquire(table, 0, "c", &name), STATUS_FULL);
    assert_int_equal(name, 99);
    (void)acquire(table, 0, "b");
    name_table_destroy(table);
}

/* Against a plain list of what is held. */
static void any_sequence_agrees_with_a_list(void **state)
{
    uint32_t holders[40] = {0}, numbers[40] = {0};
    struct name_table *table = make(40);
    uint64_t random = 9;

    (void)state;
    print_message("seed %u\n", 9);
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t i;
        char text[8];

        random = random * 6364136223846793005ull + 1442695040888963407ull; /* Knuth's MMIX */
        i = (uint32_t)(random >> 33) % 40;
        (void)snprintf(text, sizeof(text), "n%u", i);
        if ((random >> 60) < 8) {
            uint32_t name = acquire(table, i % 3, text);

            assert_true(holders[i] == 0 || name == numbers[i]);
            numbers[i] = name;
            holders[i]++;
        } else if (holders[i] > 0) {
            name_table_release(table, numbers[i]);
            holders[i]--;
        }
        assert_int_equal(name_table_find(table, i % 3, text), holders[i] > 0 ? numbers[i] : 0);
    }
    for (uint32_t i = 0; i < 40; i++) {
        for (uint32_t j = 0; j < i; j++)
            assert_true(holders[i] == 0 || holders[j] == 0 || numbers[i] != numbers[j]);
    }
    name_table_destroy(table);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct name_table *table = NULL;
        uint32_t name = 99;
        status result;

        fail_nth_begin(n);
        result = name_table_create(4, &key, &table);
        if (result == STATUS_OK)
            result = name_table_acquire(table, 0, "a", &name);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            name_table_destroy(table);
            return;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
        assert_int_equal(name, 99);
        name_table_destroy(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_text_has_one_number_in_a_scope),
        cmocka_unit_test(no_text_is_no_name),
        cmocka_unit_test(a_number_lasts_until_its_last_holder_lets_go),
        cmocka_unit_test(count_and_length_are_bounded),
        cmocka_unit_test(any_sequence_agrees_with_a_list),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
