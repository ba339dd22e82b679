#ifndef PENSTOCK_STATE_STATE_DRIVER_H
#define PENSTOCK_STATE_STATE_DRIVER_H

#include "state_database.h"

/* What a kind of database has to do for state_database.h, whose functions pass on to these. Its own structs begin with the two
 * below. */
struct state_driver {
    bool is_shared;
    void (*close)(state_database *database);
    status (*now_ms)(state_database *database, uint64_t *out, struct error_note *note);
    status (*has_changed)(state_database *database, bool *out, struct error_note *note);
    status (*begin)(state_database *database, bool is_reading, struct error_note *note);
    status (*commit)(state_database *database, struct error_note *note);
    void (*roll_back)(state_database *database);
    uint32_t (*changed_count)(const state_database *database);
    state_statement *(*prepare)(state_database *database, const char *sql, struct error_note *note);
    void (*statement_close)(state_statement *statement);
    void (*bind_text)(state_statement *statement, unsigned place, const char *text);
    void (*bind_number)(state_statement *statement, unsigned place, int64_t number);
    void (*bind_bytes)(state_statement *statement, unsigned place, const void *data, size_t bytes);
    void (*bind_null)(state_statement *statement, unsigned place);
    status (*step)(state_statement *statement, bool *has_row, struct error_note *note);
    const char *(*column_text)(const state_statement *statement, unsigned column);
    int64_t (*column_number)(const state_statement *statement, unsigned column);
    bool (*column_bytes)(const state_statement *statement, unsigned column, void *out,
                         size_t bytes);
    status (*queue)(state_statement *statement, struct error_note *note);
};

struct state_database {
    const struct state_driver *driver;
};

struct state_statement {
    const struct state_driver *driver;
};

#endif
