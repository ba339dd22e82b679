#include "unit_test.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "log.h"
#include "thread.h"

/* Sends stderr to a file while `act` runs; returns what was written. Free it. */
static char *capture(void (*act)(void))
{
    char path[] = "/tmp/penstock-log-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    int kept = dup(STDERR_FILENO);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    act();
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    off_t bytes = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)bytes + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)bytes, 0), bytes);
    close(fd);
    return text;
}

static void write_before_start(void)
{
    log_set_level(LOG_INFO);
    log_info("base/log_test", "hello %d", 42);
    log_debug("base/log_test", "not shown");
}

static void a_line_has_time_level_area_and_message(void **state)
{
    (void)state;
    char *text = capture(write_before_start);
    unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, millisecond = 0;
    int end = 0;
    int fields = sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ%n", &year, &month, &day, &hour, &minute,
                        &second, &millisecond, &end);
    assert_int_equal(fields, 7);
    assert_true(year >= 2024 && month <= 12 && day <= 31 && hour < 24 && minute < 60 &&
                second <= 60);
    assert_string_equal(text + end, " info base/log_test hello 42\n");
    free(text);
}

static void write_json(void)
{
    const struct log_options options = {
        .level = LOG_DEBUG, .is_json = true, .role = "replica \"a\"#0"};
    CHECK(log_start(&options) == STATUS_OK);
    log_warn("area", "quote \" slash \\ line\nbreak \x01 broken \xff end \xc3\xa9");
    log_debug("area", "second");
    log_stop();
}

static void json_lines_parse_and_carry_the_same_fields(void **state)
{
    (void)state;
    char *text = capture(write_json);
    char *second = strchr(text, '\n');
    assert_non_null(second);
    *second++ = '\0';
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "role")), "replica \"a\"#0");
    assert_string_equal(json_string_value(json_object_get(line, "area")), "area");
    assert_string_equal(json_string_value(json_object_get(line, "message")),
                        "quote \" slash \\ line\nbreak \x01 broken \xc3\xbf end \xc3\xa9");
    assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), 24);
    json_decref(line);
    line = json_loads(second, 0, NULL);
    assert_non_null(line);
    json_decref(line);
    free(text);
}

static void write_forged(void)
{
    const struct log_options options = {.level = LOG_INFO, .role = "gateway"};
    CHECK(log_start(&options) == STATUS_OK);
    log_error("area", "a\n2026-01-01T00:00:00.000Z info forged");
    log_stop();
}

static void nobody_can_forge_a_second_line(void **state)
{
    (void)state;
    char *text = capture(write_forged);
    char *newline = strchr(text, '\n');
    assert_non_null(newline);
    assert_int_equal(newline[1], '\0');
    assert_non_null(strstr(text, " error [gateway] area a\\x0a2026"));
    free(text);
}

static void write_long(void)
{
    char *message = malloc(100000);
    CHECK(message != NULL);
    memset(message, 'x', 99999);
    message[99999] = '\0';
    const struct log_options options = {.level = LOG_INFO, .is_json = true};
    CHECK(log_start(&options) == STATUS_OK);
    log_info("area", "%s", message);
    memset(message, '\n', 99999); /* each byte becomes six */
    log_info("area", "%s", message);
    log_stop();
    free(message);
}

static void long_lines_are_cut_and_still_whole_json(void **state)
{
    (void)state;
    char *text = capture(write_long);
    int count = 0;
    for (char *at = text; *at != '\0'; count++) {
        char *newline = strchr(at, '\n');
        assert_non_null(newline);
        *newline = '\0';
        assert_true(newline - at < 2048);
        json_t *line = json_loads(at, 0, NULL);
        assert_non_null(line);
        json_decref(line);
        at = newline + 1;
    }
    assert_int_equal(count, 2);
    free(text);
}

#define WRITER_COUNT 4
#define LINE_COUNT   2000

static void *write_many(void *context)
{
    for (int i = 0; i < LINE_COUNT; i++)
        log_info("area", "%c %d", *(const char *)context, i);
    return NULL;
}

static void write_from_many_threads(void)
{
    static const char names[WRITER_COUNT + 1] = "ABCD";
    const struct log_options options = {.level = LOG_INFO};
    CHECK(log_start(&options) == STATUS_OK);
    pthread_t threads[WRITER_COUNT];
    for (int i = 0; i < WRITER_COUNT; i++)
        CHECK(thread_start(&threads[i], "logger", write_many, (void *)&names[i]) == STATUS_OK);
    for (int i = 0; i < WRITER_COUNT; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    log_stop();
}

static void every_line_of_many_threads_is_written_or_counted_as_dropped(void **state)
{
    (void)state;
    uint64_t dropped_before = log_dropped_count();
    char *text = capture(write_from_many_threads);
    uint64_t written = 0;
    int last[WRITER_COUNT] = {-1, -1, -1, -1};
    for (char *at = text; *at != '\0';) {
        char *newline = strchr(at, '\n');
        assert_non_null(newline);
        *newline = '\0';
        char *found = strstr(at, " info area ");
        if (found != NULL) { /* the others say how many were dropped */
            char name;
            int number;
            assert_int_equal(sscanf(found + 11, "%c %d", &name, &number), 2);
            assert_true(number > last[name - 'A']); /* in order */
            last[name - 'A'] = number;
            written++;
        }
        at = newline + 1;
    }
    assert_int_equal(written + (log_dropped_count() - dropped_before), WRITER_COUNT * LINE_COUNT);
    free(text);
}

static void write_under_guard(void)
{
    const struct log_options options = {.level = LOG_INFO};
    CHECK(log_start(&options) == STATUS_OK);
    alloc_guard_begin();
    log_info("area", "from a step");
    alloc_guard_end();
    log_stop();
}

static void logging_allocates_nothing(void **state)
{
    (void)state;
    char *text = capture(write_under_guard);
    assert_non_null(strstr(text, "from a step"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_area_and_message),
        cmocka_unit_test(json_lines_parse_and_carry_the_same_fields),
        cmocka_unit_test(nobody_can_forge_a_second_line),
        cmocka_unit_test(long_lines_are_cut_and_still_whole_json),
        cmocka_unit_test(every_line_of_many_threads_is_written_or_counted_as_dropped),
        cmocka_unit_test(logging_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
