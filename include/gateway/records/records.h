#ifndef PENSTOCK_RECORDS_RECORDS_H
#define PENSTOCK_RECORDS_RECORDS_H

#include "audit_log.h"
#include "config.h"
#include "leader.h"
#include "metrics.h"
#include "request_record.h"
#include "status.h"
#include "usage_query.h"

/* What the gateway writes down of its requests (access log, ledger) and of what is done to it (audit log). Loops put records
 * of fixed size into bounded rings; one thread writes them, every records.interval. No loop ever waits for a disk.
 *
 * When a disk is full or a ring is:
 *   access log   lines are dropped and counted
 *   ledger       rows wait in memory, up to records.ledger_memory; then records.ledger_full decides: `continue` drops and
 *                counts rows, `refuse` lets no new request in, so that none goes uncounted
 *   audit log    changes by operators are refused; what requests gave cause for is counted on in memory
 * A process that is killed loses the requests that ended within the last records.interval, and what waited in memory; with
 * state.spool rows of the ledger wait there. */
struct records;

/* Opens the files that the config names; `config` is only read during the call, `who_leads` is borrowed: old rows of a
 * ledger that is shared are deleted by one gateway. STATUS_OK; STATUS_IO, STATUS_INVALID with a
 * note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status records_open(const struct config *config, uint32_t loop_count,
                              metrics_registry *metrics, const leader *who_leads,
                              struct records **out, struct error_note *note);
/* Starts the writer. STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status records_start(struct records *records);
/* Writes what is left and ends the writer; no loop runs any more. Accepts NULL. Thread: main. */
void records_stop(struct records *records);
void records_close(struct records *records); /* accepts NULL */

/* Opens the access log's path again, for whoever has moved the file. Any thread. */
void records_reopen(struct records *records);

bool records_has_access_log(const struct records *records);
bool records_has_ledger(const struct records *records);
bool records_has_audit_log(const struct records *records);
/* Whether requests are refused when their row may not find room; then each takes its record when it begins. */
bool records_must_keep(const struct records *records);

/* --- of a loop; `loop` is its index, and only its thread calls --- */

/* Whether the ledger has room for another request; always where records_must_keep says no. */
bool records_have_room(const struct records *records);
/* An empty record; NULL: none is free. It must be put or given back. */
struct request_record *records_take(struct records *records, uint32_t loop);
/* Hands it to the writer; number and loop are filled in here. */
void records_put(struct records *records, uint32_t loop, struct request_record *record);
void records_give_back(struct records *records, uint32_t loop, struct request_record *record);
/* Counts a request that found no record. Any thread. */
void records_count_lost(struct records *records, bool is_metered);

/* --- questions --- */

/* A report of the ledger, made by the writer thread: `query` is set and lives until `done` has been called, on the writer
 * thread, with the rest filled. */
struct usage_question {
    struct usage_question *next; /* private */
    const struct usage_query *query;
    enum usage_format format;
    struct buffer out; /* initialised by who asks, who also owns it */
    status result;
    struct error_note note;
    void (*done)(struct usage_question *question);
};
/* STATUS_OK; STATUS_UNSUPPORTED: there is no ledger. Any thread, before records_stop. */
NODISCARD status records_ask(struct records *records, struct usage_question *question);

/* --- audit --- */

/* Writes one event and waits until it is on the disk. STATUS_OK, also where there is no audit log; STATUS_IO: it is not
 * written, and what it tells of must not be done. Any thread but loops. */
NODISCARD status records_audit(struct records *records, const struct audit_event *event,
                               struct error_note *note);
#endif
