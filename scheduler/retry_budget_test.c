#include "unit_test.h"

#include "retry_budget.h"

static void a_burst_is_there_at_first_and_no_more(void **state)
{
    struct retry_budget budget;

    (void)state;
    retry_budget_init(&budget, 5);
    retry_budget_earn(&budget, 1, 5);
    for (int i = 0; i < 5; i++)
        assert_true(retry_budget_spend(&budget));
    assert_false(retry_budget_spend(&budget));
}

static void what_is_sent_again_stays_a_share_of_the_traffic(void **state)
{
    struct retry_budget budget;
    uint32_t retries = 0;

    (void)state;
    retry_budget_init(&budget, 10);
    for (int i = 0; i < 10000; i++) { /* everything fails */
        retry_budget_earn(&budget, 0.1, 10);
        retries += retry_budget_spend(&budget);
    }
    assert_in_range(retries, 1000, 1010);
}

static void without_a_share_only_the_burst_is_left(void **state)
{
    struct retry_budget budget;

    (void)state;
    retry_budget_init(&budget, 1);
    assert_true(retry_budget_spend(&budget));
    retry_budget_earn(&budget, 0, 1);
    assert_false(retry_budget_spend(&budget));
    retry_budget_init(&budget, 0);
    assert_false(retry_budget_spend(&budget));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_there_at_first_and_no_more),
        cmocka_unit_test(what_is_sent_again_stays_a_share_of_the_traffic),
        cmocka_unit_test(without_a_share_only_the_burst_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
