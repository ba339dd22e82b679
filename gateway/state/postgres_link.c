#include "postgres_link.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "memory.h"
#include "postgres_schema.h"

#define AREA     "gateway/state"
#define RETRY_NS (1 * NS_PER_SECOND)

/* Whoever waits for an answer of a server that has gone without a word waits as long as these say, and a gateway that has gone
 * keeps others from writing for as long. All are long for statements of milliseconds. */
static const char session_sql[] = "SET search_path TO penstock; SET client_min_messages TO warning;"
                                  "SET statement_timeout TO '10s'; SET lock_timeout TO '2s';"
                                  "SET idle_in_transaction_session_timeout TO '10s'";

static char *text_copy(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);

    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

/* libpq's texts end with a line feed and may have several lines, with tabs before them. */
static void message_tell(struct error_note *note, const char *text)
{
    char line[512];
    size_t bytes = 0;

    for (; *text != '\0' && bytes < sizeof(line) - 1; text++) {
        bool is_space = *text == '\n' || *text == '\t' || *text == ' ';

        if (!is_space || (bytes > 0 && line[bytes - 1] != ' '))
            line[bytes++] = is_space ? ' ' : *text;
    }
    while (bytes > 0 && line[bytes - 1] == ' ')
        bytes--;
    line[bytes] = '\0';
    error_note_set(note, "PostgreSQL: %s", bytes > 0 ? line : "no answer");
}

static void notice_log(void *context, const char *text)
{
    struct error_note note;

    (void)context;
    message_tell(&note, text);
    log_warn(AREA, "%s", note.text);
}

/* --- results --- */

/* PostgreSQL's appendix A, error codes. */
static status code_status(const char *code)
{
    static const char *const passing[] = {"55P03", "40001", "40P01", "57014"};

    if (code == NULL)
        return STATUS_IO;
    if (strncmp(code, "23", 2) == 0)
        return STATUS_INVALID;
    for (size_t i = 0; i < ARRAY_COUNT(passing); i++) {
        if (strcmp(code, passing[i]) == 0)
            return STATUS_AGAIN;
    }
    return STATUS_IO;
}

status postgres_result_status(struct postgres_link *link, const PGresult *result,
                              struct error_note *note)
{
    ExecStatusType type = PQresultStatus(result);
    const char *text;

    if (result != NULL && (type == PGRES_COMMAND_OK || type == PGRES_TUPLES_OK ||
                           type == PGRES_PIPELINE_SYNC || type == PGRES_EMPTY_QUERY))
        return STATUS_OK;
    text = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    message_tell(note, text != NULL ? text : PQerrorMessage(link->connection));
    return result != NULL ? code_status(PQresultErrorField(result, PG_DIAG_SQLSTATE)) : STATUS_IO;
}

status postgres_execute(struct postgres_link *link, const char *sql, struct error_note *note)
{
    PGresult *result = PQexec(link->connection, sql);
    status outcome = postgres_result_status(link, result, note);

    PQclear(result);
    return outcome;
}

status postgres_number(struct postgres_link *link, const char *sql, int64_t *out,
                       struct error_note *note)
{
    PGresult *result = PQexec(link->connection, sql);
    status outcome = postgres_result_status(link, result, note);

    if (outcome == STATUS_OK && PQntuples(result) == 0)
        outcome = STATUS_NOT_FOUND;
    if (outcome == STATUS_OK)
        *out = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return outcome;
}

/* --- the schema --- */

static status version_read(struct postgres_link *link, int64_t *version, struct error_note *note)
{
    int64_t is_there = 0;
    status result = postgres_number(
        link, "SELECT (to_regclass('penstock.version') IS NOT NULL)::int", &is_there, note);

    *version = 0;
    if (result == STATUS_OK && is_there != 0)
        result = postgres_number(link, "SELECT number FROM version", version, note);
    return result;
}

