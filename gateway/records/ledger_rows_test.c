#include "unit_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger_rows.h"

struct fixture {
    char folder[64], file[128];
};

static int make(void **state)
{
    static struct fixture fixture;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/ledger_rows_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.file, sizeof(fixture.file), "%s/ledger", fixture.folder);
    *state = &fixture;
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static struct ledger_rows *rows_open(const char *file, uint32_t capacity)
{
    struct ledger_rows *rows = NULL;
    struct error_note note = {""};

    assert_int_equal(ledger_rows_open(file, capacity, &rows, &note), STATUS_OK);
    return rows;
}

static status add(struct ledger_rows *rows, uint64_t number)
{
    struct request_record record = {
        .number = number, .route = "/v1/completions", .model = "llama", .finish = "stop"};

    return ledger_rows_add(rows, 7, &record);
}

static void rows_are(const struct ledger_rows *rows, uint64_t first, uint32_t count)
{
    assert_int_equal(ledger_rows_count(rows), count);
    for (uint32_t i = 0; i < count; i++) {
        const struct ledger_row *row = ledger_rows_at(rows, i);

        assert_int_equal(row->record.number, first + i);
        assert_int_equal(row->process, 7);
        assert_string_equal(row->record.route, "/v1/completions");
        assert_string_equal(row->record.model, "llama");
        assert_string_equal(row->record.finish, "stop");
    }
}

static void the_first_in_is_the_first_out_round_and_round(void **state)
{
    struct ledger_rows *rows = rows_open(NULL, 3);
    uint64_t next = 1;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        while (add(rows, next) == STATUS_OK)
            next++;
        rows_are(rows, next - 3, 3);
        ledger_rows_drop(rows, 2);
        rows_are(rows, next - 1, 1);
    }
    ledger_rows_close(rows);
}

static void a_killed_process_leaves_its_rows(void **state)
{
    const char *file = ((struct fixture *)*state)->file;
    struct ledger_rows *rows;
    pid_t child = fork();
    int how = 0;

    if (child == 0) {
        rows = rows_open(file, 4);
        for (uint64_t number = 1; number <= 4; number++)
            (void)add(rows, number);
        ledger_rows_drop(rows, 3);
        (void)add(rows, 5);
        (void)kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    rows = rows_open(file, 4);
    rows_are(rows, 4, 2);
    assert_int_equal(add(rows, 6), STATUS_OK);
    rows_are(rows, 4, 3);
    ledger_rows_close(rows);
}

static void another_capacity_keeps_their_order(void **state)
{
    const char *file = ((struct fixture *)*state)->file;
    struct ledger_rows *rows = rows_open(file, 4);
    struct error_note note = {""};

    for (uint64_t number = 1; number <= 4; number++)
        assert_int_equal(add(rows, number), STATUS_OK);
    ledger_rows_drop(rows, 2);
    assert_int_equal(add(rows, 5), STATUS_OK);
    ledger_rows_close(rows);
    rows = rows_open(file, 9);
    rows_are(rows, 3, 3);
    ledger_rows_close(rows);
    rows = rows_open(file, 3);
    rows_are(rows, 3, 3);
    ledger_rows_close(rows);
    assert_int_equal(ledger_rows_open(file, 2, &rows, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "records.ledger_memory"));
}

static void one_process_has_it_at_a_time(void **state)
{
    const char *file = ((struct fixture *)*state)->file;
    struct ledger_rows *rows = rows_open(file, 4), *other = NULL;
    struct error_note note = {""};

    assert_int_equal(ledger_rows_open(file, 4, &other, &note), STATUS_IO);
    assert_non_null(strstr(note.text, "another gateway"));
    ledger_rows_close(rows);
    ledger_rows_close(rows_open(file, 4));
}

static void what_waits_in_another_file_is_taken_once_its_process_is_gone(void **state)
{
    const char *file = ((struct fixture *)*state)->file;
    char other_file[160];
    struct ledger_rows *rows = rows_open(file, 4), *other;
    struct error_note note = {""};

    (void)snprintf(other_file, sizeof(other_file), "%s-1", file);
    assert_int_equal(ledger_rows_take(rows, other_file, &note), STATUS_OK); /* there is none */
    other = rows_open(other_file, 4);
    for (uint64_t number = 2; number <= 4; number++)
        assert_int_equal(add(other, number), STATUS_OK);
    assert_int_equal(add(rows, 1), STATUS_OK);
    assert_int_equal(ledger_rows_take(rows, other_file, &note), STATUS_OK); /* it is in use */
    rows_are(rows, 1, 1);
    ledger_rows_close(other);
    assert_int_equal(ledger_rows_take(rows, other_file, &note), STATUS_OK);
    rows_are(rows, 1, 4);
    assert_int_equal(access(other_file, F_OK), -1);
    other = rows_open(other_file, 4);
    assert_int_equal(add(other, 5), STATUS_OK);
    ledger_rows_close(other);
    assert_int_equal(ledger_rows_take(rows, other_file, &note), STATUS_FULL);
    assert_non_null(strstr(note.text, "records.ledger_memory"));
    assert_int_equal(access(other_file, F_OK), 0);
    assert_int_equal(unlink(other_file), 0);
    ledger_rows_close(rows);
}

static void rows_of_another_layout_are_refused_and_kept(void **state)
{
    const char *file = ((struct fixture *)*state)->file;
    struct ledger_rows *rows = rows_open(file, 4);
    struct error_note note = {""};
    int descriptor;

    assert_int_equal(add(rows, 1), STATUS_OK);
    ledger_rows_close(rows);
    descriptor = open(file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(descriptor, "other", 5, 0), 5); /* in its number */
    close(descriptor);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ledger_rows_open(file, 4, &rows, &note), STATUS_INVALID);
        assert_non_null(strstr(note.text, "another version"));
    }
}

static void a_folder_that_is_not_there_is_told(void **state)
{
    struct ledger_rows *rows = NULL;
    struct error_note note = {""};

    (void)state;
    assert_int_equal(ledger_rows_open("/nowhere/ledger", 4, &rows, &note), STATUS_IO);
    assert_non_null(strstr(note.text, "/nowhere/ledger cannot be opened"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(the_first_in_is_the_first_out_round_and_round),
        TEST(a_killed_process_leaves_its_rows),
        TEST(another_capacity_keeps_their_order),
        TEST(one_process_has_it_at_a_time),
        TEST(what_waits_in_another_file_is_taken_once_its_process_is_gone),
        TEST(rows_of_another_layout_are_refused_and_kept),
        TEST(a_folder_that_is_not_there_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
