#ifndef PENSTOCK_RECORDS_LEDGER_ROWS_H
#define PENSTOCK_RECORDS_LEDGER_ROWS_H

#include "request_record.h"
#include "status.h"

/* Rows on their way to the ledger, first in, first out: a ring in memory, or, so that they outlive a process that is killed,
 * in a mapped file, whose rows of before are the first of the next process. One thread at a time. */
struct ledger_rows;

#define LEDGER_ROUTE_BYTES  64u
#define LEDGER_FINISH_BYTES 32u

struct ledger_row {
    uint64_t process; /* of which process; with the record's loop and number it names the row */
    struct request_record record; /* its texts elsewhere are the three below */
    char route[LEDGER_ROUTE_BYTES], model[RECORD_TEXT_BYTES], finish[LEDGER_FINISH_BYTES];
};

/* `file`: NULL: none. Its room on the disk is taken now, so that a disk that is full later costs nothing. STATUS_OK;
 * STATUS_IO: it cannot be made, or another process has it; STATUS_INVALID: rows wait in it that this program cannot read, or more
 * than `capacity`; with a note; STATUS_NO_MEMORY. */
NODISCARD status ledger_rows_open(const char *file, uint32_t capacity, struct ledger_rows **out,
                                  struct error_note *note);
void ledger_rows_close(struct ledger_rows *rows); /* accepts NULL */
/* Takes the rows that wait in another file, whose process is gone, and removes it; a file that is not there, or in use, is left
 * alone. STATUS_OK; STATUS_FULL: there is no room for them; STATUS_IO, STATUS_INVALID as above; with a note. */
NODISCARD status ledger_rows_take(struct ledger_rows *rows, const char *file,
                                  struct error_note *note);

uint32_t ledger_rows_count(const struct ledger_rows *rows);
/* A copy at the end. STATUS_OK, STATUS_FULL. */
NODISCARD status ledger_rows_add(struct ledger_rows *rows, uint64_t process,
                                 const struct request_record *record);
/* The one at `index` from the front; good until it is dropped. */
const struct ledger_row *ledger_rows_at(const struct ledger_rows *rows, uint32_t index);
/* The first `count` are done with. */
void ledger_rows_drop(struct ledger_rows *rows, uint32_t count);

#endif
