#include "unit_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_log.h"
#include "json.h"

#define TEXT_BYTES 65536u

struct fixture {
    char folder[64], path[128], moved[128];
    access_log *log;
};

static int make(void **state)
{
    static struct fixture fixture;
    struct error_note note;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/access_log_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/access.log", fixture.folder);
    (void)snprintf(fixture.moved, sizeof(fixture.moved), "%s/access.log.1", fixture.folder);
    *state = &fixture;
    return access_log_open(fixture.path, &fixture.log, &note) == STATUS_OK ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    access_log_close(fixture->log);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static struct request_record request(uint32_t number)
{
    struct request_record record = {.ended_ms = 1700000000123,
                                    .duration_ns = 5000000,
                                    .cost_nano = 1500000,
                                    .status_code = 200,
                                    .replica = 1,
                                    .retries = number,
                                    .usage = {.is_known = true, .prompt_tokens = 10},
                                    .finish = "stop",
                                    .route = "/v1/completions",
                                    .model = "llama"};

    (void)snprintf(record.request_id, sizeof(record.request_id), "id-%u", number);
    return record;
}

static void add(struct fixture *fixture, uint32_t number)
{
    struct request_record record = request(number);

    access_log_add(fixture->log, &record);
}

/* Returns how many lines are lost. */
static uint64_t flush(struct fixture *fixture)
{
    uint64_t lost;

    assert_true(access_log_flush(fixture->log, &lost));
    return lost;
}

static size_t file_read(const char *path, char out[TEXT_BYTES])
{
    FILE *file = fopen(path, "re");
    size_t bytes;

    assert_non_null(file);
    bytes = fread(out, 1, TEXT_BYTES - 1, file);
    out[bytes] = '\0';
    assert_int_equal(fclose(file), 0);
    return bytes;
}

/* The number of whole lines, each a JSON object; any that is not fails. */
static uint32_t good_lines(const char *path)
{
    static char text[TEXT_BYTES];
    uint32_t count = 0;

    (void)file_read(path, text);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *value = json_loadb(line, (size_t)(end - line), 0, NULL);

        if (value == NULL)
            fail_msg("no JSON: %.*s", (int)(end - line), line);
        json_decref(value);
        count++;
        if (end[1] == '\0')
            return count;
    }
    assert_int_equal(text[0], '\0');
    return count;
}

static void a_line_says_what_is_known_and_leaves_out_the_rest(void **state)
{
    static const char hostile[] = "\"}\n{\"key\":\"forged\"}\x01\\\xff";
    struct fixture *fixture = *state;
    struct request_record record = request(3);
    static char text[TEXT_BYTES];
    json_t *line;

    (void)snprintf(record.request_id, sizeof(record.request_id), "%s", hostile);
    (void)snprintf(record.trace_id, sizeof(record.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    record.usage.is_estimated = true;
    access_log_add(fixture->log, &record);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(good_lines(fixture->path), 1);
    (void)file_read(fixture->path, text);
    line = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(line, "time")),
                        "2023-11-14T22:13:20.123Z");
    assert_string_equal(json_string_value(json_object_get(line, "finish_reason")), "stop");
    assert_string_equal(json_string_value(json_object_get(line, "trace_id")), record.trace_id);
    assert_true(json_is_true(json_object_get(line, "usage_estimated")));
    assert_int_equal(json_integer_value(json_object_get(line, "retries")), 3);
    assert_null(json_object_get(line, "key"));
    assert_null(json_object_get(line, "error_code"));
    assert_null(json_object_get(line, "busy_ms"));
    assert_null(json_object_get(line, "ttft_ms"));
    json_decref(line);
}

static void nothing_added_is_nothing_written(void **state)
{
    struct fixture *fixture = *state;
    uint64_t lost = 7;

    assert_false(access_log_flush(fixture->log, &lost));
    assert_int_equal(lost, 0);
    assert_int_equal(good_lines(fixture->path), 0);
}

