/* Rows on their way to the state database
 *
 *   ledger_add -> rows -> one transaction: its hour's sums, unless the request row is there, and then that
 *                             | committed: they are dropped
 *                             ` failed: rolled back, all of them wait for the next time
 *
 * A commit whose answer was an error may have happened all the same, so that its rows come a second time. The row's id makes
 * that harmless: it is the gateway's own (process, loop, number), never the client's request id, which may repeat. */
#include "ledger.h"

#include <inttypes.h>
#include <stdio.h>

#include "clock.h"
#include "hash.h"
#include "ledger_rows.h"
#include "memory.h"

#define HOUR_MS         3600000u
#define PRUNE_ROWS      2000 /* a few milliseconds of the writers' lock */
#define FAILURE_CODE    400  /* from this status on a request counts as failed */
#define ID_BYTES        64u
#define STATEMENT_COUNT 4u

enum { ADD_TO_HOUR, INSERT_REQUEST, PRUNE_REQUESTS, PRUNE_HOURS };

static const char *const statements_sql[STATEMENT_COUNT] = {
    [INSERT_REQUEST] =
        "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)"
        " ON CONFLICT DO NOTHING",
    [ADD_TO_HOUR] =
        "INSERT INTO usage_hours SELECT ?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14 WHERE NOT EXISTS (SELECT 1 FROM requests WHERE id = ?15)"
        " ON CONFLICT (hour_s, organisation, team, key_id, model) DO UPDATE SET"
        " key_name = excluded.key_name, requests = usage_hours.requests + 1,"
        " failures = usage_hours.failures + excluded.failures,"
        " estimated = usage_hours.estimated + excluded.estimated,"
        " prompt_tokens = usage_hours.prompt_tokens + excluded.prompt_tokens,"
        " cached_tokens = usage_hours.cached_tokens + excluded.cached_tokens,"
        " completion_tokens = usage_hours.completion_tokens + excluded.completion_tokens,"
        " reasoning_tokens = usage_hours.reasoning_tokens + excluded.reasoning_tokens,"
        " busy_ns = usage_hours.busy_ns + excluded.busy_ns,"
        " cost_nano = usage_hours.cost_nano + excluded.cost_nano",
    [PRUNE_REQUESTS] = ("DELETE FROM requests WHERE id IN"
                        " (SELECT id FROM requests WHERE ended_ms < ?1 LIMIT ?2)"),
    [PRUNE_HOURS] = "DELETE FROM usage_hours WHERE hour_s < ?1",
};

struct ledger {
    state_database *database;                     /* borrowed */
    state_statement *statements[STATEMENT_COUNT]; /* owned */
    struct ledger_rows *rows;                     /* owned */
    const leader *leader;                         /* borrowed */
    bool has_file;
    uint32_t memory_max;
    uint64_t keep_requests_s, keep_hours_s;
    uint64_t process; /* random: no two runs make the same ids */
};

/* --- one row --- */

static void id_write(const struct ledger_row *row, char out[ID_BYTES])
{
    (void)snprintf(out, ID_BYTES, "%016" PRIx64 "-%u-%" PRIx64, row->process, row->record.loop,
                   row->record.number);
}

static status request_insert(struct ledger *ledger, const struct ledger_row *row,
                             struct error_note *note)
{
    state_statement *statement = ledger->statements[INSERT_REQUEST];
    const struct request_record *record = &row->record;
    const struct request_usage *usage = &record->usage;
    const char *const texts[] = {record->request_id, record->trace_id,    record->organisation,
                                 record->team,       record->key_id,      record->key_name,
                                 record->model,      record->asked_model, record->route,
                                 record->finish,     record->error_code};
    const int64_t numbers[] = {record->status_code,
                               record->replica == RECORD_NO_REPLICA ? -1 : (int64_t)record->replica,
                               record->retries,
                               usage->is_known,
                               usage->is_estimated,
                               usage->prompt_tokens,
                               usage->cached_tokens,
                               usage->completion_tokens,
                               usage->reasoning_tokens,
                               (int64_t)usage->busy_ns,
                               (int64_t)(record->wait_ns / NS_PER_MS),
                               (int64_t)(record->first_token_ns / NS_PER_MS),
                               (int64_t)(record->duration_ns / NS_PER_MS)};
    char id[ID_BYTES];
    unsigned place = 1;

    id_write(row, id);
    state_bind_text(statement, place++, id);
    state_bind_number(statement, place++, (int64_t)record->ended_ms);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        state_bind_text(statement, place++, texts[i]);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        state_bind_number(statement, place++, numbers[i]);
    if (record->cost_nano == RECORD_NO_COST)
        state_bind_null(statement, place);
    else
        state_bind_number(statement, place, (int64_t)record->cost_nano);
    return state_statement_queue(statement, note);
}

