#include "unit_test.h"

#include "kv_share.h"

static struct kv_claim claim_of(uint64_t id, double share)
{
    return (struct kv_claim){.id = {id, 1}, .share = share};
}

static void who_holds_its_share_gets_no_more(void **state)
{
    struct kv_accounts accounts = {0};
    struct kv_claim first = claim_of(7, 0.25), second = claim_of(7, 0.25),
                    other = claim_of(8, 0.25);

    (void)state;
    assert_int_equal(kv_claims_open(&accounts, &first, 1), STATUS_OK);
    assert_int_equal(kv_claims_open(&accounts, &second, 1), STATUS_OK);
    assert_int_equal(kv_claims_open(&accounts, &other, 1), STATUS_OK);
    kv_claims_hold(&first, 1, 0, 20);
    assert_true(kv_claims_fit(&second, 1, 5, 100));
    assert_false(kv_claims_fit(&second, 1, 6, 100));
    assert_true(kv_claims_fit(&other, 1, 25, 100));
    kv_claims_hold(&first, 1, 20, 21); /* it goes on */
    assert_false(kv_claims_fit(&second, 1, 5, 100));
    assert_true(kv_claims_fit(&second, 1, 5, 200)); /* another replica */
    assert_true(kv_claims_fit(&second, 1, 5, 0));   /* not known */
    kv_claims_close(&accounts, &first, 1, 21);
    assert_true(kv_claims_fit(&second, 1, 25, 100));
    kv_claims_close(&accounts, &second, 1, 0);
    kv_claims_close(&accounts, &other, 1, 0);
    for (uint32_t i = 0; i < KV_ACCOUNT_HEADS; i++)
        assert_null(accounts.heads[i]);
}

static void a_request_keeps_every_limit_that_it_matches(void **state)
{
    struct kv_accounts accounts = {0};
    struct kv_claim one[2] = {claim_of(1, 0.5), claim_of(2, 0.1)};
    struct kv_claim two[2] = {claim_of(1, 0.5), claim_of(3, 0.3)};

    (void)state;
    assert_int_equal(kv_claims_open(&accounts, one, 2), STATUS_OK);
    assert_int_equal(kv_claims_open(&accounts, two, 2), STATUS_OK);
    assert_int_equal(kv_claims_blocks_max(one, 2, 100), 10);
    assert_int_equal(kv_claims_blocks_max(two, 2, 100), 30);
    assert_true(kv_claims_blocks_max(two, 2, 0) == UINT64_MAX);
    assert_true(kv_claims_blocks_max(two, 0, 100) == UINT64_MAX);
    kv_claims_hold(one, 2, 0, 10);
    assert_true(kv_claims_fit(two, 2, 40, 100)); /* of its own account nothing is held */
    kv_claims_hold(two, 2, 0, 29);
    assert_false(kv_claims_fit(two, 2, 2, 100));
    assert_true(kv_claims_fit(two, 2, 1, 100));
    assert_false(kv_claims_fit(one, 2, 1, 100));
    kv_claims_close(&accounts, one, 2, 10);
    kv_claims_close(&accounts, two, 2, 29);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_holds_its_share_gets_no_more),
        cmocka_unit_test(a_request_keeps_every_limit_that_it_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
