#include "history_row.h"
#include "unit_test.h"

static void expect(const struct history_row *row, double seconds, const char *expected)
{
    struct buffer out;

    buffer_init(&out, 4096);
    history_words_write(row, seconds, &out);
    buffer_append_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    buffer_deinit(&out);
}

static void an_hour_without_replicas_or_requests(void **state)
{
    struct history_row row = {.values = {0}};

    (void)state;
    expect(&row, 3600, "No replica ran. No requests ended.");
}

static void the_largest_reason_comes_first_and_small_ones_are_left_out(void **state)
{
    struct history_row row = {.values = {[TIME_BUSY_PREFILL] = 720,
                                         [TIME_BUSY_DECODE] = 2880,
                                         [TIME_BROKEN] = 720,
                                         [TIME_IDLE] = 2800,
                                         [TIME_COLD_START] = 80,
                                         [HISTORY_REQUESTS] = 340,
                                         [HISTORY_ERRORS] = 4,
                                         [HISTORY_REFUSED] = 7}};

    (void)state;
    expect(
        &row, 3600,
        "2.0 replicas on average, busy 50 % of their time (prompts 10 %, answers 40 %). 39 % was "
        "idle for lack of traffic: fewer replicas would do. 10 % was lost to failures: see the "
        "replicas' last failures and the log. 340 requests, 4 failed (too many), 7 refused by "
        "limits.");
}

static void one_request_is_one(void **state)
{
    struct history_row row = {.values = {[TIME_BUSY_DECODE] = 60, [HISTORY_REQUESTS] = 1}};

    (void)state;
    expect(&row, 60,
           "1.0 replicas on average, busy 100 % of their time (prompts 0 %, answers 100 %). 1 "
           "request.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_hour_without_replicas_or_requests),
        cmocka_unit_test(the_largest_reason_comes_first_and_small_ones_are_left_out),
        cmocka_unit_test(one_request_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
