#include "unit_test.h"

#include "calibration.h"

static void what_is_written_is_read_back(void **state)
{
    const struct step_cost cost = {12345678.5, 321.25, 0.125};
    struct step_cost got = {0, 0, 0};
    struct error_note note;
    struct buffer text;

    (void)state;
    buffer_init(&text, 4096);
    calibration_write("a \"model\"", &cost, &text);
    assert_int_equal(calibration_read(buffer_slice(&text), "a \"model\"", &got, &note), STATUS_OK);
    assert_memory_equal(&got, &cost, sizeof(cost));
    assert_int_equal(calibration_read(buffer_slice(&text), "another", &got, &note),
                     STATUS_NOT_FOUND);
    buffer_deinit(&text);
}

static void wrong_files_are_refused(void **state)
{
    const char *const bad[] = {"",
                               "[]",
                               "{}",
                               "{\"models\":[{\"name\":\"m\",\"calibration\":{}}]}",
                               "{\"models\":[{\"name\":\"m\",\"calibration\":{\"fixed_ns\":0,"
                               "\"prefill_token_ns\":1,\"kv_token_ns\":1}}]}",
                               "{\"models\":[{\"name\":\"m\",\"calibration\":{\"fixed_ns\":1,"
                               "\"prefill_token_ns\":-1,\"kv_token_ns\":1}}]}",
                               "{\"models\":[{\"name\":\"m\",\"calibration\":{\"fixed_ns\":1,"
                               "\"prefill_token_ns\":\"1\",\"kv_token_ns\":1}}]}"};
    struct step_cost got;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error_note note = {""};

        assert_int_equal(calibration_read(text_slice_of(bad[i]), "m", &got, &note), STATUS_INVALID);
        assert_true(note.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(wrong_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
