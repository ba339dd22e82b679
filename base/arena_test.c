/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "arena.h"
#include "fail_nth.h"

static arena *make(size_t bytes_max)
{
    arena *a = NULL;
    assert_int_equal(arena_create(bytes_max, &a), STATUS_OK);
    return a;
}

static void blocks_are_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    arena *a = make(1 << 20);
    unsigned char *before = NULL;
    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *block = arena_allocate(a, bytes);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(block[i], 0);
        memset(block, 0xAB, bytes);
        assert_ptr_not_equal(block, before);
        before = block;
    }
    arena_destroy(a);
}

static void the_ceiling_holds_and_the_arena_stays_usable(void **state)
{
    (void)state;
    arena *a = make(10000);
    assert_null(arena_allocate(a, 10001));
    assert_non_null(arena_allocate(a, 9000));
    assert_null(arena_allocate(a, 2000));
    assert_non_null(arena_allocate(a, 500));
    assert_true(arena_bytes(a) <= 10000);
    size_t count = 0;
    while (arena_allocate(a, 16) != NULL)
        count++;
    assert_true(count > 0 && count <= 63);
    arena_destroy(a);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    arena *a = make(SIZE_MAX);
    assert_null(arena_allocate(a, SIZE_MAX));
    assert_null(arena_allocate(a, SIZE_MAX - 20));
    assert_null(arena_allocate_array(a, SIZE_MAX / 2, 3));
    assert_null(arena_copy_text(a, "", SIZE_MAX));
    assert_non_null(arena_allocate_array(a, 3, 5));
    arena_destroy(a);
}

static void texts_are_copied_with_an_end(void **state)
{
    (void)state;
    arena *a = make(1000);
    assert_string_equal(arena_copy_text(a, "abcdef", 3), "abc");
    assert_string_equal(arena_copy_text(a, NULL, 0), "");
    arena_destroy(a);
}

static void reset_gives_back_all_but_the_first_chunk_zeroed(void **state)
{
    (void)state;
    arena *a = make(1 << 20);
    unsigned char *first = arena_allocate(a, 100);
    memset(first, 0xFF, 100);
    size_t small = arena_bytes(a);
    assert_non_null(arena_allocate(a, 100000));
    assert_true(arena_bytes(a) > 100000);
    arena_reset(a);
    assert_int_equal(arena_bytes(a), small);
    unsigned char *again = arena_allocate(a, 100);
    assert_ptr_equal(again, first);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(again[i], 0);
    arena_destroy(a);
}

static void reset_of_an_unused_arena_and_destroy_of_none_are_fine(void **state)
{
    (void)state;
    arena *a = make(0);
    arena_reset(a);
    assert_null(arena_allocate(a, 1));
    arena_destroy(a);
    arena_destroy(NULL);
}

static void memory_that_runs_out_gives_null_and_no_harm(void **state)
{
    (void)state;
    arena *a = NULL;
    fail_nth_begin(1);
    assert_int_equal(arena_create(1000, &a), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
    a = make(100000);
    fail_nth_begin(1);
    assert_null(arena_allocate(a, 10));
    assert_true(fail_nth_end());
    assert_non_null(arena_allocate(a, 10));
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_zeroed_and_apart),
        cmocka_unit_test(the_ceiling_holds_and_the_arena_stays_usable),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(texts_are_copied_with_an_end),
        cmocka_unit_test(reset_gives_back_all_but_the_first_chunk_zeroed),
        cmocka_unit_test(reset_of_an_unused_arena_and_destroy_of_none_are_fine),
        cmocka_unit_test(memory_that_runs_out_gives_null_and_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
