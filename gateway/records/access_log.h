#ifndef PENSTOCK_RECORDS_ACCESS_LOG_H
#define PENSTOCK_RECORDS_ACCESS_LOG_H

#include "request_record.h"
#include "status.h"

/* The access log: a JSON line for each request. Lines are gathered and written together; what the disk or the reader of a pipe
 * does not take at once is dropped and counted, by whole lines. Owned by the writer thread. */
typedef struct access_log access_log;

/* `target`: "stdout", or a path that is made where it is not there (mode 0600). Borrowed for its life. STATUS_OK, STATUS_NO_MEMORY,
 * STATUS_IO with a note. */
NODISCARD status access_log_open(const char *target, access_log **out, struct error_note *note);
void access_log_close(access_log *log); /* accepts NULL */

/* Opens the path again: the file there may be another by now. The one of before stays where that fails. */
NODISCARD status access_log_reopen(access_log *log, struct error_note *note);

void access_log_add(access_log *log, const struct request_record *record);

/* Writes what was added. False: there was nothing. `lost`: lines that are lost since the last call. */
bool access_log_flush(access_log *log, uint64_t *lost);

#endif
