/* Two tables, whose keys are in the order of their times within a step, so that a range of time is read in one walk and old rows go by
 * one deletion:
 *
 *   history(step, start, model; first_token, inter_token; a column for each value of history_row.h)
 *   signals(window, start, model, signal; value)
 *
 * Columns that a newer version has more are added when the file is opened. Histograms are pairs of a bucket and its count, as most
 * buckets are empty. A commit does not wait for the disk (synchronous=NORMAL): a crash of the machine may cost the last seconds. */
#include "history_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"

#define VERSION             1
#define BUSY_MS             5000 /* the other gateway, while one takes the other's place */
#define PAIR_BYTES          9u   /* a bucket, and its count */
#define HISTOGRAM_BYTES_MAX (PAIR_BYTES * LATENCY_BUCKET_COUNT)
#define SQL_BYTES           2048u

enum {
    PUT,
    GET,
    READ_ALL,
    READ_ONE,
    PRUNE,
    PRUNE_SIGNALS,
    NOTE_SIGNAL,
    READ_SIGNALS,
    STATEMENT_COUNT
};

struct history_store {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENT_COUNT];
};

static status fail(const history_store *store, const char *what, struct error_note *note)
{
    error_note_set(note, "the history %s: %s", what, sqlite3_errmsg(store->database));
    return STATUS_IO;
}

static status run_text(const history_store *store, const char *sql, struct error_note *note)
{
    if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail(store, "cannot be written", note);
    return STATUS_OK;
}

/* --- opening --- */

static bool has_column(const history_store *store, const char *name)
{
    return sqlite3_table_column_metadata(store->database, NULL, "history", name, NULL, NULL, NULL,
                                         NULL, NULL) == SQLITE_OK;
}

static status columns_add(const history_store *store, struct error_note *note)
{
    status result = STATUS_OK;

    for (int i = 0; i < HISTORY_VALUE_COUNT && result == STATUS_OK; i++) {
        const char *name = history_value_name((enum history_value)i);
        char sql[128];

        if (has_column(store, name))
            continue;
        (void)snprintf(sql, sizeof(sql),
                       "ALTER TABLE history ADD COLUMN %s REAL NOT NULL DEFAULT 0", name);
        result = run_text(store, sql, note);
    }
    return result;
}

static status version_check(const history_store *store, struct error_note *note)
{
    sqlite3_stmt *statement;
    int version = 0;

    if (sqlite3_prepare_v2(store->database, "PRAGMA user_version", -1, &statement, NULL) !=
        SQLITE_OK)
        return fail(store, "cannot be read", note);
    if (sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    if (version <= VERSION)
        return STATUS_OK;
    error_note_set(note, "the history's file is of a newer version (%d); this one knows %d",
                   version, VERSION);
    return STATUS_INVALID;
}

static status tables_make(const history_store *store, struct error_note *note)
{
    static const char tables[] =
        "CREATE TABLE IF NOT EXISTS history (step INTEGER NOT NULL, start INTEGER NOT NULL, model "
        "TEXT NOT NULL, first_token BLOB, inter_token BLOB, PRIMARY KEY (step, start, model)) "
        "WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS signals (window INTEGER NOT NULL, start INTEGER NOT NULL, "
        "model TEXT NOT NULL, signal TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (window, "
        "start, model, signal)) WITHOUT ROWID;"
        "PRAGMA user_version = 1";
    status result = run_text(store, "BEGIN IMMEDIATE", note); /* the other gateway may be at it */

    if (result == STATUS_OK)
        result = version_check(store, note);
    if (result == STATUS_OK)
        result = run_text(store, tables, note);
    if (result == STATUS_OK)
        result = columns_add(store, note);
    if (result == STATUS_OK)
        result = run_text(store, "COMMIT", note);
    return result;
}

/* "a, b, c" of all values, or as many "?N" from `place` on. */
static void list_write(char *out, size_t bytes, unsigned place)
{
    size_t at = 0;

    for (int i = 0; i < HISTORY_VALUE_COUNT; i++) {
        int more;

        if (place > 0)
            more = snprintf(out + at, bytes - at, ", ?%u", place + (unsigned)i);
        else
            more =
                snprintf(out + at, bytes - at, ", %s", history_value_name((enum history_value)i));
        CHECK(more > 0 && (size_t)more < bytes - at);
        at += (size_t)more;
    }
}

static status prepare(history_store *store, int which, const char *sql, struct error_note *note)
{
    if (sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
                           &store->statements[which], NULL) != SQLITE_OK)
        return fail(store, "cannot be read", note);
    return STATUS_OK;
}

