#include "local_world.h"

/* --- its life --- */

static void the_machine_is_one_slice_by_default(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_slice slice;

    (void)state;
    driver_make(&config);
    follow_begin();
    slice = await_slice("here/cpu", is_there);
    assert_int_equal(slice.kind, SLICE_CPU_SET);
    assert_int_equal(slice.step_milli, 100);
    assert_int_equal(slice.price_nano_hour, 5 * (slice.compute_milli / 1000));
    assert_string_equal(slice.region, "west");
    assert_string_equal(slice.label, "eu");
    driver_end();
    assert_int_equal(world.slice_count, 1);
    assert_int_equal(world.list_count, 1);
    assert_int_equal(world.listed_count, 1);
}

static void a_replica_runs_and_its_end_is_told(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;
    char handle[32];

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 11, "hear", 0);
    told = await_phase(11, MEMBER_REPLICA_RUNNING);
    (void)snprintf(handle, sizeof handle, "pid %d", pid_of(11));
    assert_string_equal(told.handle, handle);
    assert_string_equal(told.name, "smollm2-1");
    assert_string_equal(told.slice, "here/cpu");
    assert_int_equal(told.memory_bytes, GIB);
    assert_says(&order, "COLOUR=green");
    assert_says(&order, "SECRET=(none)");
    assert_says(&order, "HOME=/some/where");
    assert_says(&order, "PENSTOCK_POOL=test");
    assert_says(&order, "PENSTOCK_UID=000000000000000b");
    assert_says(&order, "PENSTOCK_PART=(none)");
    local_member_signal(world.member, 11, SIGHUP);
    told = await_phase(11, MEMBER_REPLICA_FAILED);
    assert_int_equal(told.cause, MEMBER_CAUSE_PROGRAM);
    assert_string_equal(told.reason, "ended with code 7");
    assert_string_equal(told.handle, handle);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* collected */
    driver_end();
}

static void an_order_that_is_there_is_not_started_twice(void **state)
{
    const struct local_member_config config = config_make();
    struct order order;
    pid_t pid;

    (void)state;
    driver_make(&config);
    started(&order, 1, "wait", 0);
    pid = pid_of(1);
    assert_int_equal(start(&order), STATUS_OK);
    assert_int_equal(pid_of(1), pid);
    follow_begin();
    (void)await_phase(1, MEMBER_REPLICA_RUNNING);
    driver_end();
    assert_int_equal(world.replica_count, 1);
}

static void it_ends_when_it_is_asked_to(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 2, "wait", 0);
    (void)facts_of(&order);
    stop(2, 3600 * NS_PER_SECOND);
    told = await_phase(2, MEMBER_REPLICA_ENDED);
    assert_int_equal(told.cause, MEMBER_CAUSE_NONE);
    assert_string_equal(told.reason, "ended with code 0");
    stop(2, NS_PER_SECOND); /* gone: that is what was wanted */
    stop(77, NS_PER_SECOND);
    driver_end();
}

static void one_that_takes_too_long_is_killed(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 3, "stubborn", 0);
    (void)facts_of(&order);
    stop(3, 3600 * NS_PER_SECOND);
    (void)await_phase(3, MEMBER_REPLICA_STOPPING);
    stop(3, 10 * NS_PER_MS); /* a second word makes it shorter */
    told = await_phase(3, MEMBER_REPLICA_ENDED);
    assert_string_equal(told.reason, "was ended by signal 9 (SIGKILL)");
    started(&order, 4, "stubborn", 0);
    (void)facts_of(&order);
    stop(4, 0);
    told = await_phase(4, MEMBER_REPLICA_ENDED);
    driver_end();
}

static void one_that_was_killed_by_others_has_failed(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 5, "wait", 0);
    (void)await_phase(5, MEMBER_REPLICA_RUNNING);
    assert_int_equal(kill(pid_of(5), SIGKILL), 0);
    told = await_phase(5, MEMBER_REPLICA_FAILED);
    assert_int_equal(told.cause, MEMBER_CAUSE_PROGRAM);
    assert_string_equal(told.reason, "was ended by signal 9 (SIGKILL)");
    driver_end();
}