static void a_moved_file_keeps_its_lines_and_a_new_one_gets_the_next(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    struct stat info;

    add(fixture, 1);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    add(fixture, 2); /* before anybody has said so, it goes where the file is */
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(access_log_reopen(fixture->log, &note), STATUS_OK);
    add(fixture, 3);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(good_lines(fixture->moved), 2);
    assert_int_equal(good_lines(fixture->path), 1);
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void a_path_that_cannot_be_opened_again_keeps_the_old_file(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};

    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    assert_int_equal(mkdir(fixture->path, 0700), 0);
    assert_int_equal(access_log_reopen(fixture->log, &note), STATUS_IO);
    assert_non_null(strstr(note.text, fixture->path));
    add(fixture, 1);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(good_lines(fixture->moved), 1);
}

/* The kernel's limit on a file's size stands for a full disk: a write finds room for a part, or none. */
static void a_full_disk_loses_whole_lines_and_counts_them(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before, limit;
    static char text[TEXT_BYTES];
    size_t line_bytes;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    add(fixture, 1);
    assert_int_equal(flush(fixture), 0);
    line_bytes = file_read(fixture->path, text);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = line_bytes * 3 + line_bytes / 2; /* room for two more, and a part */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint32_t i = 2; i < 7; i++)
        add(fixture, i);
    assert_int_equal(flush(fixture), 3);
    assert_int_equal(good_lines(fixture->path), 3);
    add(fixture, 7);
    assert_int_equal(flush(fixture), 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    add(fixture, 8);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(good_lines(fixture->path), 4);
    (void)signal(SIGXFSZ, handler);
}

/* What a machine that went down has left of a line stands alone: the next one is whole. */
static void a_part_of_a_line_is_ended_before_the_next(void **state)
{
    static const char part[] = "{\"time\":\"2026-01-02T03";
    struct fixture *fixture = *state;
    struct error_note note = {""};
    static char text[TEXT_BYTES];
    FILE *file;

    add(fixture, 1);
    assert_int_equal(flush(fixture), 0);
    file = fopen(fixture->path, "ae");
    assert_non_null(file);
    assert_int_equal(fwrite(part, 1, sizeof(part) - 1, file), sizeof(part) - 1);
    assert_int_equal(fclose(file), 0);
    access_log_close(fixture->log);
    assert_int_equal(access_log_open(fixture->path, &fixture->log, &note), STATUS_OK);
    add(fixture, 2);
    assert_int_equal(flush(fixture), 0);
    (void)file_read(fixture->path, text);
    assert_non_null(strstr(text, "T03\n{\"time\":"));
    assert_int_equal(text[strlen(text) - 1], '\n');
    /* Opened once more it is left as it is. */
    access_log_close(fixture->log);
    assert_int_equal(access_log_open(fixture->path, &fixture->log, &note), STATUS_OK);
    assert_null(strstr(text, "\n\n"));
}

/* Nobody reads: the writer does not wait, and who comes late finds whole lines. */
static void a_pipe_that_nobody_reads_loses_lines_and_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    access_log *log;
    uint64_t lost = 0;
    char byte;
    int reader;

    assert_int_equal(mkfifo(fixture->moved, 0600), 0);
    assert_int_equal(access_log_open(fixture->moved, &log, &note),
                     STATUS_IO); /* no reader at all */
    reader = open(fixture->moved, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(access_log_open(fixture->moved, &log, &note), STATUS_OK);
    for (uint32_t i = 0; i < 2000; i++) {
        struct request_record record = request(i);

        access_log_add(log, &record);
    }
    assert_true(access_log_flush(log, &lost));
    assert_in_range(lost, 1, 1999);
    assert_int_equal(read(reader, &byte, 1), 1);
    assert_int_equal(byte, '{');
    access_log_close(log);
    assert_int_equal(close(reader), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(a_line_says_what_is_known_and_leaves_out_the_rest),
        TEST(nothing_added_is_nothing_written),
        TEST(a_moved_file_keeps_its_lines_and_a_new_one_gets_the_next),
        TEST(a_path_that_cannot_be_opened_again_keeps_the_old_file),
        TEST(a_full_disk_loses_whole_lines_and_counts_them),
        TEST(a_part_of_a_line_is_ended_before_the_next),
        TEST(a_pipe_that_nobody_reads_loses_lines_and_holds_up_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
