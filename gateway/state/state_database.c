/* The choice between the two kinds, and the way to either. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"
#include "secret_source.h"
#include "state_driver.h"

status state_database_open_configured(const struct config_state *config, state_database **out,
                                      struct error_note *note)
{
    char password[SECRET_BYTES_MAX + 1];
    status result;

    if (config->postgres[0] == '\0')
        return state_database_open(config->database, out, note);
    result =
        secret_read(config->postgres_password_file, config->postgres_password_env, password, note);
    if (result == STATUS_OK)
        result = state_database_open_postgres(config->postgres, password, out, note);
    secret_forget(password, sizeof(password));
    return result;
}

static bool is_asked_to_end(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

status state_database_open_waiting(const struct config_state *config, state_database **out,
                                   struct error_note *note)
{
    status result = state_database_open_configured(config, out, note);

    if (result == STATUS_AGAIN)
        log_warn("gateway/state", "%s; it is tried again until it answers", note->text);
    while (result == STATUS_AGAIN) {
        (void)sleep(1);
        if (is_asked_to_end()) {
            error_note_prefix(note, "asked to end while state.postgres did not answer");
            return STATUS_CANCELLED;
        }
        result = state_database_open_configured(config, out, note);
    }
    return result;
}

bool state_spool_path(const struct config_state *config, const char *name, char *out, size_t bytes)
{
    int length = 0;

    if (config->database[0] != '\0')
        length = snprintf(out, bytes, "%s-%s", config->database, name);
    else if (config->spool[0] != '\0')
        length = snprintf(out, bytes, "%s/%s", config->spool, name);
    return length > 0 && (size_t)length < bytes;
}

void state_database_close(state_database *database)
{
    if (database != NULL)
        database->driver->close(database);
}

bool state_database_is_shared(const state_database *database)
{
    return database->driver->is_shared;
}

status state_database_now_ms(state_database *database, uint64_t *out, struct error_note *note)
{
    return database->driver->now_ms(database, out, note);
}

status state_database_has_changed(state_database *database, bool *out, struct error_note *note)
{
    return database->driver->has_changed(database, out, note);
}

status state_database_begin(state_database *database, struct error_note *note)
{
    return database->driver->begin(database, false, note);
}

status state_database_begin_reading(state_database *database, struct error_note *note)
{
    return database->driver->begin(database, true, note);
}

status state_database_commit(state_database *database, struct error_note *note)
{
    return database->driver->commit(database, note);
}

void state_database_roll_back(state_database *database)
{
    database->driver->roll_back(database);
}

uint32_t state_database_changed_count(const state_database *database)
{
    return database->driver->changed_count(database);
}

/* --- statements --- */

state_statement *state_database_prepare(state_database *database, const char *sql,
                                        struct error_note *note)
{
    return database->driver->prepare(database, sql, note);
}

void state_statement_close(state_statement *statement)
{
    if (statement != NULL)
        statement->driver->statement_close(statement);
}

void state_bind_text(state_statement *statement, unsigned place, const char *text)
{
    statement->driver->bind_text(statement, place, text);
}

void state_bind_number(state_statement *statement, unsigned place, int64_t number)
{
    statement->driver->bind_number(statement, place, number);
}

void state_bind_bytes(state_statement *statement, unsigned place, const void *data, size_t bytes)
{
    statement->driver->bind_bytes(statement, place, data, bytes);
}

void state_bind_null(state_statement *statement, unsigned place)
{
    statement->driver->bind_null(statement, place);
}

status state_statement_step(state_statement *statement, bool *has_row, struct error_note *note)
{
    return statement->driver->step(statement, has_row, note);
}

const char *state_column_text(const state_statement *statement, unsigned column)
{
    return statement->driver->column_text(statement, column);
}

int64_t state_column_number(const state_statement *statement, unsigned column)
{
    return statement->driver->column_number(statement, column);
}

bool state_column_bytes(const state_statement *statement, unsigned column, void *out, size_t bytes)
{
    return statement->driver->column_bytes(statement, column, out, bytes);
}

status state_statement_run(state_statement *statement, struct error_note *note)
{
    bool has_row = true;
    status result = STATUS_OK;

    while (result == STATUS_OK && has_row)
        result = statement->driver->step(statement, &has_row, note);
    return result;
}

status state_statement_queue(state_statement *statement, struct error_note *note)
{
    return statement->driver->queue(statement, note);
}

status state_database_run(state_statement *statement, struct error_note *note)
{
    status result = state_statement_run(statement, note);

    state_statement_close(statement);
    return result;
}
