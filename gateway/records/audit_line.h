#ifndef PENSTOCK_RECORDS_AUDIT_LINE_H
#define PENSTOCK_RECORDS_AUDIT_LINE_H

#include "audit_log.h"
#include "buffer.h"

/* One line of the audit log. Pure: any thread. */

struct audit_link { /* what the next line follows */
    uint64_t seq;   /* 0: there is no line yet */
    char hash[AUDIT_HASH_DIGITS + 1];
};

/* Before the first line: 64 zeros. */
void audit_link_first(struct audit_link *link);

/* Appends the line that follows `last`, with its newline, and makes `last` it. It has at most AUDIT_LINE_BYTES_MAX; while it
 * is written `out` holds up to AUDIT_WRITE_BYTES_MAX. */
#define AUDIT_WRITE_BYTES_MAX (2 * AUDIT_LINE_BYTES_MAX)
void audit_line_write(struct buffer *out, const struct audit_event *event, uint64_t wall_ms,
                      struct audit_link *last);

/* Reads a line without its newline: `link` is its own, `previous` ([AUDIT_HASH_DIGITS + 1]) the hash that it says it follows.
 * False when it is no such line, or its hash is not that of its bytes. */
bool audit_line_read(struct text_slice line, struct audit_link *link, char *previous);

#endif
