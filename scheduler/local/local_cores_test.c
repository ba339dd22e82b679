#include "local_world.h"

static void cores_are_the_least_used(void **state)
{
    static struct cpu_slices slices;
    struct cpu_slice *slice = &slices.items[0];
    uint32_t used[CPU_SETSIZE] = {0};
    cpu_set_t got;

    (void)state;
    slices.count = 1;
    slice->core_count = 4;
    for (unsigned thread = 0; thread < 8; thread++) { /* two threads a core */
        slices.core_of[thread] = (uint16_t)(thread / 2 * 2);
        CPU_SET(thread, &slice->bind.cores);
    }
    local_cores_pick(&slices, slice, 1500, used, &got);
    assert_int_equal(CPU_COUNT(&got), 4);
    assert_true(CPU_ISSET(0, &got) && CPU_ISSET(3, &got));
    assert_int_equal(local_cores_count(&slices, &got), 2);
    local_cores_charge(&slices, &got, 1500, used);
    assert_int_equal(used[0], 750);
    assert_int_equal(used[2], 750);
    local_cores_pick(&slices, slice, 1000, used, &got);
    assert_true(CPU_COUNT(&got) == 2 && CPU_ISSET(4, &got));
    local_cores_charge(&slices, &got, 1000, used);
    local_cores_pick(&slices, slice, 2000, used, &got);
    assert_true(CPU_ISSET(0, &got) && CPU_ISSET(6, &got));
    local_cores_pick(&slices, slice, 3001, used, &got);
    assert_int_equal(CPU_COUNT(&got), 8);
}

static void parts_of_a_slice_get_cores_of_their_own(void **state)
{
    const struct local_member_config config = config_make();
    struct order orders[4];
    cpu_set_t mine;
    int first, cores;
    char line[64];

    (void)state;
    driver_make(&config);
    cores = (int)world.member->cpus.items[0].core_count;
    if (cores < 2) {
        driver_end();
        skip();
    }
    follow_begin();
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    first = 0;
    while (!CPU_ISSET(first, &mine))
        first++;
    for (uint32_t i = 0; i < 4; i++)
        started(&orders[i], 20 + i, "wait", 500);
    (void)snprintf(line, sizeof line, "first=%d", first);
    assert_non_null(strstr(facts_of(&orders[0]), line));
    assert_null(strstr(facts_of(&orders[1]), line));
    if (cores == 2) {
        assert_non_null(strstr(facts_of(&orders[2]), line));
        assert_null(strstr(facts_of(&orders[3]), line));
    }
    stop(20, 0);
    (void)await_phase(20, MEMBER_REPLICA_ENDED);
    started(&orders[0], 30, "wait", 500); /* where there is room again */
    assert_non_null(strstr(facts_of(&orders[0]), line));
    started(&orders[0], 31, "wait", 0);
    (void)snprintf(line, sizeof line, "cores=%d first=%d", CPU_COUNT(&mine), first);
    assert_says(&orders[0], line);
    order_make(&orders[1], 32, "wait", 100); /* runs on more than it has to itself */
    orders[1].order.core_milli = (uint32_t)cores * 1000;
    assert_int_equal(start(&orders[1]), STATUS_OK);
    assert_says(&orders[1], line);
    driver_end();
}

static void memory_of_a_node_stays_there(void **state)
{
    struct local_member_config config = config_make();
    struct order order;
    char line[32];

    (void)state;
    config.cpu.cut = CPU_CUT_NODES;
    driver_make(&config);
    follow_begin();
    (void)await_slice("here/numa0", is_there);
    order_make(&order, 35, "wait", 0);
    order.parts[0].slice_id = "here/numa0";
    assert_int_equal(start(&order), STATUS_OK);
    if (strstr(facts_of(&order), "policy=") == NULL) {
        driver_end();
        skip(); /* a kernel without NUMA */
    }
    (void)snprintf(line, sizeof line, "policy=%d", MPOL_BIND);
    assert_says(&order, line);
    driver_end();
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(cores_are_the_least_used, world_end),
        cmocka_unit_test_teardown(parts_of_a_slice_get_cores_of_their_own, world_end),
        cmocka_unit_test_teardown(memory_of_a_node_stays_there, world_end),
    };

    return LOCAL_WORLD_RUN(count, arguments, tests);
}
