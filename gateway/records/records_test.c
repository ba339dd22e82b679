#include "unit_test.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "records.h"
#include "test_state.h"

/* The way from the loops to the files, with the writer's thread. Nothing here looks at the clock: what is to happen is waited
 * for. */

#define QUEUE 64

struct fixture {
    char folder[64], access_log[128], audit_log[128], database[128];
    struct config config;
    metrics_registry *registry;
    struct records *records;
};

static int make(void **state)
{
    static struct fixture fixture;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/records_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL || metrics_registry_create(&fixture.registry) != STATUS_OK)
        return -1;
    (void)snprintf(fixture.access_log, sizeof(fixture.access_log), "%s/access", fixture.folder);
    (void)snprintf(fixture.audit_log, sizeof(fixture.audit_log), "%s/audit", fixture.folder);
    (void)snprintf(fixture.database, sizeof(fixture.database), "%s/s.db", fixture.folder);
    fixture.config = (struct config){.state = {.database = fixture.database,
                                               .postgres = "",
                                               .postgres_password_file = "",
                                               .postgres_password_env = "",
                                               .spool = "",
                                               .redis = "",
                                               .redis_password_file = "",
                                               .redis_password_env = ""},
                                     .records = {.access_log = fixture.access_log,
                                                 .audit_log = fixture.audit_log,
                                                 .ledger = true,
                                                 .ledger_full = LEDGER_FULL_CONTINUE,
                                                 .ledger_memory = 4,
                                                 .queue = QUEUE,
                                                 .interval_ns = NS_PER_MS,
                                                 .keep_requests_ns = 3600 * NS_PER_SECOND,
                                                 .keep_hours_ns = 3600 * NS_PER_SECOND}};
    fixture.records = NULL;
    *state = &fixture;
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    records_stop(fixture->records);
    records_close(fixture->records);
    metrics_registry_destroy(fixture->registry);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static void start(struct fixture *fixture)
{
    struct error_note note = {""};

    if (records_open(&fixture->config, 2, fixture->registry, NULL, &fixture->records, &note) !=
        STATUS_OK)
        fail_msg("%s", note.text);
    assert_int_equal(records_start(fixture->records), STATUS_OK);
}

static void fill(struct request_record *record)
{
    *record = (struct request_record){.ended_ms = clock_wall_ms(),
                                      .status_code = 200,
                                      .is_metered = true,
                                      .cost_nano = RECORD_NO_COST,
                                      .replica = RECORD_NO_REPLICA,
                                      .usage = {.is_known = true, .completion_tokens = 2},
                                      .finish = "",
                                      .route = "/v1/completions",
                                      .model = "llama"};
}

static bool put(struct fixture *fixture, uint32_t loop)
{
    struct request_record *record = records_take(fixture->records, loop);

    if (record == NULL)
        return false;
    fill(record);
    records_put(fixture->records, loop, record);
    return true;
}

static uint32_t lines_of(const char *path)
{
    FILE *file = fopen(path, "re");
    uint32_t count = 0;
    int c;

    if (file == NULL)
        return 0;
    while ((c = fgetc(file)) != EOF)
        count += c == '\n';
    assert_int_equal(fclose(file), 0);
    return count;
}

/* A generous wait for what the writer does by itself. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t end_ns = clock_now_ns() + 60 * NS_PER_SECOND;                                     \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < end_ns);                                                  \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

/* Of a metric without labels but `stream`; -1: it is not there. */
static double metric(const struct fixture *fixture, const char *line_begin)
{
    struct buffer text;
    const char *at;
    double value = -1;

    buffer_init(&text, 1u << 20);
    metrics_write(fixture->registry, METRICS_TEXT, &text);
    buffer_append_byte(&text, '\0');
    at = strstr(text.data, line_begin);
    if (at != NULL)
        value = strtod(at + strlen(line_begin), NULL);
    buffer_deinit(&text);
    return value;
}

struct asked {
    struct usage_question question; /* first */
    _Atomic bool is_done;
};

static void usage_ask_done(struct usage_question *question)
{
    atomic_store(&((struct asked *)question)->is_done, true);
}

/* The writer's own answer, as CSV; the caller's to release. */
static char *usage_ask(struct fixture *fixture)
{
    const struct usage_words words = {"model", NULL, NULL, "csv"};
    struct usage_query query = {.organisation = "", .team = "", .key = "", .model = ""};
    struct asked asked = {.question = {.query = &query, .done = usage_ask_done}};
    struct error_note note = {""};
    char *text;

    assert_int_equal(usage_words_read(&words, &query, &asked.question.format, &note), STATUS_OK);
    buffer_init(&asked.question.out, 1u << 20);
    assert_int_equal(records_ask(fixture->records, &asked.question), STATUS_OK);
    WAIT_UNTIL(atomic_load(&asked.is_done));
    assert_int_equal(asked.question.result, STATUS_OK);
    buffer_append_byte(&asked.question.out, '\0');
    text = strdup(asked.question.out.data);
    buffer_deinit(&asked.question.out);
    return text;
}

static bool has_requests(struct fixture *fixture, const char *row)
{
    char *text = usage_ask(fixture);
    bool found = strstr(text, row) != NULL;

    free(text);
    return found;
}

static void each_loops_requests_become_lines_and_rows(void **state)
{
    struct fixture *fixture = *state;

    fixture->config.records.ledger_memory = 10 * QUEUE;
    start(fixture);
    for (uint32_t i = 0; i < 10 * QUEUE; i++)
        WAIT_UNTIL(put(fixture, i % 2));
    WAIT_UNTIL(has_requests(fixture, "llama,640,0,"));
    records_stop(fixture->records);
    assert_int_equal(lines_of(fixture->access_log), 640);
}

