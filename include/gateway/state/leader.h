#ifndef PENSTOCK_STATE_LEADER_H
#define PENSTOCK_STATE_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "state_database.h"

/* Which of the gateways that share a database does what only one may do: deleting what is past its time (rows of the ledger, sums
 * of past periods, secrets that have ended). It is a row with an end and a fencing token, by the database's clock (C. Gray and
 * D. Cheriton, Leases, 1989): the holder writes it again three times before it ends; when it has ended, whoever comes first takes it, and
 * the token grows. A holder that has slept through its end finds that out in leader_confirm, in the transaction in which it
 * does what it may not do any more.
 *
 * A gateway that shares with nobody leads. */
typedef struct leader leader;

/* `database` NULL or not shared: it leads always. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status leader_create(const state_database *database, uint64_t ttl_ms, leader **out);
void leader_destroy(leader *who); /* accepts NULL */

/* Takes or renews the lease when it is time. That it fails is logged, once for each time. The thread that owns the database. */
void leader_tick(leader *who, state_database *database, uint64_t now_ns);
/* Gives it back, so that another need not wait for its end. The same thread. */
void leader_resign(leader *who, state_database *database);

/* Whether this gateway leads (`who` NULL: it is alone); never true after the lease's end, whatever the database says by then. Any thread. */
bool leader_is(const leader *who, uint64_t now_ns);

/* Inside of a transaction that writes: does it still lead? `who` NULL: yes. STATUS_OK; STATUS_CANCELLED: another does; STATUS_IO with a note.
 * Any thread. */
NODISCARD status leader_confirm(const leader *who, state_database *database,
                                struct error_note *note);

/* --- the decision --- */

struct lease {
    char holder[64];
    uint64_t fence, until_ms;
};
/* What `who` writes at `now_ms` where `seen` stands (NULL: no row): true and `next`, or false: another holds it. Pure. */
bool lease_decide(const struct lease *seen, const char *who, uint64_t now_ms, uint64_t ttl_ms,
                  struct lease *next);

#endif
