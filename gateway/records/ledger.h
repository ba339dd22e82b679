#ifndef PENSTOCK_RECORDS_LEDGER_H
#define PENSTOCK_RECORDS_LEDGER_H

#include "leader.h"
#include "request_record.h"
#include "state_database.h"

/* The usage ledger in the state database: a row for each request and sums by hour, one transaction a batch. Rows wait in
 * memory, or in a mapped file, until a transaction has taken them. Owned by the writer thread. */
struct ledger;

struct ledger_options {
    const char *file; /* where rows wait that the database has not taken; NULL: in memory only */
    const char *
        other_file; /* used when another process has that one, else what waits in it is taken; with `file` */
    const leader *leader; /* borrowed; who may delete */
    uint32_t memory_max;  /* rows that wait before it counts as full */
    uint32_t extra_max;   /* room beyond that, for requests that had begun by then */
    uint64_t keep_requests_s, keep_hours_s;
};

/* `database` is borrowed. STATUS_OK, STATUS_NO_MEMORY, STATUS_IO, STATUS_INVALID with a note. */
NODISCARD status ledger_create(const struct ledger_options *options, state_database *database,
                               struct ledger **out, struct error_note *note);
void ledger_destroy(struct ledger *ledger); /* accepts NULL */

/* A copy of the row. STATUS_OK, STATUS_FULL (memory_max and extra_max are used up). */
NODISCARD status ledger_add(struct ledger *ledger, const struct request_record *record);

uint32_t ledger_waiting_count(const struct ledger *ledger);
bool ledger_has_file(const struct ledger *ledger);
bool ledger_is_full(const struct ledger *ledger); /* memory_max rows wait */

/* Writes the rows that wait, in transactions of LEDGER_BATCH_ROWS, until there are none or one fails: then its rows and
 * those after wait on. STATUS_OK; STATUS_AGAIN, STATUS_IO with a note. */
#define LEDGER_BATCH_ROWS 4096u
NODISCARD status ledger_flush(struct ledger *ledger, struct error_note *note);

/* Deletes what is past its time, a bounded part of it. STATUS_OK; STATUS_CANCELLED: another gateway leads; STATUS_AGAIN, STATUS_IO with a note. */
NODISCARD status ledger_prune(struct ledger *ledger, uint64_t now_s, struct error_note *note);

#endif
