#include "unit_test.h"

#include "router.h"

static void the_least_loaded_ready_replica_is_picked(void **state)
{
    const struct router_candidate candidates[] = {{true, 5}, {false, 0}, {true, 2}, {true, 3}};

    (void)state;
    for (uint32_t turn = 0; turn < 9; turn++)
        assert_int_equal(router_pick(candidates, 4, turn, ROUTER_NONE), 2);
}

static void equal_replicas_take_turns(void **state)
{
    const struct router_candidate candidates[] = {{true, 1}, {true, 1}, {true, 1}};
    uint32_t picked[3] = {0};

    (void)state;
    for (uint32_t turn = 0; turn < 30; turn++)
        picked[router_pick(candidates, 3, turn, ROUTER_NONE)]++;
    for (int i = 0; i < 3; i++)
        assert_int_equal(picked[i], 10);
}

static void none_ready_is_none(void **state)
{
    const struct router_candidate candidates[] = {{false, 0}, {false, 0}};

    (void)state;
    assert_int_equal(router_pick(candidates, 2, 1, ROUTER_NONE), ROUTER_NONE);
    assert_int_equal(router_pick(candidates, 2, 1, 0), ROUTER_NONE);
    assert_int_equal(router_pick(candidates, 0, 1, ROUTER_NONE), ROUTER_NONE);
}

static void the_avoided_one_is_only_taken_when_alone(void **state)
{
    struct router_candidate candidates[] = {{true, 0}, {true, 9}};

    (void)state;
    assert_int_equal(router_pick(candidates, 2, 0, 0), 1);
    candidates[1].is_ready = false;
    assert_int_equal(router_pick(candidates, 2, 0, 0), 0);
}

/* Replicas of different speed: each finishes `speed` requests while ten come in. */
static void slow_replicas_get_fewer_requests(void **state)
{
    struct router_candidate candidates[] = {{true, 0}, {true, 0}, {true, 0}};
    const uint32_t speed[] = {8, 4, 1};
    uint32_t sent[3] = {0}, turn = 0;

    (void)state;
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 10; i++) {
            uint32_t index = router_pick(candidates, 3, turn++, ROUTER_NONE);

            candidates[index].outstanding++;
            sent[index]++;
        }
        for (int i = 0; i < 3; i++)
            candidates[i].outstanding -=
                candidates[i].outstanding < speed[i] ? candidates[i].outstanding : speed[i];
    }
    assert_true(sent[0] > sent[1] && sent[1] > sent[2]);
    assert_true(sent[2] <= 1100 && sent[0] >= 4500);
}

/* Groups spread evenly, and only those of a replica that goes move. */
static void a_group_stays_with_its_replica_as_long_as_it_is_there(void **state)
{
    enum { COUNT = 5, GROUPS = 5000 };
    struct router_candidate candidates[COUNT] = {
        {true, 3}, {true, 0}, {true, 4}, {true, 2}, {true, 1}};
    uint32_t home[GROUPS], sizes[COUNT] = {0}, moved = 0;

    (void)state;
    for (uint32_t group = 0; group < GROUPS; group++) {
        home[group] = router_pick_near(candidates, COUNT, group, group);
        sizes[home[group]]++;
        for (uint32_t turn = 0; turn < 5; turn++)
            assert_int_equal(router_pick_near(candidates, COUNT, turn, group), home[group]);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(sizes[i] > GROUPS / COUNT * 8 / 10 && sizes[i] < GROUPS / COUNT * 12 / 10);
    candidates[2].is_ready = false;
    for (uint32_t group = 0; group < GROUPS; group++) {
        uint32_t now = router_pick_near(candidates, COUNT, group, group);

        assert_int_not_equal(now, 2);
        assert_true(now == home[group] || home[group] == 2);
        moved += now != home[group];
    }
    assert_int_equal(moved, sizes[2]);
}

static void a_group_leaves_a_replica_that_is_too_busy(void **state)
{
    struct router_candidate candidates[] = {{true, 0}, {true, 0}};
    uint32_t home = router_pick_near(candidates, 2, 0, 42);

    (void)state;
    candidates[home].outstanding = ROUTER_NEAR_SLACK;
    assert_int_equal(router_pick_near(candidates, 2, 0, 42), home);
    candidates[home].outstanding = ROUTER_NEAR_SLACK + 1;
    assert_int_equal(router_pick_near(candidates, 2, 0, 42), 1 - home);
    candidates[1 - home].is_ready = false;
    assert_int_equal(router_pick_near(candidates, 2, 0, 42), home);
    candidates[home].is_ready = false;
    assert_int_equal(router_pick_near(candidates, 2, 0, 42), ROUTER_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loaded_ready_replica_is_picked),
        cmocka_unit_test(equal_replicas_take_turns),
        cmocka_unit_test(none_ready_is_none),
        cmocka_unit_test(the_avoided_one_is_only_taken_when_alone),
        cmocka_unit_test(slow_replicas_get_fewer_requests),
        cmocka_unit_test(a_group_stays_with_its_replica_as_long_as_it_is_there),
        cmocka_unit_test(a_group_leaves_a_replica_that_is_too_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
