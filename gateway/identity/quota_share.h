#ifndef PENSTOCK_IDENTITY_QUOTA_SHARE_H
#define PENSTOCK_IDENTITY_QUOTA_SHARE_H

#include "config.h"
#include "quota_cells.h"

/* The cells of limits that gateways share: a thread tells Redis what has been used here, and sets each cell to what all have
 * used. Loops read and write atomics only. */
struct quota_share;

/* What a request waits that comes when a share is used up and the others have not been told: a round trip, and then some. */
#define QUOTA_SHARE_ASK_NS (50 * NS_PER_MS)

/* `cells` are borrowed. STATUS_OK; STATUS_INVALID, STATUS_IO with a note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status quota_share_create(const struct config_state *config, struct quota_cells *cells,
                                    struct quota_share **out, struct error_note *note);
NODISCARD status quota_share_start(struct quota_share *share);
void quota_share_stop(struct quota_share *share);
void quota_share_destroy(struct quota_share *share); /* accepts NULL */

/* --- of loops --- */

/* 0: the others are told; else Redis is away, and a limit is in so many parts, at least 1. */
uint32_t quota_share_parts(const struct quota_share *share);

/* A request is going to take from the cell: from now on it is kept up with what the others use. */
void quota_share_look(struct quota_share *share, struct quota_cell *cell, uint64_t now_ns);

/* After `cost_ns` of a limit that is earned in `period_ns` has been taken from the cell: whether that is within the share
 * that may be untold. It counts either way, until quota_share_used takes it back. */
bool quota_share_may_take(struct quota_share *share, struct quota_cell *cell, unsigned kind,
                          uint64_t cost_ns, uint64_t period_ns);
/* So much more, or less, was used than was taken. */
void quota_share_used(struct quota_share *share, struct quota_cell *cell, unsigned kind,
                      int64_t cost_ns);
/* Whether `running` requests may run here. */
bool quota_share_may_run(struct quota_share *share, struct quota_cell *cell, int64_t running,
                         uint64_t limit);

#endif
