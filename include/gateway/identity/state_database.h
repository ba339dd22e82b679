#ifndef PENSTOCK_IDENTITY_STATE_DATABASE_H
#define PENSTOCK_IDENTITY_STATE_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What the gateway keeps over its restarts, in one SQLite file (write-ahead log): keys, spent money, the ledger. Several processes may have
 * it open, the gateway and `penstock keys` beside it. No loop ever touches it. One thread at a time. */
typedef struct state_database state_database;
struct sqlite3;
struct sqlite3_stmt;

/* Opens the file, and makes it (mode 0600) where it is not there. STATUS_OK, STATUS_IO, STATUS_INVALID (no such
 * database, or of a newer version) with a note, STATUS_NO_MEMORY. */
NODISCARD status state_database_open(const char *path, state_database **out,
                                     struct error_note *note);
void state_database_close(state_database *database); /* accepts NULL */

/* Whether another connection has changed keys since the last call. STATUS_OK, STATUS_IO with a note. */
NODISCARD status state_database_has_changed(state_database *database, bool *out,
                                            struct error_note *note);

/* One write, all or nothing; the lock is taken at the begin. STATUS_OK, STATUS_AGAIN (somebody else is writing, for
 * seconds), STATUS_IO. */
NODISCARD status state_database_begin(state_database *database, struct error_note *note);
NODISCARD status state_database_commit(state_database *database, struct error_note *note);
void state_database_roll_back(state_database *database);

/* A statement; `sql` is static text. NULL with a note on failure. sqlite3_finalize it. */
struct sqlite3_stmt *state_database_prepare(state_database *database, const char *sql,
                                            struct error_note *note);
/* Runs a statement that gives no rows, and finalizes it. STATUS_OK, STATUS_INVALID (a constraint), STATUS_IO. */
NODISCARD status state_database_run(state_database *database, struct sqlite3_stmt *statement,
                                    struct error_note *note);
/* Rows that the last statement changed. */
uint32_t state_database_changed_count(const state_database *database);
/* The database's last error, as text for the note. */
void state_database_note(const state_database *database, struct error_note *note);

#endif
