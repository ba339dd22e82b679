#include "unit_test.h"

#include "local_internal.h"

static void an_environment_has_what_replicas_read(void **state)
{
    char *const process[] = {
        (char *)"HOME=/h",  (char *)"AWS_SECRET=x", (char *)"LC_ALL=C", (char *)"ASAN_OPTIONS=a",
        (char *)"HOMER=no", (char *)"CUDA_CACHE=1", (char *)"TZ=UTC",   NULL};
    struct local_environment environment = {.count = 0};

    (void)state;
    assert_int_equal(arena_create(4096, &environment.memory), STATUS_OK);
    local_environment_inherit(&environment, process);
    assert_int_equal(environment.count, 5);
    local_environment_put(&environment, "TZ=CET");
    local_environment_set(&environment, "PENSTOCK_UID", "%d", 7);
    assert_int_equal(environment.count, 6);
    assert_string_equal(environment.variables[4], "TZ=CET");
    assert_string_equal(environment.variables[5], "PENSTOCK_UID=7");
    assert_null(environment.variables[6]);
    assert_int_equal(environment.failed, STATUS_OK);
    arena_destroy(environment.memory);
}

static void what_does_not_fit_is_noticed(void **state)
{
    static char names[LOCAL_ENVIRONMENT_MAX + 1][16];
    struct local_environment environment = {.count = 0};

    (void)state;
    assert_int_equal(arena_create(4096, &environment.memory), STATUS_OK);
    local_environment_set(&environment, "LONG", "%2000d", 1);
    assert_int_equal(environment.failed, STATUS_TOO_LARGE);
    environment.failed = STATUS_OK;
    for (uint32_t i = 0; i <= LOCAL_ENVIRONMENT_MAX; i++) {
        assert_int_equal(environment.failed, STATUS_OK);
        (void)snprintf(names[i], sizeof names[i], "V%u=x", i);
        local_environment_put(&environment, names[i]);
    }
    assert_int_equal(environment.failed, STATUS_TOO_LARGE);
    assert_int_equal(environment.count, LOCAL_ENVIRONMENT_MAX);
    arena_destroy(environment.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_environment_has_what_replicas_read),
        cmocka_unit_test(what_does_not_fit_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
