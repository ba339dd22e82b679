#include "unit_test.h"

#include "block_table.h"

static block_allocator *make(uint32_t count)
{
    block_allocator *a = NULL;
    assert_int_equal(block_allocator_create(count, &a), STATUS_OK);
    return a;
}

static void extend_is_all_or_nothing(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    uint32_t storage[6];
    struct block_table table;
    block_table_init(&table, storage, 6);
    assert_int_equal(block_table_extend(&table, a, 3), STATUS_OK);
    assert_int_equal(block_table_extend(&table, a, 6), STATUS_NO_MEMORY);
    assert_int_equal(table.count, 3);
    assert_int_equal(block_table_extend(&table, a, 7), STATUS_FULL);
    assert_int_equal(block_table_extend(&table, a, 2), STATUS_OK);
    assert_int_equal(table.count, 3);
    assert_int_equal(block_table_extend(&table, a, 4), STATUS_OK);
    block_table_release(&table, a);
    assert_int_equal(block_allocator_counts(a).free, 4);
    block_allocator_destroy(a);
}

static void append_stops_at_capacity(void **state)
{
    (void)state;
    block_allocator *a = make(3);
    uint32_t storage[2];
    struct block_table table;
    block_table_init(&table, storage, 2);
    uint32_t block;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(block_acquire(a, &block), STATUS_OK);
        assert_int_equal(block_table_append(&table, block), STATUS_OK);
    }
    assert_int_equal(block_acquire(a, &block), STATUS_OK);
    assert_int_equal(block_table_append(&table, block), STATUS_FULL);
    assert_int_equal(table.count, 2);
    block_release(a, block); /* still ours */
    block_table_release(&table, a);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static void
a_writer_gets_its_own_copy_of_a_shared_block_and_the_last_one_writes_in_place(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    uint32_t storage[3][2];
    struct block_table tables[3];
    const struct block_table *all[3] = {&tables[0], &tables[1], &tables[2]};
    for (int i = 0; i < 3; i++)
        block_table_init(&tables[i], storage[i], 2);
    assert_int_equal(block_table_extend(&tables[0], a, 2), STATUS_OK);
    block_table_share(&tables[1], &tables[0], a);
    block_table_share(&tables[2], &tables[0], a);
    assert_int_equal(block_allocator_counts(a).referenced, 2);
    uint32_t shared = tables[0].blocks[1];

    uint32_t source;
    assert_int_equal(block_table_make_writable(&tables[0], a, 1, &source), STATUS_OK);
    assert_int_equal(source, shared);
    assert_int_not_equal(tables[0].blocks[1], shared);
    assert_int_equal(block_table_make_writable(&tables[1], a, 1, &source), STATUS_OK);
    assert_int_equal(source, shared);
    assert_int_equal(block_table_make_writable(&tables[2], a, 1, &source), STATUS_OK);
    assert_int_equal(source, BLOCK_NONE);
    assert_int_equal(tables[2].blocks[1], shared);
    assert_true(block_tables_are_consistent(a, all, 3));

    /* Nothing is left for a copy of the first block. */
    assert_int_equal(block_table_make_writable(&tables[0], a, 0, &source), STATUS_NO_MEMORY);
    assert_int_equal(tables[0].blocks[0], tables[1].blocks[0]);
    for (int i = 0; i < 3; i++)
        block_table_release(&tables[i], a);
    assert_int_equal(block_allocator_counts(a).free, 4);
    block_allocator_destroy(a);
}

static void the_audit_sees_a_leaked_and_a_lost_reference(void **state)
{
    (void)state;
    block_allocator *a = make(3);
    uint32_t storage[2];
    struct block_table table;
    const struct block_table *all[1] = {&table};
    block_table_init(&table, storage, 2);
    assert_int_equal(block_table_extend(&table, a, 2), STATUS_OK);
    assert_true(block_tables_are_consistent(a, all, 1));
    uint32_t leaked;
    assert_int_equal(block_acquire(a, &leaked), STATUS_OK);
    assert_false(block_tables_are_consistent(a, all, 1));
    block_release(a, leaked);
    block_retain(a, table.blocks[0]);
    assert_false(block_tables_are_consistent(a, all, 1));
    block_release(a, table.blocks[0]);
    assert_true(block_tables_are_consistent(a, all, 1));
    block_table_release(&table, a);
    block_allocator_destroy(a);
}

static void blocks_for_tokens_rounds_up(void **state)
{
    (void)state;
    assert_int_equal(blocks_for_tokens(0), 0);
    assert_int_equal(blocks_for_tokens(1), 1);
    assert_int_equal(blocks_for_tokens(16), 1);
    assert_int_equal(blocks_for_tokens(17), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extend_is_all_or_nothing),
        cmocka_unit_test(append_stops_at_capacity),
        cmocka_unit_test(
            a_writer_gets_its_own_copy_of_a_shared_block_and_the_last_one_writes_in_place),
        cmocka_unit_test(the_audit_sees_a_leaked_and_a_lost_reference),
        cmocka_unit_test(blocks_for_tokens_rounds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
