/* The PostgreSQL kind, through libpq
 *
 * A statement is SQL and parameters until it runs, so that it outlives the connection: each run sends it whole, or, when it is
 * queued, prepares it once for each connection and sends only its parameters. Queued statements go out in libpq's pipeline
 * mode; their outcomes are read at the next call that needs an answer. A transaction on a connection that breaks has failed
 * as a whole: it is not begun again here. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "hex.h"
#include "memory.h"
#include "postgres_link.h"
#include "state_driver.h"
#include "utf8.h"

#define POLL_NS            (2 * NS_PER_SECOND) /* a notification may be lost with a connection */
#define KEYS_VERSION_SQL   "SELECT count FROM changes WHERE what = 'keys'"
#define NUMBER_BYTES       24u
#define STATEMENT_NAME_MAX 48u
/* Types of parameters (pg_type.dat). */
#define TYPE_BYTEA 17u
#define TYPE_INT8  20u
#define TYPE_TEXT  25u

struct server_database {
    struct state_database head;
    struct postgres_link link;
    bool is_in_transaction;
    uint32_t prepare_epoch; /* prepared statements of before do not count */
    uint32_t statement_count, changed_count, listening_generation;
    uint64_t polled_ns;
    int64_t keys_version;
};

struct server_statement {
    struct state_statement head;
    struct server_database *database; /* borrowed */
    char *sql;                        /* owned */
    uint32_t id, prepared_epoch, prepared_generation;
    PGresult *result; /* owned; NULL: it is not running */
    int row, count;   /* parameters */
    Oid types[STATE_PARAMETERS_MAX];
    const char *values[STATE_PARAMETERS_MAX];
    int lengths[STATE_PARAMETERS_MAX], formats[STATE_PARAMETERS_MAX];
    char numbers[STATE_PARAMETERS_MAX][NUMBER_BYTES];
    char *repaired[STATE_PARAMETERS_MAX]; /* owned */
};

static struct server_database *database_of(const state_database *database)
{
    return (struct server_database *)CONTAINER_OF(database, struct server_database, head);
}

static struct server_statement *statement_of(const state_statement *statement)
{
    return (struct server_statement *)CONTAINER_OF(statement, struct server_statement, head);
}

static PGconn *connection_of(const struct server_database *database)
{
    return database->link.connection;
}

/* Inside of a transaction a new connection would not help. */
static status ready(struct server_database *database, struct error_note *note)
{
    if (!database->is_in_transaction)
        return postgres_link_ensure(&database->link, note);
    if (PQstatus(connection_of(database)) == CONNECTION_OK)
        return STATUS_OK;
    error_note_set(note, "PostgreSQL: the connection has broken");
    return STATUS_IO;
}

/* --- the pipeline --- */

/* Outcomes of what was queued: the first that failed tells. */
static status pipeline_end(struct server_database *database, struct error_note *note)
{
    PGconn *connection = connection_of(database);
    status outcome = STATUS_OK;
    bool has_ended = false;

    if (PQpipelineStatus(connection) == PQ_PIPELINE_OFF)
        return STATUS_OK;
    if (PQpipelineSync(connection) != 1)
        outcome = postgres_result_status(&database->link, NULL, note);
    while (!has_ended && PQstatus(connection) == CONNECTION_OK) {
        PGresult *result = PQgetResult(connection);

        has_ended = result != NULL && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (result != NULL && outcome == STATUS_OK)
            outcome = postgres_result_status(&database->link, result, note);
        PQclear(result);
    }
    if (!has_ended && outcome == STATUS_OK)
        outcome = postgres_result_status(&database->link, NULL, note);
    if (outcome != STATUS_OK)
        database->prepare_epoch++; /* what came after the failure has not been prepared */
    (void)PQexitPipelineMode(connection);
    return outcome;
}

static status statement_prepare(struct server_statement *statement, const char *name,
                                struct error_note *note)
{
    struct server_database *database = statement->database;

