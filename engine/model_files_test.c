#include "unit_test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model_files.h"

static char scratch[64], listed[4096];

static void on_file(void *context, const char *path, bool is_written)
{
    size_t used = strlen(listed);
    const char *below =
        strncmp(path, scratch, strlen(scratch)) == 0 ? path + strlen(scratch) : path;

    (void)context;
    (void)snprintf(listed + used, sizeof listed - used, "%s%s\n", below, is_written ? " w" : "");
}

static const char *in_scratch(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

static void list(const char *model, const char *setting)
{
    listed[0] = '\0';
    model_files_list(in_scratch(model), setting, on_file, NULL);
}

static void make(const char *name)
{
    FILE *file = fopen(in_scratch(name), "we");

    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static int begin(void **state)
{
    char real[64];

    (void)state;
    (void)snprintf(real, sizeof real, "/tmp/model_files_test.XXXXXX");
    assert_non_null(mkdtemp(real));
    (void)snprintf(scratch, sizeof scratch, "%s", real);
    return setenv("PENSTOCK_HOME", in_scratch("home"), 1); // NOLINT: one thread
}

static int end(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

static void a_model_is_read_with_what_was_kept_of_it(void **state)
{
    (void)state;
    make("m.gguf");
    make("m.gguf.cpu-weights");
    make("m.gguf2.cpu-weights");
    make("m.gguf.txt");
    list("m.gguf", "auto");
    assert_string_equal(listed, "/m.gguf\n//m.gguf.cpu-weights\n/home/weights w\n");
    assert_int_equal(access(in_scratch("home/weights"), W_OK), 0); /* it was made */
}

static void nothing_is_written_without_a_cache(void **state)
{
    (void)state;
    make("m.gguf");
    make("m.gguf.cpu-weights");
    list("m.gguf", "off");
    assert_string_equal(listed, "/m.gguf\n");
    assert_int_not_equal(access(in_scratch("home"), F_OK), 0);
}

static void a_folder_of_its_own_is_written(void **state)
{
    (void)state;
    make("m.gguf");
    list("m.gguf", in_scratch("deep/cache"));
    assert_string_equal(listed, "/m.gguf\n/deep/cache w\n");
    assert_int_equal(access(in_scratch("deep/cache"), W_OK), 0);
}

static void links_are_followed_to_where_they_lead(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_scratch("blobs"), 0700), 0);
    assert_int_equal(mkdir(in_scratch("snapshot"), 0700), 0);
    make("blobs/1");
    make("blobs/2");
    make("snapshot/config.json");
    assert_int_equal(symlink("../blobs/1", in_scratch("snapshot/tokenizer.json")), 0);
    assert_int_equal(symlink("../blobs/2", in_scratch("snapshot/model.safetensors")), 0);
    assert_int_equal(symlink("../blobs/gone", in_scratch("snapshot/gone")), 0);
    list("snapshot", "off");
    assert_string_equal(listed, "/snapshot\n/blobs\n");
}

static void a_model_that_is_not_there_is_only_named(void **state)
{
    (void)state;
    list("nowhere/m.gguf", "off");
    assert_string_equal(listed, "/nowhere/m.gguf\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_model_is_read_with_what_was_kept_of_it, begin, end),
        cmocka_unit_test_setup_teardown(nothing_is_written_without_a_cache, begin, end),
        cmocka_unit_test_setup_teardown(a_folder_of_its_own_is_written, begin, end),
        cmocka_unit_test_setup_teardown(links_are_followed_to_where_they_lead, begin, end),
        cmocka_unit_test_setup_teardown(a_model_that_is_not_there_is_only_named, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
