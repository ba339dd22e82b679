#include "otlp_retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clock.h"

/* The table of the protocol's specification, "Failures" of OTLP/HTTP. */
static void answers_are_judged_as_the_protocol_says(void **state)
{
    static const int again[] = {429, 502, 503, 504}, refused[] = {400, 401, 404, 413, 500, 501};

    (void)state;
    assert_int_equal(otlp_judge(STATUS_OK, 200), OTLP_TAKEN);
    assert_int_equal(otlp_judge(STATUS_OK, 202), OTLP_TAKEN);
    for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++)
        assert_int_equal(otlp_judge(STATUS_OK, again[i]), OTLP_AGAIN);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_int_equal(otlp_judge(STATUS_OK, refused[i]), OTLP_REFUSED);
    assert_int_equal(otlp_judge(STATUS_CLOSED, 0), OTLP_AGAIN);
    assert_int_equal(otlp_judge(STATUS_TIMEOUT, 0), OTLP_AGAIN);
    assert_int_equal(otlp_judge(STATUS_TOO_LARGE, 200), OTLP_REFUSED);
}

static void waits_double_up_to_a_limit_with_a_random_part(void **state)
{
    (void)state;
    for (uint32_t tries = 1; tries < 100; tries++) {
        uint64_t whole = NS_PER_SECOND << (tries < 6 ? tries - 1 : 5);

        whole = whole < 30 * NS_PER_SECOND ? whole : 30 * NS_PER_SECOND;
        for (uint64_t random = 0; random < 20; random++) {
            uint64_t wait = otlp_retry_wait_ns(tries, 0, random * 0x9e3779b97f4a7c15ull);

            assert_in_range(wait, whole / 2, whole);
        }
    }
    assert_int_not_equal(otlp_retry_wait_ns(3, 0, 1), otlp_retry_wait_ns(3, 0, 1000000));
}

static void the_receivers_word_counts_up_to_an_hour(void **state)
{
    (void)state;
    assert_int_equal(otlp_retry_wait_ns(1, 7, 123), 7 * NS_PER_SECOND);
    assert_int_equal(otlp_retry_wait_ns(1, UINT64_MAX, 123), 3600 * NS_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_judged_as_the_protocol_says),
        cmocka_unit_test(waits_double_up_to_a_limit_with_a_random_part),
        cmocka_unit_test(the_receivers_word_counts_up_to_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
