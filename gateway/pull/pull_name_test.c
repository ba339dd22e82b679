#include "unit_test.h"

#include "check.h"
#include "pull_name.h"

static void paths_inside_the_folder_are_taken(void **state)
{
    const char *const good[] = {"a",    "a.gguf", "onnx/model.onnx", ".gitattributes", "a b", "...",
                                "a..b", "ä.txt"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(pull_path_is_safe(good[i]));
}

static void paths_that_lead_elsewhere_are_refused(void **state)
{
    const char *const bad[] = {"",  "/etc/passwd", "..",       "../a", "a/../../b", "a//b", "a/",
                               ".", "a/./b",       "a\\..\\b", "a\nb", "a\x7f",     "a/.."};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(pull_path_is_safe(bad[i]));
}

static void names_and_depths_have_a_maximum(void **state)
{
    char name[PULL_NAME_BYTES_MAX + 2], deep[2 * PULL_DEPTH_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof(name));
    name[PULL_NAME_BYTES_MAX] = '\0';
    assert_true(pull_path_is_safe(name));
    name[PULL_NAME_BYTES_MAX] = 'a';
    name[PULL_NAME_BYTES_MAX + 1] = '\0';
    assert_false(pull_path_is_safe(name));
    for (size_t i = 0; i < PULL_DEPTH_MAX; i++)
        memcpy(deep + 2 * i, "a/", 2);
    deep[2 * PULL_DEPTH_MAX - 1] = '\0';
    assert_true(pull_path_is_safe(deep));
    memcpy(deep + 2 * PULL_DEPTH_MAX - 1, "/a", 3);
    assert_false(pull_path_is_safe(deep));
}

static void repositories_have_one_slash_at_most(void **state)
{
    (void)state;
    assert_true(pull_repository_is_safe("org/name-1.5_b"));
    assert_true(pull_repository_is_safe("gpt2"));
    assert_false(pull_repository_is_safe("a/b/c"));
    assert_false(pull_repository_is_safe("a/b?c"));
    assert_false(pull_repository_is_safe("../b"));
    assert_false(pull_repository_is_safe("a b"));
}

static void a_url_names_its_file(void **state)
{
    char name[PULL_NAME_BYTES_MAX + 1];

    (void)state;
    assert_true(pull_url_name("https://host/a/b.gguf?download=true#x", name));
    assert_string_equal(name, "b.gguf");
    assert_true(pull_url_name("https://host/a%20b", name));
    assert_string_equal(name, "a b");
    assert_false(pull_url_name("https://host", name));
    assert_false(pull_url_name("https://host/", name));
    assert_false(pull_url_name("https://host/a/..", name));
    assert_false(pull_url_name("https://host/a/..%2f..%2fb", name));
    assert_false(pull_url_name("https://host/a%00b", name));
}

static void plain_http_goes_to_this_machine_only(void **state)
{
    (void)state;
    assert_true(pull_url_is_allowed("https://host/a"));
    assert_true(pull_url_is_allowed("http://127.0.0.1:80/a"));
    assert_true(pull_url_is_allowed("http://[::1]/a"));
    assert_false(pull_url_is_allowed("http://host/a"));
    assert_false(pull_url_is_allowed("http://127.0.0.1.host/a"));
    assert_false(pull_url_is_allowed("http://localhost@host/a"));
    assert_false(pull_url_is_allowed("file:///etc/passwd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_inside_the_folder_are_taken),
        cmocka_unit_test(paths_that_lead_elsewhere_are_refused),
        cmocka_unit_test(names_and_depths_have_a_maximum),
        cmocka_unit_test(repositories_have_one_slash_at_most),
        cmocka_unit_test(a_url_names_its_file),
        cmocka_unit_test(plain_http_goes_to_this_machine_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
