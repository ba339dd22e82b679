#include "unit_test.h"

#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "hash.h"
#include "limit_store.h"

/* On the Redis that PENSTOCK_TEST_REDIS names (tests/integration/test_shared_limits.py); without one there is nothing to test. */

#define LEASE_MS  2000u
#define SECOND_US 1000000

struct fixture {
    limit_store *one, *other;
    struct limit_exchange item;
};

static const char *address(void)
{
    return getenv("PENSTOCK_TEST_REDIS"); // NOLINT: one thread
}

static limit_store *store_open(void)
{
    const struct config_state config = {.redis = address(),
                                        .redis_password_file = "",
                                        .redis_password_env = "PENSTOCK_TEST_REDIS_PASSWORD",
                                        .lease_ns = LEASE_MS * NS_PER_MS};
    struct error_note note = {""};
    limit_store *store = NULL;
    uint32_t count = 0;

    assert_int_equal(limit_store_open(&config, &store, &note), STATUS_OK);
    assert_int_equal(limit_store_greet(store, &count, &note), STATUS_OK);
    return store;
}

/* Each test has a limit of its own. */
static int make(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){.one = NULL};
    *state = &fixture;
    if (address() == NULL)
        return 0;
    random_bytes(fixture.item.name, sizeof(fixture.item.name));
    fixture.one = store_open();
    fixture.other = store_open();
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;

    if (address() == NULL)
        return 0;
    limit_store_leave(fixture->one);
    limit_store_leave(fixture->other);
    limit_store_close(fixture->one);
    limit_store_close(fixture->other);
    return 0;
}

/* What is owed afterwards of the first rate. */
static int64_t use(struct fixture *fixture, limit_store *store, int64_t used_us)
{
    struct error_note note = {""};
    uint32_t done = 0;

    fixture->item.used_us[0] = used_us;
    assert_int_equal(limit_store_exchange(store, &fixture->item, 1, &done, &note), STATUS_OK);
    assert_int_equal(done, 1);
    return fixture->item.owed_us[0];
}

static void both_owe_what_both_have_used(void **state)
{
    struct fixture *fixture = *state;
    int64_t owed_us;

    if (address() == NULL)
        skip();
    assert_int_equal(use(fixture, fixture->one, 0), 0);
    assert_int_equal(use(fixture, fixture->one, 100 * SECOND_US), 100 * SECOND_US);
    owed_us = use(fixture, fixture->other, 100 * SECOND_US);
    assert_true(owed_us <= 200 * SECOND_US && owed_us > 100 * SECOND_US);
    assert_true(use(fixture, fixture->one, 0) <= owed_us);
    assert_int_equal(fixture->item.owed_us[1], 0);
}

static void what_is_given_back_is_owed_no_more(void **state)
{
    struct fixture *fixture = *state;

    if (address() == NULL)
        skip();
    (void)use(fixture, fixture->one, 1000 * SECOND_US);
    assert_true(use(fixture, fixture->other, -900 * SECOND_US) <= 100 * SECOND_US);
    assert_int_equal(use(fixture, fixture->one, -1000 * SECOND_US), 0);
    /* And is no credit. */
    assert_int_equal(use(fixture, fixture->one, 5 * SECOND_US), 5 * SECOND_US);
}

static void one_that_has_forgotten_is_told_what_is_owed(void **state)
{
    struct fixture *fixture = *state;

    if (address() == NULL)
        skip();
    fixture->item.owed_min_us[0] = 500 * SECOND_US;
    assert_int_equal(use(fixture, fixture->one, SECOND_US), 501 * SECOND_US);
    fixture->item.owed_min_us[0] = 100 * SECOND_US; /* less than is known */
    assert_true(use(fixture, fixture->other, 0) > 400 * SECOND_US);
}

static int64_t run(struct fixture *fixture, limit_store *store, int64_t running)
{
    fixture->item.running = running;
    (void)use(fixture, store, 0);
    return fixture->item.running_elsewhere;
}

static void each_is_told_what_the_other_runs(void **state)
{
    struct fixture *fixture = *state;

    if (address() == NULL)
        skip();
    assert_int_equal(run(fixture, fixture->one, 3), 0);
    assert_int_equal(run(fixture, fixture->other, 4), 3);
    assert_int_equal(run(fixture, fixture->one, 0), 4);
    assert_int_equal(run(fixture, fixture->other, 0), 0);
}

static void what_a_dead_one_ran_is_forgotten_at_the_end_of_its_lease(void **state)
{
    struct fixture *fixture = *state;
    int64_t elsewhere = 1;

    if (address() == NULL)
        skip();
    assert_int_equal(run(fixture, fixture->one, 7), 0);
    for (unsigned looks = 0; elsewhere != 0 && looks < 1000; looks++) {
        elsewhere = run(fixture, fixture->other, 1);
        assert_true(elsewhere == 7 || elsewhere == 0);
        (void)usleep(20000);
    }
    assert_int_equal(elsewhere, 0);
}

static void many_are_one_round_trip(void **state)
{
    static struct limit_exchange items[1000];
    struct fixture *fixture = *state;
    struct error_note note = {""};
    uint32_t done = 0;

    if (address() == NULL)
        skip();
    for (unsigned i = 0; i < 1000; i++) {
        random_bytes(items[i].name, sizeof(items[i].name));
        items[i].used_us[2] = (i + 1) * SECOND_US;
    }
    assert_int_equal(limit_store_exchange(fixture->one, items, 1000, &done, &note), STATUS_OK);
    assert_int_equal(done, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(items[i].owed_us[2], (i + 1) * SECOND_US);
}

static void gateways_are_counted_while_they_are_there(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    uint32_t before = 0, after = 0;

    if (address() == NULL)
        skip();
    assert_int_equal(limit_store_greet(fixture->one, &before, &note), STATUS_OK);
    assert_true(before >= 2);
    limit_store_leave(fixture->other);
    assert_int_equal(limit_store_greet(fixture->one, &after, &note), STATUS_OK);
    assert_true(after < before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(both_owe_what_both_have_used),
        TEST(what_is_given_back_is_owed_no_more),
        TEST(one_that_has_forgotten_is_told_what_is_owed),
        TEST(each_is_told_what_the_other_runs),
        TEST(what_a_dead_one_ran_is_forgotten_at_the_end_of_its_lease),
        TEST(many_are_one_round_trip),
        TEST(gateways_are_counted_while_they_are_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
