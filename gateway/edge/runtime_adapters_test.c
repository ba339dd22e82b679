#include "unit_test.h"

#include "runtime_adapters.h"

static void assert_lines(struct runtime_adapters *adapters, const char *model, const char *lines)
{
    struct buffer out;

    buffer_init(&out, RUNTIME_ADAPTERS_BYTES_MAX);
    runtime_adapters_write(adapters, model, &out);
    assert_int_equal(out.failed, STATUS_OK);
    assert_true(text_slice_is(buffer_slice(&out), lines));
    buffer_deinit(&out);
}

static void a_replica_is_told_the_adapters_of_its_own_model(void **state)
{
    static const struct config_runtime_adapter rows[] = {
        {"m", "one", "/a/1"}, {"other", "two", "/a/2"}, {"m", "three", "/a/3"}};
    struct runtime_adapters adapters = {0};

    (void)state;
    runtime_adapters_init(&adapters);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(runtime_adapters_add(&adapters, &rows[i]), STATUS_OK);
    assert_lines(&adapters, "m", "one=/a/1\nthree=/a/3\n");
    assert_lines(&adapters, "other", "two=/a/2\n");
    assert_string_equal(runtime_adapters_find(&adapters, "two")->path, "/a/2");
    runtime_adapters_remove(&adapters, "one");
    runtime_adapters_remove(&adapters, "nobody");
    assert_null(runtime_adapters_find(&adapters, "one"));
    assert_lines(&adapters, "m", "three=/a/3\n");
    runtime_adapters_deinit(&adapters);
}

static void no_more_is_kept_than_a_command_line_holds(void **state)
{
    enum { PATH_BYTES = 1024, LINE_BYTES = 3 + 1 + PATH_BYTES + 1 };
    struct runtime_adapters adapters = {0};
    char path[PATH_BYTES + 1], name[4] = "aaa";
    const struct config_runtime_adapter row = {"m", name, path};
    uint32_t fitting = RUNTIME_ADAPTERS_BYTES_MAX / LINE_BYTES;

    (void)state;
    memset(path, 'p', PATH_BYTES);
    path[PATH_BYTES] = '\0';
    runtime_adapters_init(&adapters);
    for (uint32_t i = 0; i < fitting; i++) {
        name[0] = (char)('a' + i / 26);
        name[1] = (char)('a' + i % 26);
        assert_int_equal(runtime_adapters_add(&adapters, &row), STATUS_OK);
    }
    memcpy(name, "zzz", 3);
    assert_int_equal(runtime_adapters_add(&adapters, &row), STATUS_TOO_LARGE);
    runtime_adapters_remove(&adapters, "aaa");
    assert_int_equal(runtime_adapters_add(&adapters, &row), STATUS_OK);
    assert_int_equal(adapters.count, fitting);
    runtime_adapters_deinit(&adapters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_is_told_the_adapters_of_its_own_model),
        cmocka_unit_test(no_more_is_kept_than_a_command_line_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
