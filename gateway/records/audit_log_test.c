#include "unit_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit_counts.h"
#include "audit_log.h"
#include "test_state.h"

#define LINES 6u

struct fixture {
    char folder[64], path[128], database_path[128];
    state_database *database;
    audit_log *log;
};

static const struct audit_event event = {"somebody", "key.create", "key_1 \"quoted\"",
                                         "line\nfeed"};

static int make(void **state)
{
    static struct fixture fixture;
    struct error_note note;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/audit_log_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/audit.log", fixture.folder);
    (void)snprintf(fixture.database_path, sizeof(fixture.database_path), "%s/s.db", fixture.folder);
    *state = &fixture;
    if (test_state_open_empty(fixture.database_path, &fixture.database, &note) != STATUS_OK ||
        audit_log_open(fixture.path, fixture.database, &fixture.log, &note) != STATUS_OK)
        return -1;
    for (unsigned i = 0; i < LINES; i++) {
        if (audit_log_append(fixture.log, &event, 1000 * i, &note) != STATUS_OK)
            return -1;
    }
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    audit_log_close(fixture->log);
    state_database_close(fixture->database);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static size_t file_read(const struct fixture *fixture, char *out, size_t bytes_max)
{
    FILE *file = fopen(fixture->path, "re");
    size_t bytes;

    assert_non_null(file);
    bytes = fread(out, 1, bytes_max, file);
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void file_write(const struct fixture *fixture, const char *data, size_t bytes)
{
    FILE *file = fopen(fixture->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* The number of the first bad line; 0: none. */
static uint64_t bad_line(const struct fixture *fixture)
{
    struct error_note note = {""};
    struct audit_verdict verdict;

    assert_int_equal(audit_log_verify(fixture->path, fixture->database, &verdict, &note),
                     STATUS_OK);
    assert_true((verdict.bad_line == 0) == (verdict.reason[0] == '\0'));
    return verdict.bad_line;
}

static const char *line_at(const char *text, unsigned index)
{
    while (index-- > 0)
        text = strchr(text, '\n') + 1;
    return text;
}

static void a_log_as_it_was_written_is_good(void **state)
{
    struct fixture *fixture = *state;
    struct audit_verdict verdict;
    struct error_note note;

    assert_int_equal(audit_log_verify(fixture->path, fixture->database, &verdict, &note),
                     STATUS_OK);
    assert_int_equal(verdict.bad_line, 0);
    assert_int_equal(verdict.line_count, LINES);
    assert_true(verdict.has_head);
}

static void every_byte_that_is_changed_is_found(void **state)
{
    struct fixture *fixture = *state;
    char text[8192];
    size_t bytes = file_read(fixture, text, sizeof(text)), line = 1;

    for (size_t i = 0; i < bytes; i++) {
        char before = text[i];
        uint64_t found;

        text[i] = before == 'x' ? 'y' : 'x';
        file_write(fixture, text, bytes);
        found = bad_line(fixture);
        assert_int_equal(found, line);
        text[i] = before;
        line += before == '\n';
    }
    file_write(fixture, text, bytes);
    assert_int_equal(bad_line(fixture), 0);
}

static void every_line_that_is_removed_is_found(void **state)
{
    struct fixture *fixture = *state;
    char text[8192] = "", without[8192];
    size_t bytes = file_read(fixture, text, sizeof(text) - 1);

    for (unsigned i = 0; i < LINES; i++) {
        size_t begin = (size_t)(line_at(text, i) - text),
               end = (size_t)(line_at(text, i + 1) - text);

        memcpy(without, text, begin);
        memcpy(without + begin, text + end, bytes - end);
        file_write(fixture, without, bytes - (end - begin));
        assert_int_equal(bad_line(fixture), i + 1);
    }
}

static void every_end_that_is_cut_off_is_found(void **state)
{
    struct fixture *fixture = *state;
    char text[8192] = "";
    size_t bytes = file_read(fixture, text, sizeof(text) - 1), line = 1;

    for (size_t i = 0; i < bytes; i++) {
        file_write(fixture, text, i);
        assert_int_equal(bad_line(fixture), line);
        line += text[i] == '\n';
    }
}

static void lines_that_are_swapped_are_found(void **state)
{
    struct fixture *fixture = *state;
    char text[8192] = "", swapped[8192];
    size_t bytes = file_read(fixture, text, sizeof(text) - 1);
    const char *second = line_at(text, 1), *third = line_at(text, 2), *fourth = line_at(text, 3);
    size_t at = (size_t)(second - text);

    memcpy(swapped, text, bytes);
    memcpy(swapped + at, third, (size_t)(fourth - third));
    memcpy(swapped + at + (fourth - third), second, (size_t)(third - second));
    file_write(fixture, swapped, bytes);
    assert_int_equal(bad_line(fixture), 2);
}

static void a_chain_that_was_made_anew_is_not_the_one_that_is_known(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note;
    audit_log *forged;

    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(audit_log_open(fixture->path, NULL, &forged, &note), STATUS_OK);
    for (unsigned i = 0; i < LINES + 2; i++)
        assert_int_equal(audit_log_append(forged, &event, 77, &note), STATUS_OK);
    audit_log_close(forged);
    assert_int_equal(bad_line(fixture), LINES);
}

static void nothing_is_written_behind_an_end_that_was_cut(void **state)
{
    struct fixture *fixture = *state;
    char text[8192] = "";
    struct error_note note = {""};

    (void)file_read(fixture, text, sizeof(text) - 1);
    file_write(fixture, text, (size_t)(line_at(text, LINES - 1) - text));
    assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "cut or replaced"));
    assert_int_equal(bad_line(fixture), LINES);
}

static void a_part_of_a_line_that_a_crash_left_goes(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    int descriptor = open(fixture->path, O_WRONLY | O_APPEND | O_CLOEXEC);

    assert_int_equal(write(descriptor, "{\"seq\":7,", 9), 9);
    close(descriptor);
    assert_int_equal(bad_line(fixture), LINES + 1);
    assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_OK);
    assert_int_equal(bad_line(fixture), 0);
}

static void two_writers_share_one_chain(void **state)
{
    struct fixture *fixture = *state;
    struct audit_verdict verdict;
    struct error_note note;
    audit_log *other;

    assert_int_equal(audit_log_open(fixture->path, fixture->database, &other, &note), STATUS_OK);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(audit_log_append(other, &event, 1, &note), STATUS_OK);
        assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_OK);
    }
    audit_log_close(other);
    assert_int_equal(audit_log_verify(fixture->path, fixture->database, &verdict, &note),
                     STATUS_OK);
    assert_int_equal(verdict.bad_line, 0);
    assert_int_equal(verdict.line_count, LINES + 20);
}

