/* The SQLite kind: one file. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "state_driver.h"

#define SCHEMA_VERSION  3
#define BUSY_TIMEOUT_MS 2000 /* writers hold the lock for milliseconds */

/* A key may have several secrets while it is rotated. Times are Unix seconds; 0: never. Money is in thousand-millionths
 * of the unit that prices are given in. */
static const char schema_1[] =
    "CREATE TABLE keys ("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, organisation TEXT NOT NULL, team TEXT NOT NULL,"
    " scopes INTEGER NOT NULL, models TEXT NOT NULL, weight INTEGER NOT NULL,"
    " priority_max INTEGER NOT NULL, ttft_slo_ms INTEGER NOT NULL, created_s INTEGER NOT NULL,"
    " expires_s INTEGER NOT NULL, revoked_s INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX keys_names ON keys (organisation, name) WHERE revoked_s = 0;"
    "CREATE TABLE secrets ("
    " sha256 BLOB PRIMARY KEY, key_id TEXT NOT NULL REFERENCES keys (id),"
    " created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL) STRICT;"
    "CREATE INDEX secrets_keys ON secrets (key_id);"
    "CREATE TABLE spent ("
    " subject TEXT NOT NULL, period TEXT NOT NULL, nano INTEGER NOT NULL,"
    " PRIMARY KEY (subject, period)) STRICT;"
    "PRAGMA user_version = 1;";

/* The ledger: a row for each request, under an id that the gateway made, and sums by hour of the same rows, written in the
 * same transaction. `changes` tells a write to the keys from one to the ledger, which come all the time. `audit_heads` has
 * the last line of each audit log. */
static const char schema_2[] =
    "CREATE TABLE requests ("
    " id TEXT PRIMARY KEY, ended_ms INTEGER NOT NULL, request_id TEXT NOT NULL,"
    " trace_id TEXT NOT NULL, organisation TEXT NOT NULL, team TEXT NOT NULL,"
    " key_id TEXT NOT NULL, key_name TEXT NOT NULL, model TEXT NOT NULL,"
    " asked_model TEXT NOT NULL, route TEXT NOT NULL, finish TEXT NOT NULL,"
    " error_code TEXT NOT NULL, status INTEGER NOT NULL, replica INTEGER NOT NULL,"
    " retries INTEGER NOT NULL, is_known INTEGER NOT NULL, is_estimated INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
    " completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,"
    " busy_ns INTEGER NOT NULL, wait_ms INTEGER NOT NULL, first_token_ms INTEGER NOT NULL,"
    " duration_ms INTEGER NOT NULL, cost_nano INTEGER) STRICT, WITHOUT ROWID;"
    "CREATE INDEX requests_ended ON requests (ended_ms);"
    "CREATE TABLE usage_hours ("
    " hour_s INTEGER NOT NULL, organisation TEXT NOT NULL, team TEXT NOT NULL,"
    " key_id TEXT NOT NULL, key_name TEXT NOT NULL, model TEXT NOT NULL,"
    " requests INTEGER NOT NULL, failures INTEGER NOT NULL, estimated INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
    " completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,"
    " busy_ns INTEGER NOT NULL, cost_nano INTEGER NOT NULL,"
    " PRIMARY KEY (hour_s, organisation, team, key_id, model)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit_heads ("
    " path TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;"
    "CREATE TABLE changes (what TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;"
    "INSERT INTO changes VALUES ('keys', 0);"
    "CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN"
    " UPDATE changes SET count = count + 1 WHERE what = 'keys'; END;"
    "CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN"
    " UPDATE changes SET count = count + 1 WHERE what = 'keys'; END;"
    "CREATE TRIGGER secrets_inserted AFTER INSERT ON secrets BEGIN"
    " UPDATE changes SET count = count + 1 WHERE what = 'keys'; END;"
    "CREATE TRIGGER secrets_updated AFTER UPDATE ON secrets BEGIN"
    " UPDATE changes SET count = count + 1 WHERE what = 'keys'; END;"
    "PRAGMA user_version = 2;";

/* Gateways that share a database must know of each other who has spent how much and may spend up to what. With a file there is
 * only ever one, named ''; the table is the same. */
static const char schema_3[] =
    "CREATE TABLE spending ("
    " subject TEXT NOT NULL, period TEXT NOT NULL, gateway TEXT NOT NULL, nano INTEGER NOT NULL,"
    " held_nano INTEGER NOT NULL, held_until_ms INTEGER NOT NULL,"
    " PRIMARY KEY (subject, period, gateway)) STRICT;"
    "INSERT INTO spending SELECT subject, period, '', nano, 0, 0 FROM spent;"
    "DROP TABLE spent;"
    "ALTER TABLE spending RENAME TO spent;"
    "PRAGMA user_version = 3;";

static const char keys_version[] = "SELECT count FROM changes WHERE what = 'keys'";

