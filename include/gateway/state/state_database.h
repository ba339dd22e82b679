#ifndef PENSTOCK_STATE_STATE_DATABASE_H
#define PENSTOCK_STATE_STATE_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "status.h"

/* What the gateway keeps over its restarts: keys, spent money, the ledger, the audit log's head. One of two, chosen by the
 * config: one SQLite file (write-ahead log), which several processes of a machine may have open, the gateway and `penstock
 * keys` beside it; or the schema `penstock` of a PostgreSQL database, which several gateways share. Both have the same
 * tables and take the same SQL: what both understand, parameters as ?1, ?2.
 *
 * A PostgreSQL that has gone is tried again whenever something is asked of it, at most once a second; until then every call
 * is STATUS_IO. No loop ever touches it: calls wait for disks and networks. One thread at a time. */
typedef struct state_database state_database;
typedef struct state_statement state_statement;

/* Opens the file, and makes it (mode 0600) where it is not there. STATUS_OK, STATUS_IO, STATUS_INVALID (no such
 * database, or of a newer version) with a note, STATUS_NO_MEMORY. */
NODISCARD status state_database_open(const char *path, state_database **out,
                                     struct error_note *note);

/* Connects to a server (a URI as libpq takes it; `password` "": as the URI or libpq's own files say) and makes or renews the
 * schema. STATUS_OK; STATUS_AGAIN: nobody answers there now, or the server is about to start; STATUS_INVALID: it answers
 * and refuses, or the URI is none; STATUS_NO_MEMORY; with a note. */
NODISCARD status state_database_open_postgres(const char *uri, const char *password,
                                              state_database **out, struct error_note *note);

/* The one that the config names (config_keeps_state); statuses as above. */
NODISCARD status state_database_open_configured(const struct config_state *config,
                                                state_database **out, struct error_note *note);
/* The same, but STATUS_AGAIN, which is logged once and tried again every second until it is over, or until SIGTERM or SIGINT
 * waits to be taken: STATUS_CANCELLED. For a start, with signals blocked. */
NODISCARD status state_database_open_waiting(const struct config_state *config,
                                             state_database **out, struct error_note *note);
void state_database_close(state_database *database); /* accepts NULL */

/* The file of this name for what waits on a local disk: beside the SQLite file, or in the spool. False: there is none, or
 * its name is too long. */
bool state_spool_path(const struct config_state *config, const char *name, char *out, size_t bytes);

/* Whether other gateways may use it at the same time. */
bool state_database_is_shared(const state_database *database);

/* Milliseconds since 1970 by the clock that all who share it go by. STATUS_OK, STATUS_IO with a note. */
NODISCARD status state_database_now_ms(state_database *database, uint64_t *out,
                                       struct error_note *note);

/* Whether somebody has changed keys since the last call. Cheap, several times a second: PostgreSQL notifies, and is asked only
 * every two seconds in case that was lost. STATUS_OK, STATUS_IO with a note. */
NODISCARD status state_database_has_changed(state_database *database, bool *out,
                                            struct error_note *note);

/* One write, all or nothing; the lock of all writers is taken at the begin. STATUS_OK, STATUS_AGAIN (somebody else is
 * writing, for seconds), STATUS_IO. */
NODISCARD status state_database_begin(state_database *database, struct error_note *note);
/* Reads that are all of one moment, beside writers. STATUS_OK, STATUS_IO. */
NODISCARD status state_database_begin_reading(state_database *database, struct error_note *note);
/* STATUS_OK; else nothing has been written as far as is known, and it is rolled back. */
NODISCARD status state_database_commit(state_database *database, struct error_note *note);
void state_database_roll_back(state_database *database);

/* --- statements --- */

/* `sql` is static text. NULL with a note on failure. */
state_statement *state_database_prepare(state_database *database, const char *sql,
                                        struct error_note *note);
void state_statement_close(state_statement *statement); /* accepts NULL */

/* Parameters from 1; texts and bytes are borrowed until the statement has run. */
#define STATE_PARAMETERS_MAX 32u
void state_bind_text(state_statement *statement, unsigned place, const char *text);
void state_bind_number(state_statement *statement, unsigned place, int64_t number);
void state_bind_bytes(state_statement *statement, unsigned place, const void *data, size_t bytes);
void state_bind_null(state_statement *statement, unsigned place);

/* The next row, if there is one; the first call runs the statement, and the one that finds no more rows makes it ready to be
 * bound and run again. STATUS_OK, STATUS_INVALID (a constraint), STATUS_AGAIN, STATUS_IO with a note. */
NODISCARD status state_statement_step(state_statement *statement, bool *has_row,
                                      struct error_note *note);
/* Of the row, columns from 0; live until the next step. A NULL is "" and 0. */
const char *state_column_text(const state_statement *statement, unsigned column);
int64_t state_column_number(const state_statement *statement, unsigned column);
/* False: it has another length. */
bool state_column_bytes(const state_statement *statement, unsigned column, void *out, size_t bytes);

/* Runs a statement that gives no rows; it may be bound and run again. Statuses as state_statement_step. */
NODISCARD status state_statement_run(state_statement *statement, struct error_note *note);
/* The same, inside of a transaction, without waiting for the outcome: that may be told by a later call, at the latest by the
 * commit. For many rows: they share one round trip. */
NODISCARD status state_statement_queue(state_statement *statement, struct error_note *note);
/* state_statement_run and state_statement_close. */
NODISCARD status state_database_run(state_statement *statement, struct error_note *note);
/* Rows that the last state_statement_run of this database changed. */
uint32_t state_database_changed_count(const state_database *database);

#endif
