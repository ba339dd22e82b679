#include "unit_test.h"

#include "service_rate.h"

#define S 1000000000ull

static void nothing_is_known_at_first(void **state)
{
    const struct service_rate rate = {0};

    (void)state;
    assert_true(service_rate_seconds(&rate, 100, 4) < 0);
    assert_true(service_rate_first_seconds(&rate) == 0);
    assert_int_equal(service_rate_prompt_tokens(&rate, 400), 100);
    assert_int_equal(service_rate_prompt_tokens(&rate, 0), 1);
    assert_true(service_rate_output_tokens(&rate) > 0);
}

/* Ten slots that each serve cost 50 in 5 s serve 100 a second. */
static void the_wait_follows_from_littles_law(void **state)
{
    struct service_rate rate = {0};

    (void)state;
    for (uint64_t i = 1; i <= 100; i++)
        service_rate_add(&rate,
                         &(struct service_sample){.cost = 50, .slot_ns = 5 * S, .first_ns = S / 2},
                         i * S);
    assert_true(service_rate_seconds(&rate, 1000, 10) > 9.99 &&
                service_rate_seconds(&rate, 1000, 10) < 10.01);
    assert_true(service_rate_seconds(&rate, 1000, 20) < 5.01);
    assert_true(service_rate_seconds(&rate, 1000, 0) < 0);
    assert_true(service_rate_first_seconds(&rate) > 0.499 &&
                service_rate_first_seconds(&rate) < 0.501);
    assert_true(service_rate_cost(&rate) > 49.9 && service_rate_cost(&rate) < 50.1);
}

static void the_recent_past_counts_most(void **state)
{
    struct service_rate rate = {0};
    double before;

    (void)state;
    for (uint64_t i = 1; i <= 50; i++)
        service_rate_add(&rate, &(struct service_sample){.cost = 10, .slot_ns = S}, i * S);
    before = service_rate_seconds(&rate, 10, 1);
    for (uint64_t i = 51; i <= 250; i++)
        service_rate_add(&rate, &(struct service_sample){.cost = 10, .slot_ns = 3 * S}, i * S);
    assert_true(before > 0.99 && before < 1.01);
    assert_true(service_rate_seconds(&rate, 10, 1) > 2.9);
}

static void tokens_are_learnt_from_what_was_told(void **state)
{
    struct service_rate rate = {0};

    (void)state;
    for (uint64_t i = 1; i <= 10; i++) {
        service_rate_add(&rate,
                         &(struct service_sample){.cost = 1,
                                                  .slot_ns = S,
                                                  .is_told = true,
                                                  .prompt_bytes = 600,
                                                  .prompt_tokens = 200,
                                                  .output_tokens = 30},
                         i * S);
        service_rate_add(&rate, &(struct service_sample){.cost = 1, .slot_ns = S}, i * S);
    }
    assert_in_range(service_rate_prompt_tokens(&rate, 3000), 999, 1001);
    assert_in_range(service_rate_output_tokens(&rate), 29, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(the_wait_follows_from_littles_law),
        cmocka_unit_test(the_recent_past_counts_most),
        cmocka_unit_test(tokens_are_learnt_from_what_was_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
