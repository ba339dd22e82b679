#include "pooling_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "unit_test.h"

static char folder[] = "/tmp/penstock-pooling-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
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
    static const char *const names[] = {"modules.json", "config.json"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void a_folder_without_modules_tells_nothing(void **state)
{
    struct pooling_facts facts;
    struct error_note note = {""};
    (void)state;
    assert_int_equal(pooling_facts_read_folder(folder, &facts, &note), STATUS_OK);
    assert_false(facts.are_told || facts.normalizes);
}

static void modules_tell_the_pooling(void **state)
{
    static const struct {
        const char *modules, *pooling;
        status result;
        enum pooling_kind kind;
        bool normalizes;
    } rows[] = {
        {"[{\"type\":\"a.Transformer\"},{\"type\":\"a.Pooling\",\"path\":\".\"}]",
         "{\"pooling_mode_lasttoken\":true,\"pooling_mode_cls_token\":false}", STATUS_OK,
         POOLING_LAST, false},
        {"[{\"type\":\"a.Pooling\",\"path\":\".\"},{\"type\":\"a.Normalize\"}]",
         "{\"pooling_mode_mean_tokens\":true}", STATUS_OK, POOLING_MEAN, true},
        {"[{\"type\":\"a.Pooling\",\"path\":\".\"}]",
         "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_max_tokens\":true}", STATUS_UNSUPPORTED,
         POOLING_MEAN, false},
        {"[{\"type\":\"a.Pooling\",\"path\":\"gone\"}]", "{}", STATUS_INVALID, POOLING_MEAN, false},
        {"[{\"type\":\"a.Pooling\",\"path\":\".\"},{\"type\":\"a.Dense\"}]",
         "{\"pooling_mode_cls_token\":true}", STATUS_UNSUPPORTED, POOLING_MEAN, false},
        {"[", "{}", STATUS_INVALID, POOLING_MEAN, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct pooling_facts facts;
        struct error_note note = {""};
        write_file("modules.json", rows[i].modules);
        write_file("config.json", rows[i].pooling);
        assert_int_equal(pooling_facts_read_folder(folder, &facts, &note), rows[i].result);
        assert_int_equal(facts.are_told, rows[i].result == STATUS_OK);
        if (rows[i].result != STATUS_OK) {
            assert_true(note.text[0] != '\0');
            continue;
        }
        assert_int_equal(facts.kind, rows[i].kind);
        assert_int_equal(facts.normalizes, rows[i].normalizes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_without_modules_tells_nothing),
        cmocka_unit_test(modules_tell_the_pooling),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