static void what_cannot_be_started_is_told(void **state)
{
    struct local_member_config config = config_make();
    struct order order;

    (void)state;
    driver_make(&config);
    order_make(&order, 6, "wait", 0);
    order.parts[0].slice_id = "here/elsewhere";
    assert_int_equal(start(&order), STATUS_FULL);
    order.parts[0].slice_id = "there/cpu";
    assert_int_equal(start(&order), STATUS_FULL);
    order.order.part_count = 0;
    assert_int_equal(start(&order), STATUS_INVALID);
    driver_end();
    config.program = "/nowhere/penstock";
    driver_make(&config);
    order_make(&order, 6, "wait", 0);
    assert_int_equal(start(&order), STATUS_INVALID);
    driver_end();
}

static void ends_before_it_is_followed_are_told_then(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;

    (void)state;
    driver_make(&config);
    started(&order, 7, "3", 0);
    (void)facts_of(&order);
    follow_begin();
    told = await_phase(7, MEMBER_REPLICA_FAILED);
    assert_string_equal(told.reason, "ended with code 3");
    follow_end();
    started(&order, 8, "wait", 0);
    follow_begin(); /* everything is told anew */
    (void)await_phase(8, MEMBER_REPLICA_RUNNING);
    driver_end();
    assert_int_equal(world.list_count, 2);
    assert_int_equal(world.listed_count, 2);
}

static bool two_have_come(const void *what)
{
    (void)what;
    return world.heard_count >= 2;
}

static void it_is_heard_of_while_nothing_happens(void **state)
{
    const struct local_member_config config = config_make();

    (void)state;
    driver_make(&config);
    follow_begin();
    (void)pthread_mutex_lock(&world.lock);
    assert_true(await(two_have_come, NULL));
    (void)pthread_mutex_unlock(&world.lock);
    driver_end();
}

static void replicas_die_with_the_driver(void **state)
{
    const struct local_member_config config = config_make();
    struct order order;

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 9, "stubborn", 0);
    (void)facts_of(&order);
    driver_end();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* gone and collected */
}

/* --- gangs --- */

static void a_gang_is_a_process_a_part_and_ends_as_one(void **state)
{
    const struct local_member_config config = config_make();
    struct heard_replica told;
    struct order order;
    pid_t pids[3];

    (void)state;
    driver_make(&config);
    follow_begin();
    order_make(&order, 40, "wait", 100);
    for (uint32_t i = 0; i < 3; i++)
        order.parts[i] = (struct member_part){"here/cpu", GIB, 100};
    order.order.part_count = 3;
    assert_int_equal(start(&order), STATUS_OK);
    told = await_phase(40, MEMBER_REPLICA_RUNNING);
    assert_int_equal(told.part_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(local_member_process(world.member, 40, i, &pids[i], NULL, NULL),
                         STATUS_OK);
    assert_int_not_equal(pids[0], pids[1]);
    assert_says(&order, "PENSTOCK_PARTS=3");
    assert_int_equal(kill(pids[1], SIGKILL), 0);
    told = await_phase(40, MEMBER_REPLICA_FAILED);
    assert_int_equal(told.cause, MEMBER_CAUSE_PROGRAM);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    order_make(&order, 41, "wait", 100);
    order.parts[1] = (struct member_part){"here/none", GIB, 100};
    order.order.part_count = 2;
    assert_int_equal(start(&order), STATUS_FULL);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none or all */
    driver_end();
}

/* --- handed over --- */

static void a_replica_is_handed_over_and_outlives_its_driver(void **state)
{
    const struct local_member_config config = config_make();
    struct local_adopted_part part = {.place = {"here/cpu", GIB, 100}};
    const struct local_adoption adoption = {50, "smollm2-2", &part, 1};
    struct heard_replica told;
    struct order order;
    int wait_status;
    pid_t pid;

    (void)state;
    driver_make(&config);
    follow_begin();
    started(&order, 50, "wait", 100);
    (void)facts_of(&order);
    assert_int_equal(
        local_member_process(world.member, 50, 0, &part.pid, &part.pid_fd, &part.lifeline_fd),
        STATUS_OK);
    pid = part.pid;
    assert_true(local_member_release(world.member, 50));
    assert_false(local_member_release(world.member, 51));
    stop(50, 0); /* none of this driver's any more */
    local_member_signal(world.member, 50, SIGTERM);
    driver_end();
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    driver_make(&config);
    assert_int_equal(local_member_adopt(world.member, &adoption), STATUS_OK);
    follow_begin();
    told = await_phase(50, MEMBER_REPLICA_RUNNING);
    assert_string_equal(told.name, "smollm2-2");
    assert_int_equal(told.compute_milli, 100);
    assert_int_equal(pid_of(50), pid);
    stop(50, 3600 * NS_PER_SECOND);
    told = await_phase(50, MEMBER_REPLICA_ENDED);
    assert_string_equal(told.reason, "has ended");
    assert_int_equal(waitpid(pid, &wait_status, 0), pid); /* its parent hears how */
    assert_true(WIFEXITED(wait_status));
    driver_end();
}

static void an_adopted_one_is_killed_by_the_last_who_lets_go(void **state)
{
    const struct local_member_config config = config_make();
    struct local_adopted_part part = {.place = {"here/cpu", GIB, 100}};
    const struct local_adoption adoption = {60, "smollm2-3", &part, 1};
    struct member_driver first;
    struct order order;
    int wait_status;
    pid_t pid;

    (void)state;
    driver_make(&config);
    started(&order, 60, "stubborn", 100);
    (void)facts_of(&order);
    assert_int_equal(
        local_member_process(world.member, 60, 0, &part.pid, &part.pid_fd, &part.lifeline_fd),
        STATUS_OK);
    pid = part.pid;
    first = world.driver;
    driver_make(&config);
    assert_int_equal(local_member_adopt(world.member, &adoption), STATUS_OK);
    driver_end(); /* a next process that has not come to be */
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    assert_true(local_member_release(first.driver, 60));
    first.destroy(first.driver);
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL);
}

