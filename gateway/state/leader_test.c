#include "unit_test.h"

#include "leader.h"

#define TTL_MS 1000u

static const struct lease held = {.holder = "other", .fence = 7, .until_ms = 5000};

static void a_free_lease_is_taken_with_the_first_token(void **state)
{
    struct lease next;

    (void)state;
    assert_true(lease_decide(NULL, "me", 100, TTL_MS, &next));
    assert_string_equal(next.holder, "me");
    assert_int_equal(next.fence, 1);
    assert_int_equal(next.until_ms, 100 + TTL_MS);
}

static void a_lease_of_another_is_left_alone_until_its_end(void **state)
{
    struct lease next;

    (void)state;
    assert_false(lease_decide(&held, "me", held.until_ms - 1, TTL_MS, &next));
    assert_true(lease_decide(&held, "me", held.until_ms, TTL_MS, &next));
    assert_int_equal(next.fence, held.fence + 1);
    assert_string_equal(next.holder, "me");
}

static void renewing_keeps_the_token(void **state)
{
    struct lease next;

    (void)state;
    assert_true(lease_decide(&held, "other", 4000, TTL_MS, &next));
    assert_int_equal(next.fence, held.fence);
    assert_int_equal(next.until_ms, 4000 + TTL_MS);
}

static void one_that_nobody_has_taken_since_may_be_renewed_after_its_end(void **state)
{
    struct lease next;

    (void)state;
    assert_true(lease_decide(&held, "other", 9000, TTL_MS, &next));
    assert_int_equal(next.fence, held.fence);
}

static void giving_back_ends_it_now(void **state)
{
    struct lease given, next;

    (void)state;
    assert_true(lease_decide(&held, "other", 4000, 0, &given));
    assert_int_equal(given.until_ms, 4000);
    assert_true(lease_decide(&given, "me", 4000, TTL_MS, &next));
    assert_int_equal(next.fence, held.fence + 1);
}

static void who_shares_with_nobody_leads(void **state)
{
    struct error_note note = {""};
    leader *alone = NULL;

    (void)state;
    assert_int_equal(leader_create(NULL, TTL_MS, &alone), STATUS_OK);
    assert_true(leader_is(alone, 0));
    leader_tick(alone, NULL, 0);
    assert_true(leader_is(alone, UINT64_MAX));
    assert_int_equal(leader_confirm(alone, NULL, &note), STATUS_OK);
    leader_destroy(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_lease_is_taken_with_the_first_token),
        cmocka_unit_test(a_lease_of_another_is_left_alone_until_its_end),
        cmocka_unit_test(renewing_keeps_the_token),
        cmocka_unit_test(one_that_nobody_has_taken_since_may_be_renewed_after_its_end),
        cmocka_unit_test(giving_back_ends_it_now),
        cmocka_unit_test(who_shares_with_nobody_leads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
