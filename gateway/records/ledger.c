/* Rows on their way to the state database
 *
 *   ledger_add -> rows[first .. first + count) -> one transaction: request row, and if that is new, its hour's sums
 *                                                     | committed: first moves on
 *                                                     ` failed: rolled back, all of them wait for the next time
 *
 * A commit whose answer was an error may have happened all the same, so that its rows come a second time. The row's id makes
 * that harmless: it is the gateway's own (process, loop, number), never the client's request id, which may repeat. */
#include "ledger.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>

#include "clock.h"
#include "hash.h"
#include "memory.h"

#define HOUR_MS         3600000u
#define PRUNE_ROWS      2000 /* a few milliseconds of the writers' lock */
#define FAILURE_CODE    400  /* from this status on a request counts as failed */
#define ID_BYTES        64u
#define STATEMENT_COUNT 4u

enum { INSERT_REQUEST, ADD_TO_HOUR, PRUNE_REQUESTS, PRUNE_HOURS };

static const char *const statements_sql[STATEMENT_COUNT] = {
    [INSERT_REQUEST] =
        "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)"
        " ON CONFLICT DO NOTHING",
    [ADD_TO_HOUR] =
        "INSERT INTO usage_hours VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?12,"
        " ?13, ?14) ON CONFLICT DO UPDATE SET key_name = ?5, requests = requests + 1,"
        " failures = failures + ?7, estimated = estimated + ?8,"
        " prompt_tokens = prompt_tokens + ?9, cached_tokens = cached_tokens + ?10,"
        " completion_tokens = completion_tokens + ?11, reasoning_tokens = reasoning_tokens + ?12,"
        " busy_ns = busy_ns + ?13, cost_nano = cost_nano + ?14",
    [PRUNE_REQUESTS] = "DELETE FROM requests WHERE id IN"
                       " (SELECT id FROM requests WHERE ended_ms < ?1 LIMIT ?2)",
    [PRUNE_HOURS] = "DELETE FROM usage_hours WHERE hour_s < ?1",
};

struct ledger {
    state_database *database;                  /* borrowed */
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* owned */
    struct request_record *rows;               /* [capacity], owned; a ring */
    uint32_t capacity, memory_max, first, count;
    uint64_t keep_requests_s, keep_hours_s;
    uint64_t process; /* random: no two runs make the same ids */
};

/* --- one row --- */

static void bind_text(sqlite3_stmt *statement, int place, const char *text)
{
    (void)sqlite3_bind_text(statement, place, text, -1, SQLITE_STATIC);
}

static status statement_run(struct ledger *ledger, int index, struct error_note *note)
{
    sqlite3_stmt *statement = ledger->statements[index];
    int code = sqlite3_step(statement);

    if (code != SQLITE_DONE)
        state_database_note(ledger->database, note);
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE ? STATUS_OK : STATUS_IO;
}

static status request_insert(struct ledger *ledger, const struct request_record *row,
                             struct error_note *note)
{
    sqlite3_stmt *statement = ledger->statements[INSERT_REQUEST];
    const struct request_usage *usage = &row->usage;
    const char *const texts[] = {row->request_id, row->trace_id,    row->organisation,
                                 row->team,       row->key_id,      row->key_name,
                                 row->model,      row->asked_model, row->route,
                                 row->finish,     row->error_code};
    const int64_t numbers[] = {row->status_code,
                               row->replica == RECORD_NO_REPLICA ? -1 : (int64_t)row->replica,
                               row->retries,
                               usage->is_known,
                               usage->is_estimated,
                               usage->prompt_tokens,
                               usage->cached_tokens,
                               usage->completion_tokens,
                               usage->reasoning_tokens,
                               (int64_t)usage->busy_ns,
                               (int64_t)(row->wait_ns / NS_PER_MS),
                               (int64_t)(row->first_token_ns / NS_PER_MS),
                               (int64_t)(row->duration_ns / NS_PER_MS)};
    char id[ID_BYTES];
    int place = 1;

    (void)snprintf(id, sizeof(id), "%016" PRIx64 "-%u-%" PRIx64, ledger->process, row->loop,
                   row->number);
    bind_text(statement, place++, id);
    (void)sqlite3_bind_int64(statement, place++, (int64_t)row->ended_ms);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        bind_text(statement, place++, texts[i]);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        (void)sqlite3_bind_int64(statement, place++, numbers[i]);
    if (row->cost_nano == RECORD_NO_COST)
        (void)sqlite3_bind_null(statement, place);
    else
        (void)sqlite3_bind_int64(statement, place, (int64_t)row->cost_nano);
    return statement_run(ledger, INSERT_REQUEST, note);
}