static status schema_renew(struct postgres_link *link, int64_t version, struct error_note *note)
{
    status result = STATUS_OK;

    /* The search path names it before it is there. */
    for (int64_t next = version; result == STATUS_OK && next < POSTGRES_SCHEMA_VERSION; next++)
        result = postgres_execute(link, postgres_schemas[next], note);
    if (result == STATUS_INVALID || (result != STATUS_OK && version == 0))
        error_note_prefix(note, "the schema 'penstock' cannot be made (the role needs CREATE on "
                                "the database, or the schema as its own)");
    if (version > POSTGRES_SCHEMA_VERSION) {
        error_note_set(note, "PostgreSQL: the schema 'penstock' is of a newer version of the "
                             "program");
        result = STATUS_INVALID;
    }
    return result;
}

/* Under the writers' lock: two gateways may come to an empty database at once. */
static status schema_make(struct postgres_link *link, struct error_note *note)
{
    struct error_note unused;
    int64_t version = 0;
    status result = postgres_execute(link, POSTGRES_BEGIN_SQL, note);

    if (result == STATUS_OK)
        result = version_read(link, &version, note);
    if (result == STATUS_OK && version != POSTGRES_SCHEMA_VERSION)
        result = schema_renew(link, version, note);
    if (result == STATUS_OK)
        return postgres_execute(link, "COMMIT", note);
    if (postgres_execute(link, "ROLLBACK", &unused) != STATUS_OK)
        return STATUS_AGAIN; /* it went in the middle */
    return result == STATUS_IO ? STATUS_INVALID : result;
}

/* --- the connection --- */

/* What the URI says itself goes before, but for the password of the config. */
static status connect(struct postgres_link *link, struct error_note *note)
{
    const char *const names[] = {"connect_timeout",
                                 "tcp_user_timeout",
                                 "keepalives_idle",
                                 "application_name",
                                 "dbname",
                                 "client_encoding",
                                 link->password[0] != '\0' ? "password" : NULL,
                                 NULL};
    const char *const values[] = {"3",    "5000",         "5", "penstock", link->uri,
                                  "UTF8", link->password, NULL};
    bool is_answering;

    PQfinish(link->connection);
    link->connection = PQconnectdbParams(names, values, 1);
    link->generation++;
    if (link->connection == NULL)
        return STATUS_NO_MEMORY;
    (void)PQsetNoticeProcessor(link->connection, notice_log, NULL);
    if (PQstatus(link->connection) == CONNECTION_OK)
        return postgres_execute(link, session_sql, note);
    message_tell(note, PQerrorMessage(link->connection));
    is_answering = PQpingParams(names, values, 1) == PQPING_OK;
    PQfinish(link->connection);
    link->connection = NULL;
    return is_answering ? STATUS_INVALID : STATUS_AGAIN;
}

status postgres_link_ensure(struct postgres_link *link, struct error_note *note)
{
    status result;

    if (link->connection != NULL && PQstatus(link->connection) == CONNECTION_OK)
        return STATUS_OK;
    if (clock_now_ns() < link->retry_ns) {
        *note = link->last;
        return STATUS_IO;
    }
    result = connect(link, &link->last);
    if (result == STATUS_OK)
        return STATUS_OK;
    PQfinish(link->connection);
    link->connection = NULL;
    link->retry_ns = clock_now_ns() + RETRY_NS;
    *note = link->last;
    return STATUS_IO;
}

/* A URI with a mistake would be told as a server that does not answer. */
static status uri_check(const char *uri, struct error_note *note)
{
    char *text = NULL;
    PQconninfoOption *options = PQconninfoParse(uri, &text);

    if (options == NULL)
        message_tell(note, text != NULL ? text : "out of memory");
    PQfreemem(text);
    PQconninfoFree(options);
    return options != NULL ? STATUS_OK : STATUS_INVALID;
}

status postgres_link_open(struct postgres_link *link, const char *uri, const char *password,
                          struct error_note *note)
{
    status result;

    *link = (struct postgres_link){.uri = text_copy(uri), .password = text_copy(password)};
    result = link->uri != NULL && link->password != NULL ? uri_check(uri, note) : STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = connect(link, note);
    if (result == STATUS_OK)
        result = schema_make(link, note);
    if (result != STATUS_OK)
        postgres_link_close(link);
    return result;
}

void postgres_link_close(struct postgres_link *link)
{
    PQfinish(link->connection);
    if (link->password != NULL)
        explicit_bzero(link->password, strlen(link->password));
    memory_release(link->password);
    memory_release(link->uri);
    *link = (struct postgres_link){0};
}
