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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loaded_ready_replica_is_picked),
        cmocka_unit_test(equal_replicas_take_turns),
        cmocka_unit_test(none_ready_is_none),
        cmocka_unit_test(the_avoided_one_is_only_taken_when_alone),
        cmocka_unit_test(slow_replicas_get_fewer_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