static status hour_add(struct ledger *ledger, const struct request_record *row,
                       struct error_note *note)
{
    sqlite3_stmt *statement = ledger->statements[ADD_TO_HOUR];
    const int64_t numbers[] = {row->status_code >= FAILURE_CODE,
                               row->usage.is_estimated,
                               row->usage.prompt_tokens,
                               row->usage.cached_tokens,
                               row->usage.completion_tokens,
                               row->usage.reasoning_tokens,
                               (int64_t)row->usage.busy_ns,
                               row->cost_nano == RECORD_NO_COST ? 0 : (int64_t)row->cost_nano};

    (void)sqlite3_bind_int64(statement, 1, (int64_t)(row->ended_ms / HOUR_MS * 3600));
    bind_text(statement, 2, row->organisation);
    bind_text(statement, 3, row->team);
    bind_text(statement, 4, row->key_id);
    bind_text(statement, 5, row->key_name);
    bind_text(statement, 6, row->model);
    for (int i = 0; i < (int)(sizeof(numbers) / sizeof(numbers[0])); i++)
        (void)sqlite3_bind_int64(statement, 7 + i, numbers[i]);
    return statement_run(ledger, ADD_TO_HOUR, note);
}

/* --- batches --- */

static status batch_write(struct ledger *ledger, uint32_t count, struct error_note *note)
{
    status result = state_database_begin(ledger->database, note);

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; result == STATUS_OK && i < count; i++) {
        const struct request_record *row = &ledger->rows[(ledger->first + i) % ledger->capacity];

        result = request_insert(ledger, row, note);
        if (result == STATUS_OK && state_database_changed_count(ledger->database) == 1)
            result = hour_add(ledger, row, note);
    }
    if (result == STATUS_OK)
        return state_database_commit(ledger->database, note);
    state_database_roll_back(ledger->database);
    return result;
}

status ledger_flush(struct ledger *ledger, struct error_note *note)
{
    while (ledger->count > 0) {
        uint32_t count = ledger->count < LEDGER_BATCH_ROWS ? ledger->count : LEDGER_BATCH_ROWS;
        status result = batch_write(ledger, count, note);

        if (result != STATUS_OK)
            return result;
        ledger->first = (ledger->first + count) % ledger->capacity;
        ledger->count -= count;
    }
    return STATUS_OK;
}

status ledger_add(struct ledger *ledger, const struct request_record *record)
{
    if (ledger->count == ledger->capacity)
        return STATUS_FULL;
    ledger->rows[(ledger->first + ledger->count++) % ledger->capacity] = *record;
    return STATUS_OK;
}

uint32_t ledger_waiting_count(const struct ledger *ledger)
{
    return ledger->count;
}

bool ledger_is_full(const struct ledger *ledger)
{
    return ledger->count >= ledger->memory_max;
}

status ledger_prune(struct ledger *ledger, uint64_t now_s, struct error_note *note)
{
    uint64_t requests_s = now_s > ledger->keep_requests_s ? now_s - ledger->keep_requests_s : 0;
    uint64_t hours_s = now_s > ledger->keep_hours_s ? now_s - ledger->keep_hours_s : 0;
    status result = state_database_begin(ledger->database, note);

    if (result != STATUS_OK)
        return result;
    (void)sqlite3_bind_int64(ledger->statements[PRUNE_REQUESTS], 1, (int64_t)(requests_s * 1000));
    (void)sqlite3_bind_int64(ledger->statements[PRUNE_REQUESTS], 2, PRUNE_ROWS);
    (void)sqlite3_bind_int64(ledger->statements[PRUNE_HOURS], 1, (int64_t)hours_s);
    result = statement_run(ledger, PRUNE_REQUESTS, note);
    if (result == STATUS_OK)
        result = statement_run(ledger, PRUNE_HOURS, note);
    if (result == STATUS_OK)
        return state_database_commit(ledger->database, note);
    state_database_roll_back(ledger->database);
    return result;
}

/* --- life --- */

status ledger_create(const struct ledger_options *options, state_database *database,
                     struct ledger **out, struct error_note *note)
{
    struct ledger *made = memory_allocate_array(1, sizeof(*made));

    if (made == NULL)
        return STATUS_NO_MEMORY;
    made->database = database;
    made->memory_max = options->memory_max;
    made->capacity = options->memory_max + options->extra_max;
    made->keep_requests_s = options->keep_requests_s;
    made->keep_hours_s = options->keep_hours_s;
    random_bytes(&made->process, sizeof(made->process));
    made->rows = memory_allocate_array(made->capacity, sizeof(made->rows[0]));
    if (made->rows == NULL) {
        ledger_destroy(made);
        return STATUS_NO_MEMORY;
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
        sqlite3_finalize(ledger->statements[i]);
    memory_release(ledger->rows);
    memory_release(ledger);
}
