#include "unit_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail_nth.h"
#include "flight_format.h"
#include "json.h"

/* WRAP: malloc calloc realloc aligned_alloc */

#define STEPS 4u

static struct buffer recorded(uint32_t computed, bool has_begun, const char *path)
{
    const struct flight_options options = {
        .path = path, .model = "team/model", .step_count = STEPS};
    flight_recorder *recorder;
    struct buffer file;

    assert_int_equal(flight_recorder_open(&options, &recorder), STATUS_OK);
    for (uint32_t i = 1; i <= computed + has_begun; i++) {
        struct flight_step step = {.end_ns = 1000 * i,
                                   .step_ns = 10 * i,
                                   .rows = i + 2,
                                   .decodes = 2,
                                   .sequences_total = 9,
                                   .blocks_free = 50 - i,
                                   .sequences = {i, 40, 41, 42, 43, 44},
                                   .state = FLIGHT_BEGUN};

        flight_recorder_note(recorder, &step);
        step.state = FLIGHT_COMPUTED;
        if (i <= computed)
            flight_recorder_note(recorder, &step);
    }
    buffer_init(&file, FLIGHT_BYTES_MAX);
    flight_recorder_copy(recorder, &file);
    assert_int_equal(file.failed, STATUS_OK);
    flight_recorder_close(recorder, false);
    return file;
}

static uint32_t read_all(const struct buffer *file, struct flight_step out[STEPS], uint32_t *torn)
{
    struct error_note note = {""};
    struct flight_head head;

    assert_int_equal(flight_read_head(buffer_slice(file), &head, &note), STATUS_OK);
    assert_int_equal(head.step_count, STEPS);
    return flight_read_steps(buffer_slice(file), &head, out, torn);
}

static void the_last_steps_are_kept_in_their_order(void **state)
{
    struct flight_step steps[STEPS];
    uint32_t torn;

    (void)state;
    for (uint32_t computed = 0; computed < 3 * STEPS; computed++) {
        struct buffer file = recorded(computed, false, NULL);
        uint32_t count = read_all(&file, steps, &torn);

        assert_int_equal(count, computed < STEPS ? computed : STEPS);
        assert_int_equal(torn, 0);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(steps[i].number, computed - count + i + 1);
            assert_int_equal(steps[i].end_ns, 1000 * steps[i].number);
            assert_int_equal(steps[i].state, FLIGHT_COMPUTED);
        }
        buffer_deinit(&file);
    }
}

static void a_step_that_never_ended_is_the_last_one(void **state)
{
    struct flight_step steps[STEPS];
    struct buffer file = recorded(6, true, NULL);
    uint32_t torn;

    (void)state;
    assert_int_equal(read_all(&file, steps, &torn), STEPS);
    assert_int_equal(steps[STEPS - 1].number, 7);
    assert_int_equal(steps[STEPS - 1].state, FLIGHT_BEGUN);
    assert_int_equal(steps[STEPS - 2].state, FLIGHT_COMPUTED);
    buffer_deinit(&file);
}

static void a_torn_record_is_told_and_left_out(void **state)
{
    struct flight_step steps[STEPS];
    struct error_note note = {""};
    struct buffer file = recorded(6, false, NULL), text;
    uint32_t torn;

    (void)state;
    /* Step 6 is in the second place; half of it was written when the process was killed. */
    memset(file.data + FLIGHT_HEAD_BYTES + sizeof(struct flight_record) + 40, 0xa5, 30);
    assert_int_equal(read_all(&file, steps, &torn), STEPS - 1);
    assert_int_equal(torn, 1);
    assert_int_equal(steps[STEPS - 2].number, 5);
    buffer_init(&text, 1u << 20);
    assert_int_equal(flight_write_table(buffer_slice(&file), 100, &text, &note), STATUS_OK);
    assert_non_null(strstr(text.data, "1 torn"));
    buffer_deinit(&text);
    buffer_deinit(&file);
}

