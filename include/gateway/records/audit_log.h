#ifndef PENSTOCK_RECORDS_AUDIT_LOG_H
#define PENSTOCK_RECORDS_AUDIT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "state_database.h"

/* The audit log: a file of JSON lines that are only ever appended, each with the SHA-256 of itself and that of the line
 * before, so that whoever changes, removes or moves a line breaks the chain; and the hash of the last line in the state
 * database, so that the end cannot be cut off either. Several processes may append (the gateway, `penstock keys`): a
 * lock on the file orders them.
 *
 *   {"seq":7,"time":"2026-01-02T03:04:05.678Z","actor":"...","action":"...","object":"...","detail":"...",
 *    "previous":"<64 hex digits>","hash":"<64 hex digits>"}
 *
 * The hash is of the line's bytes up to and without `,"hash"`; `previous` of the first line is 64 zeros. */

#define AUDIT_HASH_DIGITS    64u
#define AUDIT_LINE_BYTES_MAX 8192u

typedef struct audit_log audit_log;
struct audit_event {
    const char *actor;  /* who: a key's name, an address, a user of this machine, "gateway" */
    const char *action; /* "key.create" */
    const char *object; /* to what; "" */
    const char *detail; /* "" */
};

/* Opens the file, and makes it (mode 0600) where it is not there; no line is read before the first append. `database` (NULL:
 * none, then a cut end is not seen) is borrowed. STATUS_OK; STATUS_IO with a note; STATUS_NO_MEMORY. */
NODISCARD status audit_log_open(const char *path, state_database *database, audit_log **out,
                                struct error_note *note);
void audit_log_close(audit_log *log); /* accepts NULL */

/* Writes one line, and returns when it is on the disk. Texts that are too long are cut. STATUS_OK; STATUS_INVALID: the file
 * does not end where the database says, so that somebody has cut it, and nothing is written; STATUS_IO, with a note; what was
 * written of the line is taken back. One thread at a time. */
NODISCARD status audit_log_append(audit_log *log, const struct audit_event *event, uint64_t wall_ms,
                                  struct error_note *note);

/* What audit_log_verify has found. */
struct audit_verdict {
    uint64_t line_count; /* that are good, from the first on */
    uint64_t bad_line;   /* the first that is not, from 1; 0: none */
    char reason[256];    /* "" when all is well */
    bool has_head;       /* the end has been compared with the state database */
};

/* Reads the whole file. STATUS_OK: the verdict tells; STATUS_IO with a note: it cannot be read. */
NODISCARD status audit_log_verify(const char *path, state_database *database,
                                  struct audit_verdict *out, struct error_note *note);

#endif
