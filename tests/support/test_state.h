#ifndef PENSTOCK_TESTS_TEST_STATE_H
#define PENSTOCK_TESTS_TEST_STATE_H

#include <stdlib.h>

#include "state_database.h"

/* The state database of a test: the SQLite file at `path`, or the PostgreSQL that PENSTOCK_TEST_POSTGRES names
 * (tests/integration/test_shared_state.py sets it and runs the same tests once more). */

static inline bool test_state_is_server(void)
{
    return getenv("PENSTOCK_TEST_POSTGRES") != NULL; // NOLINT: one thread
}

static inline status test_state_open(const char *path, state_database **out,
                                     struct error_note *note)
{
    if (test_state_is_server())
        return state_database_open_postgres(getenv("PENSTOCK_TEST_POSTGRES"), "", out, // NOLINT
                                            note);
    return state_database_open(path, out, note);
}

/* As above, with empty tables. */
static inline status test_state_open_empty(const char *path, state_database **out,
                                           struct error_note *note)
{
    static const char *const tables[] = {"secrets",     "keys",        "spent", "requests",
                                         "usage_hours", "audit_heads", "leases"};
    status result = test_state_open(path, out, note);

    for (size_t i = 0; test_state_is_server() && result == STATUS_OK && i < 7; i++) {
        char sql[64];
        state_statement *statement;

        (void)snprintf(sql, sizeof(sql), "DELETE FROM %s", tables[i]);
        statement = state_database_prepare(*out, sql, note);
        result = statement != NULL ? state_database_run(statement, note) : STATUS_IO;
    }
    return result;
}

#endif