/* Columns of READ and GET: model, start, the histograms, the values. */
enum { COLUMN_MODEL, COLUMN_START, COLUMN_FIRST, COLUMN_INTER, COLUMN_VALUES };

static status statements_make(history_store *store, struct error_note *note)
{
    static const char *const fixed[STATEMENT_COUNT] = {
        [PRUNE] = "DELETE FROM history WHERE step = ?1 AND start < ?2",
        [PRUNE_SIGNALS] = "DELETE FROM signals WHERE start < ?1",
        [NOTE_SIGNAL] = "INSERT OR REPLACE INTO signals (window, start, model, signal, value) "
                        "VALUES (?1, ?2, ?3, ?4, ?5)",
        [READ_SIGNALS] = "SELECT model, signal, start, value FROM signals WHERE window = ?1 AND "
                         "start >= ?2 ORDER BY start",
    };
    char names[SQL_BYTES / 2], places[SQL_BYTES / 4], sql[SQL_BYTES];
    status result = STATUS_OK;

    list_write(names, sizeof(names), 0);
    list_write(places, sizeof(places), 6);
    for (int i = 0; i < STATEMENT_COUNT && result == STATUS_OK; i++) {
        if (fixed[i] != NULL)
            (void)snprintf(sql, sizeof(sql), "%s", fixed[i]);
        else if (i == PUT)
            (void)snprintf(sql, sizeof(sql),
                           "INSERT OR REPLACE INTO history (step, start, model, first_token, "
                           "inter_token%s) VALUES (?1, ?2, ?3, ?4, ?5%s)",
                           names, places);
        else
            (void)snprintf(sql, sizeof(sql),
                           "SELECT model, start, first_token, inter_token%s FROM history WHERE "
                           "step = ?1 AND %s ORDER BY start",
                           names,
                           i == GET        ? "start = ?2 AND model = ?3"
                           : i == READ_ONE ? "start >= ?2 AND start < ?3 AND model = ?4"
                                           : "start >= ?2 AND start < ?3");
        result = prepare(store, i, sql, note);
    }
    return result;
}

/* Before SQLite makes it, as others may not read it: models' names and what they cost. */
static status file_make(const char *path, struct error_note *note)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (descriptor < 0) {
        error_note_set(note, "the history's file %s cannot be opened: %m", path);
        return STATUS_IO;
    }
    close(descriptor);
    return STATUS_OK;
}

