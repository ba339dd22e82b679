#include "unit_test.h"

#include <stdlib.h>
#include <unistd.h>

#include "ledger.h"
#include "test_state.h"
#include "usage_query.h"

#define HOUR_MS 3600000u
#define BEGIN   (1000u * HOUR_MS) /* 1970-02-11T16 */

struct fixture {
    char folder[64], path[128];
    state_database *database;
    struct ledger *ledger;
};

static const struct ledger_options options = {
    .memory_max = 4, .extra_max = 2, .keep_requests_s = 3600, .keep_hours_s = 7200};

static int make(void **state)
{
    static struct fixture fixture;
    struct error_note note;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/ledger_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/state.db", fixture.folder);
    *state = &fixture;
    if (test_state_open_empty(fixture.path, &fixture.database, &note) != STATUS_OK)
        return -1;
    return ledger_create(&options, fixture.database, &fixture.ledger, &note) == STATUS_OK ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    ledger_destroy(fixture->ledger);
    state_database_close(fixture->database);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static struct request_record request(uint64_t number, uint64_t ended_ms, const char *team)
{
    struct request_record record = {.ended_ms = ended_ms,
                                    .number = number,
                                    .status_code = 200,
                                    .cost_nano = 1500000,
                                    .is_metered = true,
                                    .usage = {.is_known = true,
                                              .prompt_tokens = 10,
                                              .cached_tokens = 4,
                                              .completion_tokens = 3,
                                              .reasoning_tokens = 1,
                                              .busy_ns = 2500000},
                                    .finish = "stop",
                                    .route = "/v1/completions",
                                    .model = "llama"};

    (void)snprintf(record.organisation, sizeof(record.organisation), "acme");
    (void)snprintf(record.team, sizeof(record.team), "%s", team);
    (void)snprintf(record.key_id, sizeof(record.key_id), "key_1");
    (void)snprintf(record.key_name, sizeof(record.key_name), "a \"name\"");
    return record;
}

static void add(struct fixture *fixture, uint64_t number, uint64_t ended_ms, const char *team)
{
    struct request_record record = request(number, ended_ms, team);

    assert_int_equal(ledger_add(fixture->ledger, &record), STATUS_OK);
}

static void flush(struct fixture *fixture)
{
    struct error_note note = {""};

    assert_int_equal(ledger_flush(fixture->ledger, &note), STATUS_OK);
    assert_int_equal(ledger_waiting_count(fixture->ledger), 0);
}

static void answer_is(struct fixture *fixture, const struct usage_words *words,
                      const char *expected)
{
    struct usage_query query = {.organisation = "", .team = "", .key = "", .model = ""};
    enum usage_format format = USAGE_TABLE;
    struct error_note note = {""};
    struct buffer out;

    buffer_init(&out, 1u << 20);
    assert_int_equal(usage_words_read(words, &query, &format, &note), STATUS_OK);
    assert_int_equal(usage_write(fixture->database, &query, format, &out, &note), STATUS_OK);
    assert_string_equal(out.data, expected);
    buffer_deinit(&out);
}

static void sums_are_those_of_the_rows(void **state)
{
    struct fixture *fixture = *state;
    const struct usage_words by_team = {"team", NULL, NULL, "csv"};
    const struct usage_words by_hour = {"hour,key", "1970-02-11T16", "1970-02-11T17", "csv"};
    const struct usage_words by_day = {"day", NULL, NULL, "json"};
    const struct usage_words as_table = {"team", NULL, NULL, NULL};

    add(fixture, 1, BEGIN, "red");
    add(fixture, 2, BEGIN + HOUR_MS - 1, "red");
    add(fixture, 3, BEGIN + HOUR_MS, "blue");
    flush(fixture);
    answer_is(fixture, &by_team,
              "team,requests,failures,estimated,prompt_tokens,cached_tokens,completion_tokens,"
              "reasoning_tokens,busy_seconds,cost\r\n"
              "blue,1,0,0,10,4,3,1,0.0025,0.0015\r\n"
              "red,2,0,0,20,8,6,2,0.005,0.003\r\n");
    answer_is(fixture, &by_hour,
              "time,key_id,key,requests,failures,estimated,prompt_tokens,cached_tokens,"
              "completion_tokens,reasoning_tokens,busy_seconds,cost\r\n"
              "1970-02-11T16,key_1,\"a \"\"name\"\"\",2,0,0,20,8,6,2,0.005,0.003\r\n");
    answer_is(fixture, &by_day,
              "{\"object\":\"list\",\"data\":[{\"time\":\"1970-02-11\",\"requests\":3,\"failures\":"
              "0,\"estimated\":0,\"prompt_tokens\":30,\"cached_tokens\":12,\"completion_tokens\":9,"
              "\"reasoning_tokens\":3,\"busy_seconds\":0.0075,\"cost\":0.0045}]}\n");
    answer_is(fixture, &as_table,
              "team  requests  failures  estimated  prompt_tokens  cached_tokens  "
              "completion_tokens  reasoning_tokens  busy_seconds    cost\n"
              "blue         1         0          0             10              4  "
              "                3                 1        0.0025  0.0015\n"
              "red          2         0          0             20              8  "
              "                6                 2         0.005   0.003\n");
}

static void a_row_that_comes_twice_is_counted_once(void **state)
{
    struct fixture *fixture = *state;
    const struct usage_words words = {"model", NULL, NULL, "csv"};

    add(fixture, 7, BEGIN, "red");
    flush(fixture);
    add(fixture, 7, BEGIN, "red");
    flush(fixture);
    answer_is(fixture, &words,
              "model,requests,failures,estimated,prompt_tokens,cached_tokens,completion_tokens,"
              "reasoning_tokens,busy_seconds,cost\r\n"
              "llama,1,0,0,10,4,3,1,0.0025,0.0015\r\n");
}

static void rows_wait_while_the_database_is_locked_and_lose_nothing(void **state)
{
    struct fixture *fixture = *state;
    const struct usage_words words = {"model", NULL, NULL, "csv"};
    struct error_note note = {""};
    state_database *other;

    assert_int_equal(test_state_open(fixture->path, &other, &note), STATUS_OK);
    assert_int_equal(state_database_begin(other, &note), STATUS_OK);
    add(fixture, 1, BEGIN, "red");
    assert_int_equal(ledger_flush(fixture->ledger, &note), STATUS_AGAIN);
    assert_int_equal(ledger_waiting_count(fixture->ledger), 1);
    state_database_roll_back(other);
    state_database_close(other);
    add(fixture, 2, BEGIN, "red");
    flush(fixture);
    answer_is(fixture, &words,
              "model,requests,failures,estimated,prompt_tokens,cached_tokens,completion_tokens,"
              "reasoning_tokens,busy_seconds,cost\r\n"
              "llama,2,0,0,20,8,6,2,0.005,0.003\r\n");
}

static void memory_is_full_at_its_limit_and_over_with_the_extra(void **state)
{
    struct fixture *fixture = *state;
    struct request_record record = request(9, BEGIN, "red");

    for (uint64_t i = 0; i < 3; i++)
        add(fixture, i, BEGIN, "red");
    assert_false(ledger_is_full(fixture->ledger));
    add(fixture, 3, BEGIN, "red");
    assert_true(ledger_is_full(fixture->ledger));
    add(fixture, 4, BEGIN, "red");
    add(fixture, 5, BEGIN, "red");
    assert_int_equal(ledger_add(fixture->ledger, &record), STATUS_FULL);
    flush(fixture);
    assert_false(ledger_is_full(fixture->ledger));
}

static uint32_t count(struct fixture *fixture, const char *sql)
{
    struct error_note note;
    state_statement *statement = state_database_prepare(fixture->database, sql, &note);
    bool has_row = false;
    uint32_t found;

    assert_int_equal(state_statement_step(statement, &has_row, &note), STATUS_OK);
    assert_true(has_row);
    found = (uint32_t)state_column_number(statement, 0);
    state_statement_close(statement);
    return found;
}

static void what_is_past_its_time_goes(void **state)
{
    struct fixture *fixture = *state;
    uint64_t now_s = BEGIN / 1000 + 3 * 3600;
    struct error_note note = {""};

    add(fixture, 1, BEGIN, "red");
    add(fixture, 2, BEGIN + HOUR_MS, "red");
    add(fixture, 3, BEGIN + 2 * HOUR_MS, "red");
    flush(fixture);
    assert_int_equal(ledger_prune(fixture->ledger, now_s, &note), STATUS_OK);
    assert_int_equal(count(fixture, "SELECT count(*) FROM requests"), 1);
    assert_int_equal(count(fixture, "SELECT count(*) FROM usage_hours"), 2);
}

static void a_name_that_was_cut_within_a_character_keeps_no_row_out(void **state)
{
    struct fixture *fixture = *state;
    struct request_record record = request(1, BEGIN, "r\xc3");

    assert_int_equal(ledger_add(fixture->ledger, &record), STATUS_OK);
    add(fixture, 2, BEGIN, "\xff");
    add(fixture, 3, BEGIN, "\xc3\xa4");
    flush(fixture);
    assert_int_equal(count(fixture, "SELECT count(*) FROM requests"), 3);
}

static void an_id_that_the_client_repeats_is_another_row(void **state)
{
    struct fixture *fixture = *state;
    struct request_record first = request(1, BEGIN, "red"), second = request(2, BEGIN, "red");

    memcpy(first.request_id, "same", 5);
    memcpy(second.request_id, "same", 5);
    assert_int_equal(ledger_add(fixture->ledger, &first), STATUS_OK);
    assert_int_equal(ledger_add(fixture->ledger, &second), STATUS_OK);
    flush(fixture);
    assert_int_equal(count(fixture, "SELECT count(*) FROM requests WHERE request_id = 'same'"), 2);
}

static void words_that_make_no_sense_are_named(void **state)
{
    static const struct usage_words wrong[] = {{"week", NULL, NULL, NULL},
                                               {NULL, "yesterday", NULL, NULL},
                                               {NULL, NULL, "2026-13-01", NULL},
                                               {NULL, "2026-01-01T12:30", NULL, NULL},
                                               {NULL, NULL, NULL, "xml"}};
    struct usage_query query;
    enum usage_format format;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error_note note = {""};

        assert_int_equal(usage_words_read(&wrong[i], &query, &format, &note), STATUS_INVALID);
        assert_string_not_equal(note.text, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_those_of_the_rows, make, drop),
        cmocka_unit_test_setup_teardown(a_row_that_comes_twice_is_counted_once, make, drop),
        cmocka_unit_test_setup_teardown(rows_wait_while_the_database_is_locked_and_lose_nothing,
                                        make, drop),
        cmocka_unit_test_setup_teardown(memory_is_full_at_its_limit_and_over_with_the_extra, make,
                                        drop),
        cmocka_unit_test_setup_teardown(what_is_past_its_time_goes, make, drop),
        cmocka_unit_test_setup_teardown(an_id_that_the_client_repeats_is_another_row, make, drop),
        cmocka_unit_test_setup_teardown(a_name_that_was_cut_within_a_character_keeps_no_row_out,
                                        make, drop),
        cmocka_unit_test(words_that_make_no_sense_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
