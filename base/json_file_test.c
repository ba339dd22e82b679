#include "json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit_test.h"

static char folder[] = "/tmp/penstock_json_file_XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/a.json", folder);
    (void)unlink(path);
    return rmdir(folder);
}

static void a_length_without_limit_is_a_real(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct error_note note = {""};
    write_file("a.json", "{\"text\": \"1000000000000000000000 \\\" 2000000000000000000000\","
                         " \"long\": 1000000000000000019884624838656,"
                         " \"negative\": -1000000000000000019884624838656,"
                         " \"most\": 9223372036854775807, \"small\": 7, \"real\": 1.5e3}");
    if (folder_json_read(folder, "a.json", &value, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    assert_true(json_real_value(json_object_get(value, "long")) == 1e30);
    assert_true(json_real_value(json_object_get(value, "negative")) == -1e30);
    assert_int_equal(json_integer_value(json_object_get(value, "small")), 7);
    assert_true(json_real_value(json_object_get(value, "real")) == 1500);
    assert_string_equal(json_string_value(json_object_get(value, "text")),
                        "1000000000000000000000 \" 2000000000000000000000");
    json_decref(value);
}

static void what_is_wrong_with_a_file_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        status expected;
    } rows[] = {
        {"[1]", "a.json: ", STATUS_INVALID},
        {"{\"a\": }", "a.json: ", STATUS_INVALID},
        {"{\"a\": 1000000000000000000000, \"a\": 1}", "a.json: ", STATUS_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value = NULL;
        struct error_note note = {""};
        write_file("a.json", rows[i].text);
        assert_int_equal(folder_json_read(folder, "a.json", &value, &note), rows[i].expected);
        assert_non_null(strstr(note.text, rows[i].part));
        assert_null(value);
    }
    json_t *value = NULL;
    assert_int_equal(folder_json_read(folder, "b.json", &value, NULL), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_without_limit_is_a_real),
        cmocka_unit_test(what_is_wrong_with_a_file_is_told),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