static void the_file_has_what_was_noted_without_an_end(void **state)
{
    char folder[] = "/tmp/penstock-flight-XXXXXX", path[64];
    struct buffer file;
    const struct flight_options options = {.path = path, .model = "m", .step_count = STEPS};
    flight_recorder *recorder;
    struct stat found;
    FILE *stream;
    char *bytes;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/a.flight", folder);
    assert_int_equal(close(open(path, O_CREAT | O_RDWR, 0600)), 0);
    file = recorded(9, true, path); /* it is closed as a process that ends badly: the file stays */
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_size, file.bytes);
    bytes = malloc(file.bytes);
    stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(fread(bytes, 1, file.bytes, stream), file.bytes);
    assert_memory_equal(bytes, file.data, file.bytes);
    (void)fclose(stream);
    free(bytes);
    buffer_deinit(&file);
    assert_int_equal(flight_recorder_open(&options, &recorder), STATUS_OK);
    flight_recorder_close(recorder, true); /* who ends well leaves an empty one */
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_size, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void what_is_no_recording_is_refused(void **state)
{
    struct error_note note = {""};
    struct flight_head head;
    struct buffer file = recorded(2, false, NULL);
    struct flight_file_head *written = (void *)file.data;

    (void)state;
    assert_int_equal(flight_read_head((struct text_slice){"", 0}, &head, &note), STATUS_INVALID);
    assert_int_equal(flight_read_head((struct text_slice){file.data, file.bytes - 1}, &head, &note),
                     STATUS_INVALID);
    written->step_count = STEPS + 1;
    assert_int_equal(flight_read_head(buffer_slice(&file), &head, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "5 steps"));
    written->step_count = UINT32_MAX;
    assert_int_equal(flight_read_head(buffer_slice(&file), &head, &note), STATUS_INVALID);
    written->step_count = 0;
    assert_int_equal(flight_read_head(buffer_slice(&file), &head, &note), STATUS_INVALID);
    written->step_count = STEPS;
    written->version = 9;
    assert_int_equal(flight_read_head(buffer_slice(&file), &head, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "version 9"));
    written->magic = 1;
    assert_int_equal(flight_read_head(buffer_slice(&file), &head, &note), STATUS_INVALID);
    buffer_deinit(&file);
}

static void json_tells_the_last_of_them(void **state)
{
    struct error_note note = {""};
    struct buffer file = recorded(6, false, NULL), text;
    json_t *json, *steps;

    (void)state;
    buffer_init(&text, 1u << 20);
    assert_int_equal(flight_write_json(buffer_slice(&file), 2, &text, &note), STATUS_OK);
    json = json_loadb(text.data, text.bytes, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "model")), "team/model");
    steps = json_object_get(json, "steps");
    assert_int_equal(json_array_size(steps), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(steps, 1), "number")), 6);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(steps, 1), "prompt_rows")),
                     6);
    assert_int_equal(json_array_size(json_object_get(json_array_get(steps, 1), "sequences")),
                     FLIGHT_SEQUENCES);
    json_decref(json);
    buffer_deinit(&text);
    buffer_deinit(&file);
}

static void without_memory_or_a_folder_there_is_no_recorder(void **state)
{
    struct flight_options options = {.model = "m", .step_count = STEPS};
    flight_recorder *recorder = NULL;

    (void)state;
    fail_nth_begin(1);
    assert_int_equal(flight_recorder_open(&options, &recorder), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
    options.path = "/nowhere/at/all.flight";
    assert_int_equal(flight_recorder_open(&options, &recorder), STATUS_NOT_FOUND);
    options.path = "/";
    assert_int_equal(flight_recorder_open(&options, &recorder), STATUS_IO);
    flight_recorder_close(NULL, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_steps_are_kept_in_their_order),
        cmocka_unit_test(a_step_that_never_ended_is_the_last_one),
        cmocka_unit_test(a_torn_record_is_told_and_left_out),
        cmocka_unit_test(the_file_has_what_was_noted_without_an_end),
        cmocka_unit_test(what_is_no_recording_is_refused),
        cmocka_unit_test(json_tells_the_last_of_them),
        cmocka_unit_test(without_memory_or_a_folder_there_is_no_recorder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
