#ifndef PENSTOCK_IDENTITY_QUOTA_CELLS_H
#define PENSTOCK_IDENTITY_QUOTA_CELLS_H

#include <stdatomic.h>
#include <stdint.h>

#include "hash.h"
#include "status.h"

/* What has been taken of each limit by each of those that it is for: one cell each, found by a keyed hash of both. Cells
 * are added by any loop and never go while the process lives, so a pointer to one is good for ever; there is no lock. */

#define QUOTA_CELL_COUNT_MAX 65536u

struct quota_cell {
    struct hash128 id;
    _Atomic uint64_t requests_ns, tokens_ns, day_tokens_ns; /* gcra.h */
    _Atomic int64_t running;                                /* requests at once */
    _Atomic(void *) account; /* of a book of spent money; NULL: none */
};

struct quota_cells;

NODISCARD status quota_cells_create(struct quota_cells **out);
void quota_cells_destroy(struct quota_cells *cells); /* accepts NULL */

/* The cell of this name, made when there is none. Any thread. STATUS_OK, STATUS_FULL, STATUS_NO_MEMORY. */
NODISCARD status quota_cells_get(struct quota_cells *cells, const void *name, size_t bytes,
                                 struct quota_cell **out);

#endif