/* The kernel's limit on a file's size stands for a full disk: a write finds room for a part, or none. */
static void a_line_that_finds_no_room_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    char text[16384];
    size_t bytes = file_read(fixture, text, sizeof(text));
    struct rlimit before, limit;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t room = 0; room < 100; room += 33) {
        limit = before;
        limit.rlim_cur = bytes + room;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_IO);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(file_read(fixture, text, sizeof(text)), bytes);
        assert_int_equal(bad_line(fixture), 0);
    }
    assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_OK);
    assert_int_equal(bad_line(fixture), 0);
    (void)signal(SIGXFSZ, handler);
}

static void texts_of_any_length_make_a_line_that_is_good(void **state)
{
    struct fixture *fixture = *state;
    static char text[20000];
    struct error_note note = {""};
    const struct audit_event large = {text, text, text, text};

    memset(text, 1, sizeof(text) - 1); /* each byte is escaped */
    assert_int_equal(audit_log_append(fixture->log, &large, 1, &note), STATUS_OK);
    assert_int_equal(audit_log_append(fixture->log, &event, 1, &note), STATUS_OK);
    assert_int_equal(bad_line(fixture), 0);
}

/* --- counts --- */

struct taken {
    uint32_t calls, fail_at;
    uint64_t count;
};

static status take(void *context, const struct audit_count *count)
{
    struct taken *taken = context;

    if (++taken->calls == taken->fail_at)
        return STATUS_IO;
    taken->count += count->count;
    return STATUS_OK;
}

static void a_flood_is_few_lines_and_none_is_forgotten(void **state)
{
    static struct audit_counts counts;
    struct request_record record = {.audit_action = "auth.failure"};
    struct taken taken = {.fail_at = 3};

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(record.peer, sizeof(record.peer), "192.0.2.%u", i % 500);
        audit_counts_add(&counts, &record);
    }
    assert_int_equal(counts.used, AUDIT_COUNTS_MAX + 1);
    assert_int_equal(audit_counts_flush(&counts, take, &taken), STATUS_IO);
    assert_int_equal(counts.used, AUDIT_COUNTS_MAX - 1);
    taken.fail_at = 0;
    assert_int_equal(audit_counts_flush(&counts, take, &taken), STATUS_OK);
    assert_int_equal(counts.used, 0);
    assert_int_equal(taken.count, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_log_as_it_was_written_is_good, make, drop),
        cmocka_unit_test_setup_teardown(every_byte_that_is_changed_is_found, make, drop),
        cmocka_unit_test_setup_teardown(every_line_that_is_removed_is_found, make, drop),
        cmocka_unit_test_setup_teardown(every_end_that_is_cut_off_is_found, make, drop),
        cmocka_unit_test_setup_teardown(lines_that_are_swapped_are_found, make, drop),
        cmocka_unit_test_setup_teardown(a_chain_that_was_made_anew_is_not_the_one_that_is_known,
                                        make, drop),
        cmocka_unit_test_setup_teardown(nothing_is_written_behind_an_end_that_was_cut, make, drop),
        cmocka_unit_test_setup_teardown(a_part_of_a_line_that_a_crash_left_goes, make, drop),
        cmocka_unit_test_setup_teardown(two_writers_share_one_chain, make, drop),
        cmocka_unit_test_setup_teardown(a_line_that_finds_no_room_leaves_nothing, make, drop),
        cmocka_unit_test_setup_teardown(texts_of_any_length_make_a_line_that_is_good, make, drop),
        cmocka_unit_test(a_flood_is_few_lines_and_none_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