status history_store_open(const char *path, history_store **out, struct error_note *note)
{
    history_store *store = memory_allocate_array(1, sizeof(*store));
    status result = STATUS_OK;

    if (store == NULL)
        return STATUS_NO_MEMORY;
    if (path[0] != '\0')
        result = file_make(path, note);
    if (result == STATUS_OK &&
        sqlite3_open_v2(path[0] != '\0' ? path : ":memory:", &store->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        result = fail(store, "cannot be opened", note);
    if (result == STATUS_OK) {
        (void)sqlite3_busy_timeout(store->database, BUSY_MS);
        result = run_text(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", note);
    }
    if (result == STATUS_OK)
        result = tables_make(store, note);
    if (result == STATUS_OK)
        result = statements_make(store, note);
    if (result != STATUS_OK) {
        error_note_prefix(note, "%s", path);
        history_store_close(store);
        return result;
    }
    *out = store;
    return STATUS_OK;
}

void history_store_close(history_store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    (void)sqlite3_close(store->database);
    memory_release(store);
}

/* --- writing --- */

status history_store_begin(history_store *store, struct error_note *note)
{
    return run_text(store, "BEGIN IMMEDIATE", note);
}

status history_store_commit(history_store *store, struct error_note *note)
{
    status result = run_text(store, "COMMIT", note);

    if (result != STATUS_OK)
        history_store_roll_back(store);
    return result;
}

void history_store_roll_back(history_store *store)
{
    (void)sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
}

static size_t histogram_pack(const struct latency_histogram *histogram, uint8_t *out)
{
    size_t at = 0;

    for (uint32_t i = 0; i < LATENCY_BUCKET_COUNT; i++) {
        if (histogram->counts[i] == 0)
            continue;
        out[at] = (uint8_t)i;
        for (unsigned byte = 0; byte < 8; byte++)
            out[at + 1 + byte] = (uint8_t)(histogram->counts[i] >> (8 * byte));
        at += PAIR_BYTES;
    }
    return at;
}

/* What is not a pair of ours is left out: the file may be anybody's work. */
static void histogram_unpack(sqlite3_stmt *statement, int column, struct latency_histogram *out)
{
    const uint8_t *data = sqlite3_column_blob(statement, column);
    size_t bytes = (size_t)sqlite3_column_bytes(statement, column);

    for (size_t at = 0; data != NULL && at + PAIR_BYTES <= bytes; at += PAIR_BYTES) {
        uint64_t count = 0;

        for (unsigned byte = 0; byte < 8; byte++)
            count |= (uint64_t)data[at + 1 + byte] << (8 * byte);
        if (data[at] < LATENCY_BUCKET_COUNT)
            out->counts[data[at]] += count;
    }
}

static void row_unpack(sqlite3_stmt *statement, struct history_row *out)
{
    *out = (struct history_row){.values = {0}};
    for (int i = 0; i < HISTORY_VALUE_COUNT; i++)
        out->values[i] = sqlite3_column_double(statement, COLUMN_VALUES + i);
    histogram_unpack(statement, COLUMN_FIRST, &out->first_token);
    histogram_unpack(statement, COLUMN_INTER, &out->inter_token);
}

/* A statement that gives no rows. */
static status statement_run(history_store *store, sqlite3_stmt *statement, struct error_note *note)
{
    int code = sqlite3_step(statement);

    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE ? STATUS_OK : fail(store, "cannot be written", note);
}

static status row_put(history_store *store, const char *model, int step_s, int64_t start_s,
                      const struct history_row *row, struct error_note *note)
{
    sqlite3_stmt *statement = store->statements[PUT];
    uint8_t first[HISTOGRAM_BYTES_MAX], inter[HISTOGRAM_BYTES_MAX];

    (void)sqlite3_bind_int(statement, 1, step_s);
    (void)sqlite3_bind_int64(statement, 2, start_s);
    (void)sqlite3_bind_text(statement, 3, model, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(statement, 4, first, (int)histogram_pack(&row->first_token, first),
                            SQLITE_STATIC);
    (void)sqlite3_bind_blob(statement, 5, inter, (int)histogram_pack(&row->inter_token, inter),
                            SQLITE_STATIC);
    for (int i = 0; i < HISTORY_VALUE_COUNT; i++)
        (void)sqlite3_bind_double(statement, 6 + i, row->values[i]);
    return statement_run(store, statement, note);
}

static status row_add(history_store *store, const char *model, int step_s, int64_t start_s,
                      const struct history_row *row, struct error_note *note)
{
    sqlite3_stmt *statement = store->statements[GET];
    struct history_row sum = {.values = {0}};
    int code;

    (void)sqlite3_bind_int(statement, 1, step_s);
    (void)sqlite3_bind_int64(statement, 2, start_s);
    (void)sqlite3_bind_text(statement, 3, model, -1, SQLITE_STATIC);
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        row_unpack(statement, &sum);
    (void)sqlite3_reset(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return fail(store, "cannot be read", note);
    history_row_add(&sum, row);
    return row_put(store, model, step_s, start_s, &sum, note);
}

status history_store_add(history_store *store, const char *model, int64_t minute_s,
                         const struct history_row *row, struct error_note *note)
{
    status result = row_add(store, model, HISTORY_MINUTE_S, minute_s, row, note);

    if (result == STATUS_OK)
        result =
            row_add(store, model, HISTORY_HOUR_S, minute_s - minute_s % HISTORY_HOUR_S, row, note);
    return result;
}

status history_store_prune(history_store *store, int64_t minutes_from_s, int64_t hours_from_s,
                           struct error_note *note)
{
    sqlite3_stmt *prune = store->statements[PRUNE], *signals = store->statements[PRUNE_SIGNALS];
    status result;

    (void)sqlite3_bind_int(prune, 1, HISTORY_MINUTE_S);
    (void)sqlite3_bind_int64(prune, 2, minutes_from_s);
    result = statement_run(store, prune, note);
    (void)sqlite3_bind_int(prune, 1, HISTORY_HOUR_S);
    (void)sqlite3_bind_int64(prune, 2, hours_from_s);
    if (result == STATUS_OK)
        result = statement_run(store, prune, note);
    (void)sqlite3_bind_int64(signals, 1, hours_from_s);
    if (result == STATUS_OK)
        result = statement_run(store, signals, note);
    return result;
}

/* --- reading --- */

status history_store_read(history_store *store, int step_s, int64_t from_s, int64_t to_s,
                          const char *model, history_row_call *call, void *context,
                          struct error_note *note)
{
    sqlite3_stmt *statement = store->statements[model != NULL ? READ_ONE : READ_ALL];
    struct history_row row;
    bool goes_on = true;
    int code = SQLITE_DONE;

    (void)sqlite3_bind_int(statement, 1, step_s);
    (void)sqlite3_bind_int64(statement, 2, from_s);
    (void)sqlite3_bind_int64(statement, 3, to_s);
    if (model != NULL)
        (void)sqlite3_bind_text(statement, 4, model, -1, SQLITE_STATIC);
    while (goes_on && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        row_unpack(statement, &row);
        goes_on = call(context, (const char *)sqlite3_column_text(statement, COLUMN_MODEL),
                       sqlite3_column_int64(statement, COLUMN_START), &row);
    }
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE || !goes_on ? STATUS_OK : fail(store, "cannot be read", note);
}

status history_store_note_signal(history_store *store, const char *model, const char *signal,
                                 int64_t window_s, int64_t start_s, double value,
                                 struct error_note *note)
{
    sqlite3_stmt *statement = store->statements[NOTE_SIGNAL];

    (void)sqlite3_bind_int64(statement, 1, window_s);
    (void)sqlite3_bind_int64(statement, 2, start_s);
    (void)sqlite3_bind_text(statement, 3, model, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 4, signal, -1, SQLITE_STATIC);
    (void)sqlite3_bind_double(statement, 5, value);
    return statement_run(store, statement, note);
}

status history_store_read_signals(history_store *store, int64_t window_s, int64_t from_s,
                                  history_signal_call *call, void *context, struct error_note *note)
{
    sqlite3_stmt *statement = store->statements[READ_SIGNALS];
    int code;

    (void)sqlite3_bind_int64(statement, 1, window_s);
    (void)sqlite3_bind_int64(statement, 2, from_s);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        call(context, (const char *)sqlite3_column_text(statement, 0),
             (const char *)sqlite3_column_text(statement, 1), sqlite3_column_int64(statement, 2),
             sqlite3_column_double(statement, 3));
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE ? STATUS_OK : fail(store, "cannot be read", note);
}
