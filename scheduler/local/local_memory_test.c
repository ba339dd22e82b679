/* WRAP: malloc calloc realloc aligned_alloc */
#include "local_world.h"

#include "fail_nth.h"

static void a_driver_without_memory_is_not_made(void **state)
{
    struct local_member_config config = config_make();
    struct member_driver driver;
    struct error_note note;
    unsigned long n = 1;
    status result;

    (void)state;
    config.sandbox = LOCAL_SANDBOX_ON;
    for (;; n++) {
        fail_nth_begin(n);
        result = local_member_create(&config, &driver, &note);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
    assert_int_equal(result, STATUS_OK);
    assert_true(n > 3);
    driver.destroy(driver.driver);
}

static void an_order_without_memory_leaves_nothing_behind(void **state)
{
    struct local_member_config config = config_make();
    struct error_note note;
    struct order order;
    unsigned long n = 1;
    status result;

    (void)state;
    config.sandbox = LOCAL_SANDBOX_ON;
    driver_make(&config);
    order_make(&order, 5, "wait", 0);
    order.order.paths = &(const struct member_path){folder, MEMBER_WRITES};
    order.order.path_count = 1;
    for (;; n++) {
        fail_nth_begin(n);
        result = world.driver.start(world.driver.driver, &order.order, &note);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_FULL);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    assert_int_equal(result, STATUS_OK);
    assert_true(n > 4);
    (void)facts_of(&order);
    driver_end();
}

static void what_cannot_be_taken_over_is_closed(void **state)
{
    struct local_member_config config = config_make();
    struct local_adopted_part part = {.place = {"here/cpu", GIB, 100}};
    const struct local_adoption adoption = {5, "smollm2-1", &part, 1};
    unsigned long n = 1;
    status result;
    int ends[2];

    (void)state;
    driver_make(&config);
    for (;; n++) {
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        part.pid = getpid();
        part.pid_fd = ends[0];
        part.lifeline_fd = ends[1];
        fail_nth_begin(n);
        result = local_member_adopt(world.driver.driver, &adoption);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_NO_MEMORY);
        assert_int_equal(fcntl(ends[0], F_GETFD), -1);
        assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    }
    assert_int_equal(result, STATUS_OK);
    assert_true(n > 2);
    driver_end();
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_driver_without_memory_is_not_made, world_end),
        cmocka_unit_test_teardown(an_order_without_memory_leaves_nothing_behind, world_end),
        cmocka_unit_test_teardown(what_cannot_be_taken_over_is_closed, world_end),
    };

    return LOCAL_WORLD_RUN(count, arguments, tests);
}
