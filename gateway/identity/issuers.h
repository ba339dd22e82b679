#ifndef PENSTOCK_IDENTITY_ISSUERS_H
#define PENSTOCK_IDENTITY_ISSUERS_H

#include "config.h"
#include "http_server.h"
#include "jwt.h"

/* The issuers of tokens that the config trusts (auth.jwt), with their keys as last read. A thread reads them again at
 * the configured interval, and soon after a token has named a key that is not there; a set that cannot be read leaves
 * the one before in force. Loops only read immutable sets. */

struct issuers;

/* Reads the key files; URLs are left to the thread. `config` must outlive it. STATUS_OK; STATUS_IO, STATUS_INVALID with
 * a note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status issuers_open(const struct config *config, struct issuers **out,
                              struct error_note *note);
NODISCARD status issuers_start(struct issuers *issuers, http_server *server);
/* Whether the keys of each have been read, or have at least been asked for. Any thread. */
bool issuers_are_asked(const struct issuers *issuers);
void issuers_stop(struct issuers *issuers);  /* accepts NULL */
void issuers_close(struct issuers *issuers); /* accepts NULL; when no loop runs any more */

/* Verifies a token by the rules of the issuer that it names. `claims`: json_decref it. STATUS_OK; STATUS_DENIED with
 * `why`, static text; STATUS_AGAIN: the issuer's keys have not been read yet. Loop. */
NODISCARD status issuers_verify(struct issuers *issuers, struct text_slice token, uint64_t now_s,
                                const struct config_issuer **issuer, json_t **claims,
                                const char **why);

#endif
