#ifndef PENSTOCK_IDENTITY_QUOTA_CELLS_H
#define PENSTOCK_IDENTITY_QUOTA_CELLS_H

#include <stdatomic.h>
#include <stdint.h>

#include "hash.h"
#include "status.h"

/* What has been taken of each limit by each of those that it is for: one cell each, found by a keyed hash of both. Cells
 * are added by any loop and never go while the process lives, so a pointer to one is good for ever; there is no lock. */

#define QUOTA_CELL_COUNT_MAX 65536u

enum { RATE_REQUESTS, RATE_TOKENS, RATE_DAY_TOKENS, RATE_COUNT };

/* What gateways that share limits tell each other (quota_share.c). */
struct quota_shared {
    uint8_t name[16];                      /* of the cell, the same in each of them */
    _Atomic int64_t untold_ns[RATE_COUNT]; /* used here since they were told; below 0: given back */
    _Atomic int64_t running_told;          /* of `running`, that they know of */
    _Atomic int64_t running_elsewhere;     /* that they run */
    _Atomic uint64_t used_ns, heard_ns; /* when it was last taken from, and they were last heard */
    uint32_t generation;                /* of the connection that knows it; the thread's */
};

struct quota_cell {
    struct hash128 id;
    _Atomic uint64_t rates_ns[RATE_COUNT]; /* gcra.h */
    _Atomic int64_t running;               /* requests at once */
    _Atomic(void *) account;               /* of a book of spent money; NULL: none */
    struct quota_shared shared;
};

struct quota_cells;

NODISCARD status quota_cells_create(struct quota_cells **out);
void quota_cells_destroy(struct quota_cells *cells); /* accepts NULL */

/* The cell of this name, made when there is none. Any thread. STATUS_OK, STATUS_FULL, STATUS_NO_MEMORY. */
NODISCARD status quota_cells_get(struct quota_cells *cells, const void *name, size_t bytes,
                                 struct quota_cell **out);

/* Calls `take` with each cell. Any thread. */
void quota_cells_each(struct quota_cells *cells,
                      void (*take)(void *context, struct quota_cell *cell), void *context);

#endif
