#ifndef PENSTOCK_IDENTITY_IDENTITY_H
#define PENSTOCK_IDENTITY_IDENTITY_H

#include "caller.h"
#include "config.h"
#include "http_server.h"
#include "key_table.h"
#include "leader.h"

/* Who is calling: the stored keys as the loops see them, and the thread that keeps them fresh. A loop only ever reads
 * immutable tables; the thread looks at the state database several times a second and swaps in a new table when
 * somebody has changed it. A database that cannot be read leaves the keys as they were. */
struct identity;
struct spend_book;

/* Opens what the config names and reads the keys. `config` is only read during the call. STATUS_OK; STATUS_IO,
 * STATUS_INVALID, STATUS_TOO_LARGE with a note; STATUS_NO_MEMORY. Thread: main. */
/* `is_successor`: another gateway of this machine still writes down what is spent, until identity_own. */
NODISCARD status identity_open(const struct config *config, bool is_successor,
                               struct identity **out, struct error_note *note);
/* Starts the thread. Before or after the loops of `server` run. STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status identity_start(struct identity *identity, http_server *server);
/* Whether the keys of all issuers have been read, or at least asked for. Any thread. */
bool identity_is_ready(const struct identity *identity);
/* From now on this gateway writes down what is spent; or no more, because the next one does. What requests of this one
 * cost counts in either case. Thread: main. */
void identity_own(struct identity *identity);
void identity_disown(struct identity *identity);
/* Ends the thread. Accepts NULL. Thread: main. */
void identity_stop(struct identity *identity);
/* When no loop runs any more. Accepts NULL. Thread: main. */
void identity_close(struct identity *identity);

/* Whether this gateway does what only one may do. Lives as long as `identity`. */
const leader *identity_leader(const struct identity *identity);

/* Whether the last look at the database has failed. Any thread. */
bool identity_is_away(const struct identity *identity);

/* What is spent of budgets. */
struct spend_book *identity_spent(const struct identity *identity);

/* Whose request it is, by the key or token in it, or else by its connection's certificate. The caller is in the request's memory. `static_keys`: those of `config`. Where
 * no key is asked for it is caller_anonymous. STATUS_OK; STATUS_DENIED: no key or token, or none that is good, and `why` is static text where
 * its bearer may know; STATUS_AGAIN: the keys of its issuer have not been read yet. Loop. */
NODISCARD status identity_authenticate(const struct identity *identity, const struct config *config,
                                       const struct key_table *static_keys, http_request *request,
                                       const struct caller **out, const char **why);

/* The weights that the config gives to the caller's organisation and team. */
void caller_weigh(const struct config_tenants *config, struct caller *caller);

/* Whether the caller may use the model of this name. */
bool caller_may_use(const struct caller *caller, const char *model);

#endif