/* --- walls --- */

static void a_replica_opens_what_its_order_names(void **state)
{
    struct local_member_config config = config_make();
    char given[160], secret[160], missing[160];
    const struct member_path paths[] = {{folder, MEMBER_WRITES}, {missing, MEMBER_READS}};
    struct order order;
    FILE *file;

    (void)state;
    (void)snprintf(given, sizeof given, "%s/given", folder);
    (void)snprintf(secret, sizeof secret, "%s-secret", folder);
    (void)snprintf(missing, sizeof missing, "%s-missing", folder);
    file = fopen(given, "we");
    assert_int_equal(fclose(file), 0);
    file = fopen(secret, "we");
    assert_int_equal(fclose(file), 0);
    config.sandbox = LOCAL_SANDBOX_ON;
    config.limits_memory = true;
    driver_make(&config);
    follow_begin();
    order_make(&order, 70, "wait", 0);
    order.parts[0].memory_bytes = 1ull << 47; /* a sanitizer's shadow is large */
    order.arguments[4] = given;
    order.arguments[5] = secret;
    order.arguments[6] = missing;
    order.order.paths = paths;
    order.order.path_count = 2;
    assert_int_equal(start(&order), STATUS_OK);
    assert_says(&order, "file0=open");
    assert_says(&order, sandbox_probe() > 0 ? "file1=closed" : "file1=open");
    assert_says(&order, "file2=missing");
    assert_says(&order, "data=140737488355328");
    stop(70, 3600 * NS_PER_SECOND);
    assert_string_equal(await_phase(70, MEMBER_REPLICA_ENDED).reason, "ended with code 0");
    driver_end();
    assert_int_equal(unlink(secret), 0);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_machine_is_one_slice_by_default, world_end),
        cmocka_unit_test_teardown(a_replica_runs_and_its_end_is_told, world_end),
        cmocka_unit_test_teardown(an_order_that_is_there_is_not_started_twice, world_end),
        cmocka_unit_test_teardown(it_ends_when_it_is_asked_to, world_end),
        cmocka_unit_test_teardown(one_that_takes_too_long_is_killed, world_end),
        cmocka_unit_test_teardown(one_that_was_killed_by_others_has_failed, world_end),
        cmocka_unit_test_teardown(what_cannot_be_started_is_told, world_end),
        cmocka_unit_test_teardown(ends_before_it_is_followed_are_told_then, world_end),
        cmocka_unit_test_teardown(it_is_heard_of_while_nothing_happens, world_end),
        cmocka_unit_test_teardown(replicas_die_with_the_driver, world_end),
        cmocka_unit_test_teardown(a_gang_is_a_process_a_part_and_ends_as_one, world_end),
        cmocka_unit_test_teardown(a_replica_is_handed_over_and_outlives_its_driver, world_end),
        cmocka_unit_test_teardown(an_adopted_one_is_killed_by_the_last_who_lets_go, world_end),
        cmocka_unit_test_teardown(a_replica_opens_what_its_order_names, world_end),
    };

    return LOCAL_WORLD_RUN(count, arguments, tests);
}