    if (statement->prepared_generation == database->link.generation &&
        statement->prepared_epoch == database->prepare_epoch)
        return STATUS_OK;
    if (PQsendPrepare(connection_of(database), name, statement->sql, statement->count,
                      statement->types) != 1)
        return postgres_result_status(&database->link, NULL, note);
    statement->prepared_generation = database->link.generation;
    statement->prepared_epoch = database->prepare_epoch;
    return STATUS_OK;
}

static status server_queue(state_statement *head, struct error_note *note)
{
    struct server_statement *statement = statement_of(head);
    struct server_database *database = statement->database;
    PGconn *connection = connection_of(database);
    char name[STATEMENT_NAME_MAX];
    status result = ready(database, note);

    CHECK(database->is_in_transaction);
    if (result != STATUS_OK)
        return result;
    (void)snprintf(name, sizeof(name), "penstock_%u_%u", statement->id, database->prepare_epoch);
    if (PQpipelineStatus(connection) == PQ_PIPELINE_OFF && PQenterPipelineMode(connection) != 1)
        return postgres_result_status(&database->link, NULL, note);
    result = statement_prepare(statement, name, note);
    if (result == STATUS_OK &&
        PQsendQueryPrepared(connection, name, statement->count, statement->values,
                            statement->lengths, statement->formats, 0) != 1)
        result = postgres_result_status(&database->link, NULL, note);
    return result;
}

/* --- transactions --- */

static void server_roll_back(state_database *head)
{
    struct server_database *database = database_of(head);
    struct error_note unused;

    database->is_in_transaction = false;
    if (connection_of(database) == NULL || PQstatus(connection_of(database)) != CONNECTION_OK)
        return;
    if (pipeline_end(database, &unused) != STATUS_OK) {
        /* told by whoever rolls back */
    }
    /* A session that cannot even do this is of no use. */
    if (postgres_execute(&database->link, "ROLLBACK; DEALLOCATE ALL", &unused) != STATUS_OK) {
        PQfinish(database->link.connection);
        database->link.connection = NULL;
    }
    database->prepare_epoch++;
}

static status server_begin(state_database *head, bool is_reading, struct error_note *note)
{
    struct server_database *database = database_of(head);
    status result = ready(database, note);

    if (result != STATUS_OK)
        return result;
    result = postgres_execute(
        &database->link,
        is_reading ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : POSTGRES_BEGIN_SQL, note);
    if (result == STATUS_OK)
        database->is_in_transaction = true;
    else
        server_roll_back(head);
    return result;
}

/* COMMIT of a transaction that has failed is answered with ROLLBACK, as though all were well. */
static status server_commit(state_database *head, struct error_note *note)
{
    struct server_database *database = database_of(head);
    status outcome = ready(database, note);

    if (outcome == STATUS_OK)
        outcome = pipeline_end(database, note);
    if (outcome == STATUS_OK) {
        PGresult *result = PQexec(connection_of(database), "COMMIT");

        outcome = postgres_result_status(&database->link, result, note);
        if (outcome == STATUS_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0) {
            error_note_set(note, "PostgreSQL: the transaction has failed");
            outcome = STATUS_IO;
        }
        PQclear(result);
    }
    if (outcome != STATUS_OK)
        server_roll_back(head);
    database->is_in_transaction = false;
    return outcome;
}

