#include "unit_test.h"

#include "limit_promise.h"

static const struct config_key keys[] = {
    {.name = "a1", .organisation = "a", .team = "x"},
    {.name = "a2", .organisation = "a", .team = "y"},
    {.name = "b1", .organisation = "b", .team = ""},
    {.name = "free", .organisation = "", .team = ""},
};
static const struct config_group groups[] = {{.organisation = "a", .team = ""},
                                             {.organisation = "c", .team = ""}};

static struct config config_of(const struct config_limit *limits, uint32_t count)
{
    struct config config = {.file = ""};

    config.auth.keys = (struct setting_list){.items = (void *)(uintptr_t)keys, .count = 4};
    config.tenants.groups = (struct setting_list){.items = (void *)(uintptr_t)groups, .count = 2};
    config.tenants.limits =
        (struct setting_list){.items = (void *)(uintptr_t)limits, .count = count};
    return config;
}

#define LIMIT(PER, ORGANISATION, TEAM, KEY, MODEL, TOKENS)                                         \
    {                                                                                              \
        .per = (PER), .organisation = (ORGANISATION), .team = (TEAM), .key = (KEY),                \
        .model = (MODEL), .tokens_per_minute = (TOKENS)                                            \
    }

static void every_organisation_has_its_tightest(void **state)
{
    static const struct config_limit limits[] = {
        LIMIT(QUOTA_PER_ORGANISATION, "", "", "", "", 1000),
        LIMIT(QUOTA_PER_ORGANISATION, "a", "", "", "", 400),
        LIMIT(QUOTA_PER_ORGANISATION, "b", "", "", "other*", 1),
        LIMIT(QUOTA_PER_KEY, "", "", "", "", 5),
    };
    struct config config = config_of(limits, 4);
    struct limit_promise promise = limit_promise_of(&config, "m", QUOTA_PER_ORGANISATION);

    (void)state;
    assert_int_equal(promise.holders, 3);
    assert_true(promise.tokens_per_minute == 2400);
    assert_true(promise.largest == 1000);
    assert_string_equal(promise.largest_name, "c");
    assert_true(limit_promise_of(&config, "other1", QUOTA_PER_ORGANISATION).tokens_per_minute ==
                1401);
}

static void keys_and_teams_are_counted_each(void **state)
{
    static const struct config_limit limits[] = {
        LIMIT(QUOTA_PER_KEY, "", "", "a*", "", 10),
        LIMIT(QUOTA_PER_TEAM, "a", "x", "", "", 7),
    };
    struct config config = config_of(limits, 2);
    struct limit_promise of_keys = limit_promise_of(&config, "m", QUOTA_PER_KEY);
    struct limit_promise of_teams = limit_promise_of(&config, "m", QUOTA_PER_TEAM);

    (void)state;
    assert_int_equal(of_keys.holders, 2);
    assert_int_equal(of_keys.unlimited, 2);
    assert_true(of_keys.tokens_per_minute == 20);
    assert_int_equal(of_teams.holders, 1);
    assert_int_equal(of_teams.unlimited, 1);
    assert_true(of_teams.tokens_per_minute == 7);
}

static void what_all_share_counts_once(void **state)
{
    static const struct config_limit limits[] = {LIMIT(QUOTA_PER_ALL, "", "", "", "", 9)};
    struct config config = config_of(limits, 1);

    (void)state;
    assert_true(limit_promise_of(&config, "m", QUOTA_PER_ALL).tokens_per_minute == 9);
    assert_int_equal(limit_promise_of(&config, "m", QUOTA_PER_KEY).holders, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_organisation_has_its_tightest),
        cmocka_unit_test(keys_and_teams_are_counted_each),
        cmocka_unit_test(what_all_share_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
