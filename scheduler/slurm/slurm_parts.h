#ifndef PENSTOCK_SCHEDULER_SLURM_PARTS_H
#define PENSTOCK_SCHEDULER_SLURM_PARTS_H

#include "pool.h"
#include "slurm_mark.h"

/* The parts of one replica, from its mark. */
struct slurm_parts {
    struct member_part list[POOL_GANG_MAX];
    uint32_t count;
    struct buffer ids; /* owned */
};

void slurm_parts_init(struct slurm_parts *parts);
void slurm_parts_deinit(struct slurm_parts *parts);
/* Replaces what was there; none where the mark is not of its form. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status slurm_parts_read(struct slurm_parts *parts, const struct slurm_mark *mark);

#endif
