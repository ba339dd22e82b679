#include "state_database.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#define SCHEMA_VERSION  2
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

static const char keys_version[] = "SELECT count FROM changes WHERE what = 'keys'";

struct state_database {
    sqlite3 *connection; /* owned */
    int64_t data_version, keys_version;
};

void state_database_note(const state_database *database, struct error_note *note)
{
    error_note_set(note, "the state database: %s", sqlite3_errmsg(database->connection));
}

/* One number, like that of a PRAGMA. */
static status number_read(state_database *database, const char *sql, int64_t *out,
                          struct error_note *note)
{
    sqlite3_stmt *statement = state_database_prepare(database, sql, note);
    status result = STATUS_IO;

    if (statement == NULL)
        return STATUS_IO;
    if (sqlite3_step(statement) == SQLITE_ROW) {
        *out = sqlite3_column_int64(statement, 0);
        result = STATUS_OK;
    } else {
        state_database_note(database, note);
    }
    sqlite3_finalize(statement);
    return result;
}

static status execute(state_database *database, const char *sql, struct error_note *note)
{
    int code = sqlite3_exec(database->connection, sql, NULL, NULL, NULL);

    if (code == SQLITE_OK)
        return STATUS_OK;
    state_database_note(database, note);
    return code == SQLITE_BUSY ? STATUS_AGAIN : STATUS_IO;
}

/* Under the writers' lock: two processes may come to an empty file at once. */
static status schema_make(state_database *database, const char *path, struct error_note *note)
{
    int64_t version = 0;
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    result = number_read(database, "PRAGMA user_version", &version, note);
    if (result == STATUS_OK && version == 0)
        result = execute(database, schema_1, note);
    if (result == STATUS_OK && version <= 1)
        result = execute(database, schema_2, note);
    if (result == STATUS_OK && version > SCHEMA_VERSION) {
        error_note_set(note, "%s is of a newer version of the program", path);
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
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
    state_database *database = NULL;
    status result = file_make(path, note);

    if (result != STATUS_OK)
        return result;
    database = memory_allocate_array(1, sizeof(*database));
    if (database == NULL)
        return STATUS_NO_MEMORY;
    if (sqlite3_open_v2(path, &database->connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        error_note_set(note, "state.database %s: %s", path,
                       database->connection != NULL ? sqlite3_errmsg(database->connection)
                                                    : "out of memory");
        state_database_close(database);
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
        state_database_close(database);
        return result;
    }
    *out = database;
    return STATUS_OK;
}

void state_database_close(state_database *database)
{
    if (database == NULL)
        return;
    sqlite3_close_v2(database->connection);
    memory_release(database);
}

/* data_version is in memory that the processes share, and cheap; the ledger's writes change it as well. */
status state_database_has_changed(state_database *database, bool *out, struct error_note *note)
{
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

status state_database_begin(state_database *database, struct error_note *note)
{
    return execute(database, "BEGIN IMMEDIATE", note);
}

status state_database_commit(state_database *database, struct error_note *note)
{
    status result = execute(database, "COMMIT", note);

    if (result != STATUS_OK)
        state_database_roll_back(database);
    return result;
}

void state_database_roll_back(state_database *database)
{
    (void)sqlite3_exec(database->connection, "ROLLBACK", NULL, NULL, NULL);
}

sqlite3_stmt *state_database_prepare(state_database *database, const char *sql,
                                     struct error_note *note)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(database->connection, sql, -1, &statement, NULL) != SQLITE_OK)
        state_database_note(database, note);
    return statement;
}

status state_database_run(state_database *database, sqlite3_stmt *statement,
                          struct error_note *note)
{
    int code = sqlite3_step(statement);

    if (code != SQLITE_DONE)
        state_database_note(database, note);
    sqlite3_finalize(statement);
    if (code == SQLITE_DONE)
        return STATUS_OK;
    return code == SQLITE_CONSTRAINT ? STATUS_INVALID : STATUS_IO;
}

uint32_t state_database_changed_count(const state_database *database)
{
    return (uint32_t)sqlite3_changes(database->connection);
}