static void what_is_put_last_is_written_at_the_end(void **state)
{
    struct fixture *fixture = *state;

    fixture->config.records.interval_ns = 3600 * NS_PER_SECOND;
    start(fixture);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(put(fixture, 0));
    records_stop(fixture->records);
    assert_int_equal(lines_of(fixture->access_log), 5);
}

/* Nobody writes yet: a loop has as many records as its queue, and what is given back is there again. */
static void a_loop_has_as_many_records_as_its_queue(void **state)
{
    struct fixture *fixture = *state;
    struct request_record *taken[QUEUE];
    struct error_note note = {""};

    assert_int_equal(
        records_open(&fixture->config, 2, fixture->registry, NULL, &fixture->records, &note),
        STATUS_OK);
    for (uint32_t i = 0; i < QUEUE; i++) {
        taken[i] = records_take(fixture->records, 1);
        assert_non_null(taken[i]);
        fill(taken[i]);
    }
    assert_null(records_take(fixture->records, 1));
    records_count_lost(fixture->records, true);
    assert_non_null(records_take(fixture->records, 0)); /* another loop has its own */
    records_give_back(fixture->records, 1, taken[5]);
    assert_ptr_equal(records_take(fixture->records, 1), taken[5]);
    assert_int_equal((int)metric(fixture, "penstock_records_dropped_total{stream=\"ledger\"} "), 1);
    assert_int_equal((int)metric(fixture, "penstock_records_dropped_total{stream=\"access_log\"} "),
                     1);
    for (uint32_t i = 0; i < QUEUE; i++)
        records_put(fixture->records, 1, taken[i]);
    assert_int_equal(records_start(fixture->records), STATUS_OK);
    records_stop(fixture->records);
    assert_int_equal(lines_of(fixture->access_log), QUEUE);
}

/* While another process holds the database: what has no room in memory is dropped, or keeps requests out. */
static void a_ledger_without_room_follows_its_policy(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    state_database *other;

    fixture->config.records.ledger_full = LEDGER_FULL_REFUSE;
    start(fixture);
    assert_true(records_must_keep(fixture->records) && records_have_room(fixture->records));
    assert_int_equal(test_state_open(fixture->database, &other, &note), STATUS_OK);
    assert_int_equal(state_database_begin(other, &note), STATUS_OK);
    for (uint32_t i = 0; i < 6; i++)
        assert_true(put(fixture, 0)); /* two of them had begun before it was full */
    WAIT_UNTIL(!records_have_room(fixture->records));
    state_database_roll_back(other);
    state_database_close(other);
    WAIT_UNTIL(records_have_room(fixture->records));
    WAIT_UNTIL(has_requests(fixture, "llama,6,0,"));
    assert_int_equal((int)metric(fixture, "penstock_records_dropped_total{stream=\"ledger\"} "), 0);
}

static void a_change_that_cannot_be_written_down_is_refused(void **state)
{
    static const struct audit_event event = {"tester", "config.reload", "", ""};
    struct fixture *fixture = *state;
    struct error_note note = {""};
    struct rlimit before, limit;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    start(fixture);
    assert_int_equal(records_audit(fixture->records, &event, &note), STATUS_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(records_audit(fixture->records, &event, &note), STATUS_IO);
    assert_int_equal((int)metric(fixture, "penstock_records_failing{stream=\"audit_log\"} "), 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(records_audit(fixture->records, &event, &note), STATUS_OK);
    assert_int_equal((int)metric(fixture, "penstock_records_failing{stream=\"audit_log\"} "), 0);
    assert_int_equal(lines_of(fixture->audit_log), 2);
    (void)signal(SIGXFSZ, handler);
}

static void refused_keys_are_counted_into_one_line(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    for (uint32_t i = 0; i < 30; i++) {
        struct request_record *record = records_take(fixture->records, 0);

        assert_non_null(record);
        fill(record);
        record->audit_action = "auth.failure";
        (void)snprintf(record->peer, sizeof(record->peer), "192.0.2.%u", i % 2);
        records_put(fixture->records, 0, record);
    }
    records_stop(fixture->records); /* which does not wait for the minute */
    assert_int_equal(lines_of(fixture->audit_log), 2);
}

static void what_is_not_set_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    struct usage_question question = {.next = NULL};
    struct error_note note = {""};

    fixture->config.state.database = "";
    fixture->config.records.access_log = "off";
    fixture->config.records.audit_log = "";
    start(fixture);
    assert_false(records_has_access_log(fixture->records));
    assert_false(records_has_ledger(fixture->records));
    assert_false(records_has_audit_log(fixture->records));
    assert_false(records_must_keep(fixture->records));
    assert_int_equal(records_ask(fixture->records, &question), STATUS_UNSUPPORTED);
    assert_int_equal(records_audit(fixture->records, &(struct audit_event){"", "", "", ""}, &note),
                     STATUS_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(each_loops_requests_become_lines_and_rows),
        TEST(what_is_put_last_is_written_at_the_end),
        TEST(a_loop_has_as_many_records_as_its_queue),
        TEST(a_ledger_without_room_follows_its_policy),
        TEST(a_change_that_cannot_be_written_down_is_refused),
        TEST(refused_keys_are_counted_into_one_line),
        TEST(what_is_not_set_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