static status hour_add(struct ledger *ledger, const struct ledger_row *row, struct error_note *note)
{
    state_statement *statement = ledger->statements[ADD_TO_HOUR];
    const struct request_record *record = &row->record;
    const int64_t numbers[] = {record->status_code >= FAILURE_CODE,
                               record->usage.is_estimated,
                               record->usage.prompt_tokens,
                               record->usage.cached_tokens,
                               record->usage.completion_tokens,
                               record->usage.reasoning_tokens,
                               (int64_t)record->usage.busy_ns,
                               record->cost_nano == RECORD_NO_COST ? 0
                                                                   : (int64_t)record->cost_nano};
    char id[ID_BYTES];

    id_write(row, id);
    state_bind_number(statement, 1, (int64_t)(record->ended_ms / HOUR_MS * 3600));
    state_bind_text(statement, 2, record->organisation);
    state_bind_text(statement, 3, record->team);
    state_bind_text(statement, 4, record->key_id);
    state_bind_text(statement, 5, record->key_name);
    state_bind_text(statement, 6, record->model);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        state_bind_number(statement, 7 + i, numbers[i]);
    state_bind_text(statement, 15, id);
    return state_statement_queue(statement, note);
}

/* --- batches --- */

static status batch_write(struct ledger *ledger, uint32_t count, struct error_note *note)
{
    status result = state_database_begin(ledger->database, note);

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; result == STATUS_OK && i < count; i++) {
        const struct ledger_row *row = ledger_rows_at(ledger->rows, i);

        result = hour_add(ledger, row, note);
        if (result == STATUS_OK)
            result = request_insert(ledger, row, note);
    }
    if (result == STATUS_OK)
        return state_database_commit(ledger->database, note);
    state_database_roll_back(ledger->database);
    return result;
}

status ledger_flush(struct ledger *ledger, struct error_note *note)
{
    uint32_t waiting;

    while ((waiting = ledger_rows_count(ledger->rows)) > 0) {
        uint32_t count = waiting < LEDGER_BATCH_ROWS ? waiting : LEDGER_BATCH_ROWS;
        status result = batch_write(ledger, count, note);

        if (result != STATUS_OK)
            return result;
        ledger_rows_drop(ledger->rows, count);
    }
    return STATUS_OK;
}

status ledger_add(struct ledger *ledger, const struct request_record *record)
{
    return ledger_rows_add(ledger->rows, ledger->process, record);
}

uint32_t ledger_waiting_count(const struct ledger *ledger)
{
    return ledger_rows_count(ledger->rows);
}

bool ledger_has_file(const struct ledger *ledger)
{
    return ledger->has_file;
}

bool ledger_is_full(const struct ledger *ledger)
{
    return ledger_rows_count(ledger->rows) >= ledger->memory_max;
}

status ledger_prune(struct ledger *ledger, uint64_t now_s, struct error_note *note)
{
    uint64_t requests_s = now_s > ledger->keep_requests_s ? now_s - ledger->keep_requests_s : 0;
    uint64_t hours_s = now_s > ledger->keep_hours_s ? now_s - ledger->keep_hours_s : 0;
    status result = state_database_begin(ledger->database, note);

    if (result != STATUS_OK)
        return result;
    state_bind_number(ledger->statements[PRUNE_REQUESTS], 1, (int64_t)(requests_s * 1000));
    state_bind_number(ledger->statements[PRUNE_REQUESTS], 2, PRUNE_ROWS);
    state_bind_number(ledger->statements[PRUNE_HOURS], 1, (int64_t)hours_s);
    result = leader_confirm(ledger->leader, ledger->database, note);
    if (result == STATUS_OK)
        result = state_statement_run(ledger->statements[PRUNE_REQUESTS], note);
    if (result == STATUS_OK)
        result = state_statement_run(ledger->statements[PRUNE_HOURS], note);
    if (result == STATUS_OK)
        return state_database_commit(ledger->database, note);
    state_database_roll_back(ledger->database);
    return result;
}

/* --- life --- */

static status rows_make(const struct ledger_options *options, struct ledger_rows **out,
                        struct error_note *note)
{
    uint32_t capacity = options->memory_max + options->extra_max;
    const char *other = options->other_file;
    status result = ledger_rows_open(options->file, capacity, out, note);

    if (result == STATUS_IO && other != NULL) {
        other = options->file;
        result = ledger_rows_open(options->other_file, capacity, out, note);
    }
    if (result == STATUS_OK && options->file != NULL && other != NULL)
        result = ledger_rows_take(*out, other, note);
    return result;
}

status ledger_create(const struct ledger_options *options, state_database *database,
                     struct ledger **out, struct error_note *note)
{
    struct ledger *made = memory_allocate_array(1, sizeof(*made));
    status result;

    if (made == NULL)
        return STATUS_NO_MEMORY;
    made->database = database;
    made->leader = options->leader;
    made->has_file = options->file != NULL;
    made->memory_max = options->memory_max;
    made->keep_requests_s = options->keep_requests_s;
    made->keep_hours_s = options->keep_hours_s;
    random_bytes(&made->process, sizeof(made->process));
    result = rows_make(options, &made->rows, note);
    if (result != STATUS_OK) {
        ledger_destroy(made);
        return result;
    }
    for (uint32_t i = 0; i < STATEMENT_COUNT; i++) {
        made->statements[i] = state_database_prepare(database, statements_sql[i], note);
        if (made->statements[i] == NULL) {
            ledger_destroy(made);
            return STATUS_IO;
        }
    }
    *out = made;
    return STATUS_OK;
}

void ledger_destroy(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (uint32_t i = 0; i < STATEMENT_COUNT; i++)
        state_statement_close(ledger->statements[i]);
    ledger_rows_close(ledger->rows);
    memory_release(ledger);
}
