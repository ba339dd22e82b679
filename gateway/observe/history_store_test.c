#include "history_store.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "history_json.h"
#include "json.h"
#include "scratch_folder.h"
#include "unit_test.h"

#define NOON ((int64_t)1750000000 / 86400 * 86400 + 43200)

static const char *file_path(void)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/history", scratch_path());
    return path;
}

static void files_remove(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[160];

    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", file_path(), ends[i]);
        (void)unlink(path);
    }
}

static history_store *store_open(const char *path)
{
    history_store *store = NULL;
    struct error_note note = {""};

    if (history_store_open(path, &store, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    return store;
}

static struct history_row row_of(double busy, double idle, double requests, double seconds)
{
    struct history_row row = {
        .values = {[TIME_BUSY_DECODE] = busy, [TIME_IDLE] = idle, [HISTORY_REQUESTS] = requests}};

    latency_histogram_note(&row.first_token, seconds);
    return row;
}

static void add(history_store *store, const char *model, int64_t minute_s, struct history_row row)
{
    struct error_note note = {""};

    assert_int_equal(history_store_begin(store, &note), STATUS_OK);
    assert_int_equal(history_store_add(store, model, minute_s, &row, &note), STATUS_OK);
    assert_int_equal(history_store_commit(store, &note), STATUS_OK);
}

struct found {
    uint32_t count;
    int64_t start_s[8];
    char models[8][16];
    struct history_row rows[8];
};

static bool found_take(void *context, const char *model, int64_t start_s,
                       const struct history_row *row)
{
    struct found *found = context;

    CHECK(found->count < ARRAY_COUNT(found->rows));
    found->start_s[found->count] = start_s;
    (void)snprintf(found->models[found->count], sizeof(found->models[0]), "%s", model);
    found->rows[found->count++] = *row;
    return true;
}

static struct found find(history_store *store, int step_s, const char *model)
{
    struct found found = {.count = 0};
    struct error_note note = {""};

    assert_int_equal(
        history_store_read(store, step_s, 0, INT64_MAX, model, found_take, &found, &note),
        STATUS_OK);
    return found;
}

static void rows_add_up_to_minutes_and_hours(void **state)
{
    history_store *store = store_open("");
    struct found minutes, hours;

    (void)state;
    add(store, "a", NOON, row_of(10, 0, 1, 0.1));
    add(store, "a", NOON, row_of(5, 20, 2, 0.2));
    add(store, "a", NOON + 60, row_of(1, 0, 0, 0.1));
    add(store, "b", NOON, row_of(7, 0, 0, 3));
    minutes = find(store, HISTORY_MINUTE_S, "a");
    assert_int_equal(minutes.count, 2);
    assert_true(minutes.rows[0].values[TIME_BUSY_DECODE] == 15);
    assert_true(minutes.rows[0].values[HISTORY_REQUESTS] == 3);
    assert_int_equal(latency_histogram_count(&minutes.rows[0].first_token), 2);
    assert_int_equal(minutes.start_s[1], NOON + 60);
    hours = find(store, HISTORY_HOUR_S, NULL);
    assert_int_equal(hours.count, 2);
    assert_string_equal(hours.models[0], "a");
    assert_true(hours.rows[0].values[TIME_BUSY_DECODE] == 16);
    assert_int_equal(latency_histogram_count(&hours.rows[0].first_token), 3);
    assert_true(fabs(latency_histogram_quantile(&hours.rows[1].first_token, 0.5) / 3 - 1) < 0.1);
    history_store_close(store);
}

static void what_was_committed_is_there_after_a_crash(void **state)
{
    history_store *store, *other;
    struct error_note note = {""};
    struct history_row row = row_of(1, 2, 3, 4);
    struct stat facts;

    (void)state;
    files_remove();
    store = store_open(file_path());
    add(store, "a", NOON, row);
    /* Not committed, and never closed: as though the process had been killed here. */
    assert_int_equal(history_store_begin(store, &note), STATUS_OK);
    assert_int_equal(history_store_add(store, "lost", NOON, &row, &note), STATUS_OK);
    history_store_roll_back(store);
    other = store_open(file_path()); /* as the next gateway does */
    assert_int_equal(find(other, HISTORY_MINUTE_S, NULL).count, 1);
    add(other, "a", NOON, row);
    add(store, "a", NOON, row);
    assert_true(find(other, HISTORY_HOUR_S, "a").rows[0].values[HISTORY_REQUESTS] == 9);
    assert_int_equal(stat(file_path(), &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    history_store_close(other);
    history_store_close(store);
    files_remove();
}

static void old_rows_go(void **state)
{
    history_store *store = store_open("");
    struct error_note note = {""};

    (void)state;
    add(store, "a", NOON - 7200, row_of(1, 0, 0, 1));
    add(store, "a", NOON, row_of(1, 0, 0, 1));
    assert_int_equal(history_store_prune(store, NOON - 60, NOON - 100000, &note), STATUS_OK);
    assert_int_equal(find(store, HISTORY_MINUTE_S, NULL).count, 1);
    assert_int_equal(find(store, HISTORY_HOUR_S, NULL).count, 2);
    assert_int_equal(history_store_prune(store, NOON - 60, NOON - 60, &note), STATUS_OK);
    assert_int_equal(find(store, HISTORY_HOUR_S, NULL).count, 1);
    history_store_close(store);
}

static void raw_run(const char *sql)
{
    sqlite3 *raw;

    assert_int_equal(sqlite3_open(file_path(), &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
}

static void files_of_other_versions_and_other_kinds(void **state)
{
    history_store *store = NULL;
    struct error_note note = {""};
    struct found found;
    FILE *file;

    (void)state;
    /* An older one, without a column that is there by now, and with a histogram that is none. */
    files_remove();
    raw_run("CREATE TABLE history (step INTEGER NOT NULL, start INTEGER NOT NULL, model TEXT NOT "
            "NULL, first_token BLOB, inter_token BLOB, requests REAL NOT NULL DEFAULT 0, PRIMARY "
            "KEY (step, start, model)) WITHOUT ROWID;"
            "INSERT INTO history VALUES (60, 600, 'a', x'ff0102030405060708', x'0102', 5)");
    store = store_open(file_path());
    found = find(store, HISTORY_MINUTE_S, NULL);
    assert_int_equal(found.count, 1);
    assert_true(found.rows[0].values[HISTORY_REQUESTS] == 5);
    assert_true(found.rows[0].values[TIME_BROKEN] == 0);
    assert_int_equal(latency_histogram_count(&found.rows[0].first_token), 0);
    history_store_close(store);
    raw_run("PRAGMA user_version = 99");
    assert_int_equal(history_store_open(file_path(), &store, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "newer version"));
    files_remove();
    file = fopen(file_path(), "w");
    assert_non_null(file);
    for (int i = 0; i < 500; i++)
        (void)fputs("no database ", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(history_store_open(file_path(), &store, &note), STATUS_IO);
    assert_non_null(strstr(note.text, file_path()));
    files_remove();
}

struct signals {
    uint32_t count;
    double value;
};

static void signal_take(void *context, const char *model, const char *signal, int64_t start_s,
                        double value)
{
    struct signals *signals = context;

    assert_string_equal(model, "a");
    assert_string_equal(signal, "ttft");
    assert_int_equal(start_s, 600);
    signals->count++;
    signals->value = value;
}

static void signals_are_kept_by_their_windows(void **state)
{
    history_store *store = store_open("");
    struct error_note note = {""};
    struct signals signals = {0, 0};

    (void)state;
    assert_int_equal(history_store_note_signal(store, "a", "ttft", 300, 600, 1.5, &note),
                     STATUS_OK);
    assert_int_equal(history_store_note_signal(store, "a", "ttft", 300, 600, -2.5, &note),
                     STATUS_OK);
    assert_int_equal(history_store_note_signal(store, "a", "ttft", 60, 600, 9, &note), STATUS_OK);
    assert_int_equal(history_store_read_signals(store, 300, 0, signal_take, &signals, &note),
                     STATUS_OK);
    assert_int_equal(signals.count, 1);
    assert_true(signals.value == -2.5);
    history_store_close(store);
}

/* --- answers --- */

static json_t *ask(history_store *store, int64_t step_s, int64_t from_s, int64_t to_s)
{
    const struct history_query query = {.step_s = step_s, .from_s = from_s, .to_s = to_s};
    struct error_note note = {""};
    struct buffer out;
    json_t *answer;

    buffer_init(&out, 1u << 20);
    assert_int_equal(history_rows_write(store, &query, &out, &note), STATUS_OK);
    answer = json_loadb(out.data, out.bytes, 0, NULL);
    assert_non_null(answer);
    buffer_deinit(&out);
    return answer;
}

static double number_at(json_t *answer, const char *list, size_t i, const char *key)
{
    return json_number_value(
        json_object_get(json_array_get(json_object_get(answer, list), i), key));
}

static void days_are_sums_of_hours_and_totals_of_models(void **state)
{
    history_store *store = store_open("");
    json_t *answer, *row;

    (void)state;
    add(store, "a", NOON, row_of(10, 0, 1, 0.1));
    add(store, "a", NOON + 3600, row_of(20, 0, 2, 0.1));
    add(store, "b", NOON + 3660, row_of(30, 0, 4, 10));
    add(store, "", NOON, row_of(0, 99, 0, 1));
    answer = ask(store, HISTORY_DAY_S, 0, NOON + 7 * HISTORY_DAY_S);
    assert_int_equal(json_array_size(json_object_get(answer, "total")), 1);
    assert_int_equal(json_array_size(json_object_get(answer, "rows")), 2);
    assert_true(number_at(answer, "total", 0, "requests") == 7);
    assert_true(number_at(answer, "total", 0, "replica_seconds") == 60);
    assert_true(number_at(answer, "rows", 0, "requests") == 3);
    row = json_array_get(json_object_get(answer, "total"), 0);
    assert_true(json_number_value(json_object_get(json_object_get(row, "ttft"), "p99")) > 9);
    assert_true(json_is_null(json_object_get(row, "inter_token")));
    assert_true(json_is_string(json_object_get(row, "words")));
    row = json_array_get(json_object_get(answer, "free_slices"), 0);
    assert_true(json_number_value(
                    json_object_get(json_object_get(row, "states"), "idle_no_traffic")) == 99);
    json_decref(answer);
    /* The hour that has just begun is not a whole one. */
    answer = ask(store, HISTORY_HOUR_S, NOON, NOON + 60);
    assert_true(number_at(answer, "total", 0, "seconds") == 60);
    json_decref(answer);
    history_store_close(store);
}

static void too_many_rows_are_refused(void **state)
{
    history_store *store = store_open("");
    const struct history_query query = {.step_s = HISTORY_MINUTE_S, .from_s = 0, .to_s = INT64_MAX};
    struct history_row row = row_of(1, 0, 0, 1);
    struct error_note note = {""};
    struct buffer out;

    (void)state;
    assert_int_equal(history_store_begin(store, &note), STATUS_OK);
    for (int64_t i = 1; i <= HISTORY_ANSWER_ROWS_MAX / 2; i++)
        assert_int_equal(history_store_add(store, "a", i * 60, &row, &note), STATUS_OK);
    assert_int_equal(history_store_commit(store, &note), STATUS_OK);
    buffer_init(&out, 64u << 20);
    assert_int_equal(history_rows_write(store, &query, &out, &note), STATUS_OK);
    buffer_clear(&out);
    add(store, "a", 60 * (HISTORY_ANSWER_ROWS_MAX / 2 + 1), row);
    assert_int_equal(history_rows_write(store, &query, &out, &note), STATUS_TOO_LARGE);
    buffer_deinit(&out);
    history_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_add_up_to_minutes_and_hours),
        cmocka_unit_test(what_was_committed_is_there_after_a_crash),
        cmocka_unit_test(old_rows_go),
        cmocka_unit_test(files_of_other_versions_and_other_kinds),
        cmocka_unit_test(signals_are_kept_by_their_windows),
        cmocka_unit_test(days_are_sums_of_hours_and_totals_of_models),
        cmocka_unit_test(too_many_rows_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
