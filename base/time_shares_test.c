#include "unit_test.h"

#include "time_shares.h"

static void shares_add_up_to_the_step(void **state)
{
    static const uint64_t times[] = {0, 1, 6, 7, 999999937, 3600000000000, UINT64_MAX};
    static const uint32_t rows[] = {1, 1, 1, 4, 0, 13, 256, 1};
    (void)state;

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct time_shares shares = {.elapsed_ns = times[i]};
        uint64_t sum = 0;
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
            shares.row_count += rows[j];
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
            sum += time_shares_next(&shares, rows[j]);
        assert_true(sum == times[i]);
    }
}

static void a_share_is_by_rows_to_the_nanosecond(void **state)
{
    struct time_shares shares = {.elapsed_ns = 1000, .row_count = 7};
    (void)state;

    /* 142.86 a row: no piece is off by one or more. */
    assert_int_equal(time_shares_next(&shares, 1), 142);
    assert_int_equal(time_shares_next(&shares, 1), 143);
    assert_int_equal(time_shares_next(&shares, 4), 572);
    assert_int_equal(time_shares_next(&shares, 1), 143);
}

static void who_is_alone_has_the_whole_step(void **state)
{
    struct time_shares shares = {.elapsed_ns = 123456789, .row_count = 512};
    (void)state;

    assert_int_equal(time_shares_next(&shares, 512), 123456789);
}

static void without_rows_there_is_nothing_to_pay(void **state)
{
    struct time_shares shares = {.elapsed_ns = 10, .row_count = 2};
    (void)state;

    assert_int_equal(time_shares_next(&shares, 0), 0);
    assert_int_equal(time_shares_next(&shares, 2), 10);
    assert_int_equal(time_shares_next(&shares, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_add_up_to_the_step),
        cmocka_unit_test(a_share_is_by_rows_to_the_nanosecond),
        cmocka_unit_test(who_is_alone_has_the_whole_step),
        cmocka_unit_test(without_rows_there_is_nothing_to_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