struct file_database {
    struct state_database head;
    sqlite3 *connection; /* owned */
    int64_t data_version, keys_version;
};

struct file_statement {
    struct state_statement head;
    struct file_database *database; /* borrowed */
    sqlite3_stmt *prepared;         /* owned */
};

static struct file_database *database_of(const state_database *database)
{
    return (struct file_database *)CONTAINER_OF(database, struct file_database, head);
}

static struct file_statement *statement_of(const state_statement *statement)
{
    return (struct file_statement *)CONTAINER_OF(statement, struct file_statement, head);
}

static void error_tell(const struct file_database *database, struct error_note *note)
{
    error_note_set(note, "the state database: %s", sqlite3_errmsg(database->connection));
}

static status status_of(int code)
{
    if (code == SQLITE_DONE || code == SQLITE_OK)
        return STATUS_OK;
    if (code == SQLITE_BUSY)
        return STATUS_AGAIN;
    return code == SQLITE_CONSTRAINT ? STATUS_INVALID : STATUS_IO;
}

/* One number, like that of a PRAGMA. */
static status number_read(struct file_database *database, const char *sql, int64_t *out,
                          struct error_note *note)
{
    sqlite3_stmt *statement = NULL;
    status result = STATUS_IO;

    if (sqlite3_prepare_v2(database->connection, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        *out = sqlite3_column_int64(statement, 0);
        result = STATUS_OK;
    } else {
        error_tell(database, note);
    }
    sqlite3_finalize(statement);
    return result;
}

static status execute(struct file_database *database, const char *sql, struct error_note *note)
{
    int code = sqlite3_exec(database->connection, sql, NULL, NULL, NULL);

    if (code != SQLITE_OK)
        error_tell(database, note);
    return code == SQLITE_CONSTRAINT ? STATUS_IO : status_of(code);
}

/* --- transactions --- */

static status file_begin(state_database *database, bool is_reading, struct error_note *note)
{
    return execute(database_of(database), is_reading ? "BEGIN" : "BEGIN IMMEDIATE", note);
}

static void file_roll_back(state_database *database)
{
    (void)sqlite3_exec(database_of(database)->connection, "ROLLBACK", NULL, NULL, NULL);
}

static status file_commit(state_database *database, struct error_note *note)
{
    status result = execute(database_of(database), "COMMIT", note);

    if (result != STATUS_OK)
        file_roll_back(database);
    return result;
}

static status file_now_ms(state_database *database, uint64_t *out, struct error_note *note)
{
    (void)database;
    (void)note;
    *out = clock_wall_ms();
    return STATUS_OK;
}

/* data_version is in memory that the processes share, and cheap; the ledger's writes change it as well. */
static status file_has_changed(state_database *head, bool *out, struct error_note *note)
{
    struct file_database *database = database_of(head);
    int64_t data = 0, keys = database->keys_version;
    status result = number_read(database, "PRAGMA data_version", &data, note);

    if (result == STATUS_OK && data != database->data_version)
        result = number_read(database, keys_version, &keys, note);
    if (result != STATUS_OK)
        return result;
    *out = keys != database->keys_version;
    database->data_version = data;
    database->keys_version = keys;
    return STATUS_OK;
}

static uint32_t file_changed_count(const state_database *database)
{
    return (uint32_t)sqlite3_changes(database_of(database)->connection);
}

/* --- statements --- */

static state_statement *file_prepare(state_database *head, const char *sql, struct error_note *note)
{
    struct file_database *database = database_of(head);
    struct file_statement *statement = memory_allocate_array(1, sizeof(*statement));

    if (statement == NULL) {
        error_note_set(note, "out of memory");
        return NULL;
    }
    statement->head.driver = head->driver;
    statement->database = database;
    if (sqlite3_prepare_v2(database->connection, sql, -1, &statement->prepared, NULL) !=
        SQLITE_OK) {
        error_tell(database, note);
        memory_release(statement);
        return NULL;
    }
    return &statement->head;
}

static void file_statement_close(state_statement *head)
{
    struct file_statement *statement = statement_of(head);

    sqlite3_finalize(statement->prepared);
    memory_release(statement);
}

static void file_bind_text(state_statement *statement, unsigned place, const char *text)
{
    (void)sqlite3_bind_text(statement_of(statement)->prepared, (int)place, text, -1, SQLITE_STATIC);
}

static void file_bind_number(state_statement *statement, unsigned place, int64_t number)
{
    (void)sqlite3_bind_int64(statement_of(statement)->prepared, (int)place, number);
}

static void file_bind_bytes(state_statement *statement, unsigned place, const void *data,
                            size_t bytes)
{
    (void)sqlite3_bind_blob(statement_of(statement)->prepared, (int)place, data, (int)bytes,
                            SQLITE_STATIC);
}

static void file_bind_null(state_statement *statement, unsigned place)
{
    (void)sqlite3_bind_null(statement_of(statement)->prepared, (int)place);
}

static status file_step(state_statement *head, bool *has_row, struct error_note *note)
{
    struct file_statement *statement = statement_of(head);
    int code = sqlite3_step(statement->prepared);

    *has_row = code == SQLITE_ROW;
    if (*has_row)
        return STATUS_OK;
    if (code != SQLITE_DONE)
        error_tell(statement->database, note);
    (void)sqlite3_reset(statement->prepared);
    return status_of(code);
}

static status file_queue(state_statement *statement, struct error_note *note)
{
    return state_statement_run(statement, note);
}

static const char *file_column_text(const state_statement *statement, unsigned column)
{
    const unsigned char *text = sqlite3_column_text(statement_of(statement)->prepared, (int)column);

    return text != NULL ? (const char *)text : "";
}

static int64_t file_column_number(const state_statement *statement, unsigned column)
{
    return sqlite3_column_int64(statement_of(statement)->prepared, (int)column);
}

static bool file_column_bytes(const state_statement *head, unsigned column, void *out, size_t bytes)
{
    sqlite3_stmt *prepared = statement_of(head)->prepared;

    if (sqlite3_column_bytes(prepared, (int)column) != (int)bytes)
        return false;
    memcpy(out, sqlite3_column_blob(prepared, (int)column), bytes);
    return true;
}

/* --- life --- */

static void file_close(state_database *head)
{
    struct file_database *database = database_of(head);

    sqlite3_close_v2(database->connection);
    memory_release(database);
}

static const struct state_driver file_driver = {
    .close = file_close,
    .now_ms = file_now_ms,
    .has_changed = file_has_changed,
    .begin = file_begin,
    .commit = file_commit,
    .roll_back = file_roll_back,
    .changed_count = file_changed_count,
    .prepare = file_prepare,
    .statement_close = file_statement_close,
    .bind_text = file_bind_text,
    .bind_number = file_bind_number,
    .bind_bytes = file_bind_bytes,
    .bind_null = file_bind_null,
    .step = file_step,
    .column_text = file_column_text,
    .column_number = file_column_number,
    .column_bytes = file_column_bytes,
    .queue = file_queue,
};

/* Under the writers' lock: two processes may come to an empty file at once. */
static status schema_make(struct file_database *database, const char *path, struct error_note *note)
{
    static const char *const schemas[SCHEMA_VERSION] = {schema_1, schema_2, schema_3};
    int64_t version = 0;
    status result = file_begin(&database->head, false, note);

    if (result != STATUS_OK)
        return result;
    result = number_read(database, "PRAGMA user_version", &version, note);
    for (int64_t next = version; result == STATUS_OK && next < SCHEMA_VERSION; next++)
        result = execute(database, schemas[next], note);
    if (result == STATUS_OK && version > SCHEMA_VERSION) {
        error_note_set(note, "%s is of a newer version of the program", path);
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK)
        return file_commit(&database->head, note);
    file_roll_back(&database->head);
    return result;
}

/* SQLite would make it readable for everybody. A file that is there is not opened here: closing it would take away the locks
 * that other connections of this process hold on it (POSIX), and the next process that closes the database would then delete
 * their write-ahead log under them. */
static status file_make(const char *path, struct error_note *note)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (descriptor >= 0)
        close(descriptor);
    else if (errno != EEXIST || access(path, R_OK | W_OK) != 0) {
        error_note_set(note, "state.database %s cannot be opened: %s", path, strerror(errno));
        return STATUS_IO;
    }
    return STATUS_OK;
}

status state_database_open(const char *path, state_database **out, struct error_note *note)
{
    struct file_database *database = NULL;
    status result = file_make(path, note);

    if (result != STATUS_OK)
        return result;
    database = memory_allocate_array(1, sizeof(*database));
    if (database == NULL)
        return STATUS_NO_MEMORY;
    database->head.driver = &file_driver;
    if (sqlite3_open_v2(path, &database->connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        error_note_set(note, "state.database %s: %s", path,
                       database->connection != NULL ? sqlite3_errmsg(database->connection)
                                                    : "out of memory");
        file_close(&database->head);
        return STATUS_IO;
    }
    sqlite3_busy_timeout(database->connection, BUSY_TIMEOUT_MS);
    result = execute(database,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "PRAGMA foreign_keys = ON;",
                     note);
    if (result == STATUS_OK)
        result = schema_make(database, path, note);
    if (result == STATUS_OK)
        result = number_read(database, "PRAGMA data_version", &database->data_version, note);
    if (result == STATUS_OK)
        result = number_read(database, keys_version, &database->keys_version, note);
    if (result != STATUS_OK) {
        file_close(&database->head);
        return result;
    }
    *out = &database->head;
    return STATUS_OK;
}