static status server_now_ms(state_database *head, uint64_t *out, struct error_note *note)
{
    struct server_database *database = database_of(head);
    int64_t now_ms = 0;
    status result = ready(database, note);

    if (result == STATUS_OK)
        result = pipeline_end(database, note);
    if (result == STATUS_OK)
        result = postgres_number(&database->link,
                                 "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                                 &now_ms, note);
    if (result == STATUS_OK)
        *out = (uint64_t)now_ms;
    return result;
}

/* --- changes --- */

static bool was_notified(PGconn *connection)
{
    bool was = false;
    PGnotify *notification;

    (void)PQconsumeInput(connection); /* a connection that has broken is noticed by the next call */
    while ((notification = PQnotifies(connection)) != NULL) {
        was = true;
        PQfreemem(notification);
    }
    return was;
}

static status server_has_changed(state_database *head, bool *out, struct error_note *note)
{
    struct server_database *database = database_of(head);
    struct postgres_link *link = &database->link;
    uint64_t now_ns = clock_now_ns();
    int64_t version = database->keys_version;
    status result = ready(database, note);

    if (result != STATUS_OK)
        return result;
    if (database->listening_generation != link->generation) {
        result = postgres_execute(link, "LISTEN penstock_keys", note);
        if (result != STATUS_OK)
            return result;
        database->listening_generation = link->generation;
        database->polled_ns = 0;
    }
    if (was_notified(link->connection) || now_ns - database->polled_ns >= POLL_NS) {
        result = postgres_number(link, KEYS_VERSION_SQL, &version, note);
        if (result != STATUS_OK)
            return STATUS_IO;
        database->polled_ns = now_ns;
    }
    *out = version != database->keys_version;
    database->keys_version = version;
    return STATUS_OK;
}

static uint32_t server_changed_count(const state_database *database)
{
    return database_of(database)->changed_count;
}

/* --- statements --- */

static state_statement *server_prepare(state_database *head, const char *sql,
                                       struct error_note *note)
{
    struct server_statement *statement = memory_allocate_array(1, sizeof(*statement));
    size_t bytes = strlen(sql) + 1;

    if (statement != NULL)
        statement->sql = memory_allocate(bytes);
    if (statement == NULL || statement->sql == NULL) {
        memory_release(statement);
        error_note_set(note, "out of memory");
        return NULL;
    }
    statement->head.driver = head->driver;
    statement->database = database_of(head);
    statement->id = statement->database->statement_count++;
    for (size_t i = 0; i < bytes; i++) /* our SQL has no other question marks */
        statement->sql[i] = sql[i] == '?' ? '$' : sql[i];
    return &statement->head;
}

static void server_statement_close(state_statement *head)
{
    struct server_statement *statement = statement_of(head);

    PQclear(statement->result);
    for (unsigned i = 0; i < STATE_PARAMETERS_MAX; i++)
        memory_release(statement->repaired[i]);
    memory_release(statement->sql);
    memory_release(statement);
}

static void bind(state_statement *head, unsigned place, Oid type, const char *value)
{
    struct server_statement *statement = statement_of(head);
    unsigned index = place - 1;

    CHECK(index < STATE_PARAMETERS_MAX);
    statement->types[index] = type;
    statement->values[index] = value;
    statement->lengths[index] = statement->formats[index] = 0;
    if (statement->count < (int)place)
        statement->count = (int)place;
}

/* A copy with '?' for each byte that is no UTF-8; "" without memory for it. */
static const char *repair(struct server_statement *statement, unsigned index, const char *text,
                          size_t bytes)
{
    char *copy = memory_allocate(bytes + 1);

    memory_release(statement->repaired[index]);
    statement->repaired[index] = copy;
    if (copy == NULL)
        return "";
    memcpy(copy, text, bytes + 1);
    for (size_t i = 0; i < bytes;) {
        uint32_t code_point;
        size_t length = utf8_decode(copy + i, bytes - i, &code_point);

        if (length == 0)
            copy[i] = '?';
        i += length > 0 ? length : 1;
    }
    return copy;
}

/* Names that were cut to a length may end within a character. SQLite takes any bytes; here one of them would keep all rows of
 * its transaction out. */
static void server_bind_text(state_statement *head, unsigned place, const char *text)
{
    size_t bytes = strlen(text);

    if (!utf8_is_valid(text, bytes))
        text = repair(statement_of(head), place - 1, text, bytes);
    bind(head, place, TYPE_TEXT, text);
}

static void server_bind_number(state_statement *statement, unsigned place, int64_t number)
{
    char *text = statement_of(statement)->numbers[place - 1];

    (void)snprintf(text, NUMBER_BYTES, "%lld", (long long)number);
    bind(statement, place, TYPE_INT8, text);
}

static void server_bind_bytes(state_statement *head, unsigned place, const void *data, size_t bytes)
{
    struct server_statement *statement = statement_of(head);

    bind(head, place, TYPE_BYTEA, data);
    statement->lengths[place - 1] = (int)bytes;
    statement->formats[place - 1] = 1;
}

/* Only numbers may be missing in our tables. */
static void server_bind_null(state_statement *statement, unsigned place)
{
    bind(statement, place, TYPE_INT8, NULL);
}

static status statement_start(struct server_statement *statement, struct error_note *note)
{
    struct server_database *database = statement->database;
    status result = ready(database, note);

    if (result == STATUS_OK)
        result = pipeline_end(database, note);
    if (result != STATUS_OK)
        return result;
    statement->result =
        PQexecParams(connection_of(database), statement->sql, statement->count, statement->types,
                     statement->values, statement->lengths, statement->formats, 0);
    statement->row = -1;
    result = postgres_result_status(&database->link, statement->result, note);
    if (result == STATUS_OK)
        database->changed_count = (uint32_t)strtoul(PQcmdTuples(statement->result), NULL, 10);
    return result;
}

static status server_step(state_statement *head, bool *has_row, struct error_note *note)
{
    struct server_statement *statement = statement_of(head);
    status result = STATUS_OK;

    if (statement->result == NULL)
        result = statement_start(statement, note);
    *has_row = result == STATUS_OK && ++statement->row < PQntuples(statement->result);
    if (!*has_row) {
        PQclear(statement->result);
        statement->result = NULL;
    }
    return result;
}

static const char *server_column_text(const state_statement *head, unsigned column)
{
    const struct server_statement *statement = statement_of(head);

    return PQgetvalue(statement->result, statement->row, (int)column);
}

static int64_t server_column_number(const state_statement *statement, unsigned column)
{
    return strtoll(server_column_text(statement, column), NULL, 10);
}

/* Bytes come as "\x" and hex digits. */
static bool server_column_bytes(const state_statement *statement, unsigned column, void *out,
                                size_t bytes)
{
    const char *text = server_column_text(statement, column);

    if (strlen(text) != 2 + 2 * bytes || text[0] != '\\')
        return false;
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)out)[i] =
            (uint8_t)(hex_digit_value(text[2 + 2 * i]) << 4 | hex_digit_value(text[3 + 2 * i]));
    return true;
}

