#include "audit_head.h"

#include <stdio.h>

status audit_head_read(state_database *database, const char *path, struct audit_link *head,
                       struct error_note *note)
{
    state_statement *statement =
        state_database_prepare(database, "SELECT seq, hash FROM audit_heads WHERE path = ?1", note);
    bool has_row = false;
    status result;

    audit_link_first(head);
    if (statement == NULL)
        return STATUS_IO;
    state_bind_text(statement, 1, path);
    result = state_statement_step(statement, &has_row, note);
    if (has_row) {
        head->seq = (uint64_t)state_column_number(statement, 0);
        (void)snprintf(head->hash, sizeof(head->hash), "%s", state_column_text(statement, 1));
    }
    state_statement_close(statement);
    return result == STATUS_OK ? STATUS_OK : STATUS_IO;
}

status audit_head_write(state_database *database, const char *path, const struct audit_link *head,
                        struct error_note *note)
{
    status result = state_database_begin(database, note);
    state_statement *statement;

    if (result != STATUS_OK)
        return result;
    statement = state_database_prepare(database,
                                       "INSERT INTO audit_heads VALUES (?1, ?2, ?3)"
                                       " ON CONFLICT (path) DO UPDATE SET seq = ?2, hash = ?3",
                                       note);
    if (statement == NULL) {
        state_database_roll_back(database);
        return STATUS_IO;
    }
    state_bind_text(statement, 1, path);
    state_bind_number(statement, 2, (int64_t)head->seq);
    state_bind_text(statement, 3, head->hash);
    result = state_database_run(statement, note);
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
    return result;
}
