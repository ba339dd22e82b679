#ifndef PENSTOCK_RECORDS_AUDIT_HEAD_H
#define PENSTOCK_RECORDS_AUDIT_HEAD_H

#include "audit_line.h"

/* The last line of an audit log, as the state database knows it. One thread at a time. */

/* STATUS_OK (seq 0: it knows none), STATUS_IO with a note. */
NODISCARD status audit_head_read(state_database *database, const char *path,
                                 struct audit_link *head, struct error_note *note);
/* STATUS_OK; STATUS_AGAIN, STATUS_IO with a note. */
NODISCARD status audit_head_write(state_database *database, const char *path,
                                  const struct audit_link *head, struct error_note *note);

#endif