/* --- life --- */

static void server_close(state_database *head)
{
    struct server_database *database = database_of(head);

    postgres_link_close(&database->link);
    memory_release(database);
}

static const struct state_driver server_driver = {
    .is_shared = true,
    .close = server_close,
    .now_ms = server_now_ms,
    .has_changed = server_has_changed,
    .begin = server_begin,
    .commit = server_commit,
    .roll_back = server_roll_back,
    .changed_count = server_changed_count,
    .prepare = server_prepare,
    .statement_close = server_statement_close,
    .bind_text = server_bind_text,
    .bind_number = server_bind_number,
    .bind_bytes = server_bind_bytes,
    .bind_null = server_bind_null,
    .step = server_step,
    .column_text = server_column_text,
    .column_number = server_column_number,
    .column_bytes = server_column_bytes,
    .queue = server_queue,
};

status state_database_open_postgres(const char *uri, const char *password, state_database **out,
                                    struct error_note *note)
{
    struct server_database *database = memory_allocate_array(1, sizeof(*database));
    status result;

    if (database == NULL)
        return STATUS_NO_MEMORY;
    database->head.driver = &server_driver;
    result = postgres_link_open(&database->link, uri, password, note);
    if (result == STATUS_OK && postgres_number(&database->link, KEYS_VERSION_SQL,
                                               &database->keys_version, note) != STATUS_OK)
        result = STATUS_AGAIN;
    if (result == STATUS_OK)
        *out = &database->head;
    else
        server_close(&database->head);
    return result;
}
