#include "unit_test.h"

#include <stdlib.h>
#include <unistd.h>

#include "replica_paths.h"

static arena *memory;
static const struct member_path *paths;
static uint32_t count;

static int begin(void **state)
{
    (void)state;
    return arena_create(1 << 20, &memory);
}

static int end(void **state)
{
    (void)state;
    arena_destroy(memory);
    return 0;
}

static status list(const struct config_model *model)
{
    const struct replica_paths_source source = {"/run/x", "/etc/penstock.yaml",
                                                "unix:/run/x/0-m-0.sock", model, true};

    return replica_paths_write(&source, memory, &paths, &count);
}

static void assert_path(uint32_t i, const char *path, enum member_access access)
{
    assert_true(i < count);
    assert_string_equal(paths[i].path, path);
    assert_int_equal(paths[i].access, access);
}

static void a_replica_opens_its_model_its_page_and_its_socket(void **state)
{
    const struct config_adapter adapters[] = {{"a", "/models/a"}, {"b", "/models/b"}};
    const struct config_model model = {.path = "/models/m.gguf",
                                       .weight_cache = "off",
                                       .adapters = {(void *)(uintptr_t)adapters, 2}};

    (void)state;
    assert_int_equal(list(&model), STATUS_OK);
    assert_int_equal(count, 8);
    assert_path(0, "/run/x", MEMBER_READS);
    assert_path(1, "/run/x", MEMBER_LISTENS);
    assert_path(2, "/run/x/0-m-0.sock.page", MEMBER_WRITES);
    assert_path(3, "/run/x/0-m-0.sock.flight", MEMBER_WRITES);
    assert_path(4, "/etc/penstock.yaml", MEMBER_READS);
    assert_path(5, "/models/m.gguf", MEMBER_READS);
    assert_path(6, "/models/a", MEMBER_READS);
    assert_path(7, "/models/b", MEMBER_READS);
}

static void weights_are_kept_where_it_may_write(void **state)
{
    char folder[] = "/tmp/replica_paths_test.XXXXXX";
    struct config_model model = {.path = "/models/m.gguf", .weight_cache = folder};

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(list(&model), STATUS_OK);
    assert_path(6, folder, MEMBER_WRITES);
    assert_int_equal(rmdir(folder), 0);
}

static void adapters_that_come_later_may_lie_anywhere(void **state)
{
    const struct config_model model = {
        .path = "/models/m.gguf", .weight_cache = "off", .allow_runtime_lora_updating = true};

    (void)state;
    assert_int_equal(list(&model), STATUS_OK);
    assert_path(6, "/", MEMBER_READS);
}

static void files_are_counted(void **state)
{
    static struct config_adapter adapters[REPLICA_PATHS_MAX];
    struct config_model model = {
        .path = "/models/m.gguf", .weight_cache = "off", .adapters = {adapters, 0}};

    (void)state;
    for (uint32_t i = 0; i < REPLICA_PATHS_MAX; i++)
        adapters[i].path = "/models/a";
    model.adapters.count = REPLICA_PATHS_MAX - 6;
    assert_int_equal(list(&model), STATUS_OK);
    assert_int_equal(count, REPLICA_PATHS_MAX);
    model.adapters.count++;
    assert_int_equal(list(&model), STATUS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_replica_opens_its_model_its_page_and_its_socket, begin,
                                        end),
        cmocka_unit_test_setup_teardown(weights_are_kept_where_it_may_write, begin, end),
        cmocka_unit_test_setup_teardown(adapters_that_come_later_may_lie_anywhere, begin, end),
        cmocka_unit_test_setup_teardown(files_are_counted, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
