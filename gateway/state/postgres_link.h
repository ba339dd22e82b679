#ifndef PENSTOCK_STATE_POSTGRES_LINK_H
#define PENSTOCK_STATE_POSTGRES_LINK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* A connection to PostgreSQL that is made again when it has broken, and the schema there. One thread at a time. */

struct postgres_link {
    PGconn *connection;     /* owned; NULL: none */
    char *uri, *password;   /* owned */
    uint64_t retry_ns;      /* no attempt before */
    uint32_t generation;    /* counts connections: what a session has begins anew with each */
    struct error_note last; /* why the last attempt has failed */
};

/* Copies both, connects, makes the schema. Statuses as state_database_open_postgres. */
NODISCARD status postgres_link_open(struct postgres_link *link, const char *uri,
                                    const char *password, struct error_note *note);
void postgres_link_close(struct postgres_link *link);

/* Connects again where that is needed, at most once a second. STATUS_OK, STATUS_IO with a note. */
NODISCARD status postgres_link_ensure(struct postgres_link *link, struct error_note *note);

/* What a result tells, which stays the caller's (NULL: out of memory, or the connection is gone). STATUS_OK; STATUS_INVALID: a
 * constraint; STATUS_AGAIN: a lock or a time-out; STATUS_IO; with a note. */
NODISCARD status postgres_result_status(struct postgres_link *link, const PGresult *result,
                                        struct error_note *note);

/* Runs one or more commands without parameters. Statuses as above. */
NODISCARD status postgres_execute(struct postgres_link *link, const char *sql,
                                  struct error_note *note);
/* The number in the first column of the first row. STATUS_NOT_FOUND: there is no row. */
NODISCARD status postgres_number(struct postgres_link *link, const char *sql, int64_t *out,
                                 struct error_note *note);

/* The lock of all who write, until the end of the transaction: what SQLite has by itself. */
#define POSTGRES_BEGIN_SQL "BEGIN; SELECT pg_advisory_xact_lock(7885075412160385899)"

#endif
