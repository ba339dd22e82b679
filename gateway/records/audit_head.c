#include "audit_head.h"

#include <sqlite3.h>
#include <stdio.h>

status audit_head_read(state_database *database, const char *path, struct audit_link *head,
                       struct error_note *note)
{
    sqlite3_stmt *statement =
        state_database_prepare(database, "SELECT seq, hash FROM audit_heads WHERE path = ?1", note);
    int code;

    audit_link_first(head);
    if (statement == NULL)
        return STATUS_IO;
    (void)sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        head->seq = (uint64_t)sqlite3_column_int64(statement, 0);
        (void)snprintf(head->hash, sizeof(head->hash), "%s",
                       (const char *)sqlite3_column_text(statement, 1));
    } else if (code != SQLITE_DONE) {
        state_database_note(database, note);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? STATUS_OK : STATUS_IO;
}

status audit_head_write(state_database *database, const char *path, const struct audit_link *head,
                        struct error_note *note)
{
    status result = state_database_begin(database, note);
    sqlite3_stmt *statement;

    if (result != STATUS_OK)
        return result;
    statement = state_database_prepare(database,
                                       "INSERT INTO audit_heads VALUES (?1, ?2, ?3)"
                                       " ON CONFLICT DO UPDATE SET seq = ?2, hash = ?3",
                                       note);
    if (statement == NULL) {
        state_database_roll_back(database);
        return STATUS_IO;
    }
    (void)sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)head->seq);
    (void)sqlite3_bind_text(statement, 3, head->hash, -1, SQLITE_STATIC);
    result = state_database_run(database, statement, note);
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
    return result;
}
