/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "buffer.h"
#include "fail_nth.h"

static void pieces_of_every_kind_line_up(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    buffer_append(&b, "ab", 2);
    buffer_append_text(&b, "cd");
    buffer_append_slice(&b, text_slice_of("ef"));
    buffer_append_byte(&b, ' ');
    buffer_append_u64(&b, UINT64_MAX);
    buffer_append_byte(&b, ' ');
    buffer_append_i64(&b, INT64_MIN);
    buffer_append_byte(&b, ' ');
    buffer_append_i64(&b, 0);
    buffer_append_format(&b, " %s-%03d", "x", 7);
    assert_int_equal(b.failed, STATUS_OK);
    assert_string_equal(b.data, "abcdef 18446744073709551615 -9223372036854775808 0 x-007");
    assert_int_equal(b.bytes, strlen(b.data));
    buffer_deinit(&b);
}

static void the_ceiling_itself_fits_and_one_more_does_not(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 300);
    for (int i = 0; i < 300; i++)
        buffer_append_byte(&b, 'x');
    assert_int_equal(b.failed, STATUS_OK);
    assert_int_equal(b.bytes, 300);
    buffer_append_byte(&b, 'y');
    assert_int_equal(b.failed, STATUS_TOO_LARGE);
    assert_int_equal(b.bytes, 300);
    assert_int_equal(b.data[300], '\0');
    buffer_deinit(&b);
}

static void after_a_failure_every_append_does_nothing_until_clear(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 4);
    buffer_append_text(&b, "abc");
    buffer_append_text(&b, "too long");
    buffer_append_byte(&b, 'd'); /* would fit */
    buffer_append_format(&b, "%d", 1);
    assert_int_equal(buffer_reserve(&b, 0), STATUS_TOO_LARGE);
    assert_string_equal(b.data, "abc");
    buffer_clear(&b);
    buffer_append_text(&b, "new");
    assert_int_equal(b.failed, STATUS_OK);
    assert_string_equal(b.data, "new");
    buffer_deinit(&b);
}

static void a_format_that_does_not_fit_leaves_what_was_there(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 300);
    buffer_append_text(&b, "kept");
    buffer_append_format(&b, "%400d", 1);
    assert_int_equal(b.failed, STATUS_TOO_LARGE);
    assert_string_equal(b.data, "kept");
    buffer_clear(&b);
    buffer_append_format(&b, "%300d", 1); /* beyond the first capacity, within the ceiling */
    assert_int_equal(b.failed, STATUS_OK);
    assert_int_equal(b.bytes, 300);
    buffer_deinit(&b);
}

static void a_huge_reserve_does_not_overflow(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, SIZE_MAX - 1);
    buffer_append_text(&b, "x");
    assert_int_equal(buffer_reserve(&b, SIZE_MAX), STATUS_TOO_LARGE);
    buffer_clear(&b);
    buffer_deinit(&b);
}

static void consume_moves_the_rest_to_the_front(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 100);
    buffer_consume(&b, 0);
    buffer_append_text(&b, "first second");
    buffer_consume(&b, 6);
    assert_string_equal(b.data, "second");
    buffer_consume(&b, 6);
    assert_string_equal(b.data, "");
    assert_int_equal(b.bytes, 0);
    buffer_deinit(&b);
}

static void an_empty_append_gives_a_text(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 0);
    buffer_append(&b, NULL, 0);
    assert_int_equal(b.failed, STATUS_OK);
    assert_string_equal(b.data, "");
    buffer_append_byte(&b, 'x');
    assert_int_equal(b.failed, STATUS_TOO_LARGE);
    buffer_deinit(&b);
}

static void memory_that_runs_out_is_remembered_and_loses_nothing(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 100000);
    buffer_append_text(&b, "kept");
    fail_nth_begin(1);
    for (int i = 0; i < 1000; i++)
        buffer_append_text(&b, "0123456789");
    assert_true(fail_nth_end());
    assert_int_equal(b.failed, STATUS_NO_MEMORY);
    assert_memory_equal(b.data, "kept", 4);
    assert_int_equal(b.data[b.bytes], '\0');
    buffer_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_every_kind_line_up),
        cmocka_unit_test(the_ceiling_itself_fits_and_one_more_does_not),
        cmocka_unit_test(after_a_failure_every_append_does_nothing_until_clear),
        cmocka_unit_test(a_format_that_does_not_fit_leaves_what_was_there),
        cmocka_unit_test(a_huge_reserve_does_not_overflow),
        cmocka_unit_test(consume_moves_the_rest_to_the_front),
        cmocka_unit_test(an_empty_append_gives_a_text),
        cmocka_unit_test(memory_that_runs_out_is_remembered_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
