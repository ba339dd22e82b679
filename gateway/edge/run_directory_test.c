#include "unit_test.h"

#include <stdio.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run_directory.h"

static void a_private_folder_is_made_and_removed(void **state)
{
    char folder[96], path[128];
    struct error_note note = {""};
    struct stat info;
    bool is_ours = false;

    (void)state;
    assert_int_equal(setenv("XDG_RUNTIME_DIR", "relative", 1), 0);
    assert_int_equal(run_directory_open("", folder, sizeof(folder), &is_ours, &note), STATUS_OK);
    assert_true(is_ours);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(run_directory_write_config(folder, text_slice_of("one")), STATUS_OK);
    assert_int_equal(run_directory_write_config(folder, text_slice_of("two")), STATUS_OK);
    run_directory_config_path(folder, path, sizeof(path));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 3);
    assert_int_equal(info.st_mode & 0777, 0600);
    run_directory_close(folder, is_ours);
    assert_int_not_equal(stat(folder, &info), 0);
}

static void a_configured_folder_is_left_alone(void **state)
{
    char folder[96];
    struct error_note note = {""};
    bool is_ours = true;

    (void)state;
    assert_int_equal(run_directory_open("/tmp", folder, sizeof(folder), &is_ours, &note),
                     STATUS_OK);
    assert_false(is_ours);
    assert_string_equal(folder, "/tmp");
    assert_int_equal(run_directory_write_config("/nowhere", text_slice_of("x")), STATUS_IO);
}

static void texts_of_versions_go_with_the_gateway_and_nothing_else_does(void **state)
{
    char folder[] = "/tmp/penstock-run-test-XXXXXX", path[160], other[64];
    struct stat info;
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(folder));
    run_directory_version_path(folder, 2, 7, 1, path, sizeof(path));
    assert_int_equal(run_directory_write_version(folder, 2, 7, 1, text_slice_of("text")),
                     STATUS_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 4);
    (void)snprintf(other, sizeof(other), "%s/notes", folder);
    file = fopen(other, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    run_directory_close(folder, false);
    assert_int_not_equal(stat(path, &info), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(run_directory_write_version("/nowhere", 0, 2, 0, text_slice_of("x")),
                     STATUS_IO);
}

static void sockets_have_safe_names_that_differ(void **state)
{
    char a[128], b[128];

    (void)state;
    assert_int_equal(run_directory_socket("/run/x", "org/../../etc", 0, 3, 0, a, sizeof(a)),
                     STATUS_OK);
    assert_string_equal(a, "unix:/run/x/0-org_______etc-3.sock");
    assert_int_equal(run_directory_socket("/run/x", "m", 0, 3, 12, a, sizeof(a)), STATUS_OK);
    assert_string_equal(a, "unix:/run/x/0-m-3.12.sock");
    assert_int_equal(run_directory_socket("/r", "a-very-long-name-of-a-model-that-goes-on-1", 1, 0,
                                          0, a, sizeof(a)),
                     STATUS_OK);
    assert_int_equal(run_directory_socket("/r", "a-very-long-name-of-a-model-that-goes-on-2", 2, 0,
                                          0, b, sizeof(b)),
                     STATUS_OK);
    assert_string_not_equal(a, b);
}

/* A socket's path has 107 bytes: "/" x n, "/0-m-0.sock". */
static void a_path_is_refused_one_byte_over_what_a_socket_can_have(void **state)
{
    char folder[128], out[160];

    (void)state;
    memset(folder, 'd', sizeof(folder));
    folder[0] = '/';
    folder[96] = '\0';
    assert_int_equal(run_directory_socket(folder, "m", 0, 0, 0, out, sizeof(out)), STATUS_OK);
    assert_int_equal(strlen(out) - strlen("unix:"), 107);
    folder[96] = 'd';
    folder[97] = '\0';
    assert_int_equal(run_directory_socket(folder, "m", 0, 0, 0, out, sizeof(out)),
                     STATUS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_private_folder_is_made_and_removed),
        cmocka_unit_test(a_configured_folder_is_left_alone),
        cmocka_unit_test(texts_of_versions_go_with_the_gateway_and_nothing_else_does),
        cmocka_unit_test(sockets_have_safe_names_that_differ),
        cmocka_unit_test(a_path_is_refused_one_byte_over_what_a_socket_can_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
