#ifndef PENSTOCK_SCHEDULER_SLURM_ORDER_H
#define PENSTOCK_SCHEDULER_SLURM_ORDER_H

#include "slurm_client.h"
#include "slurm_partition.h"

/* An order as the body of a job's submission.
 *
 * The job is pinned to the nodes of its slices: by a list of nodes, or before v0.0.39, which refuses one, by the nodes' features
 * "node_<name>". A gang is one job with as many tasks a node as it has parts there, the same on each; a task gets its own of
 * the node's devices. */

/* What a share of a slice is counted in. */
struct slurm_slice_size {
    uint32_t compute_milli, step_milli;
};

/* `sizes`: [part_count], of the order's slices. STATUS_OK; STATUS_INVALID: no job can do that; STATUS_FULL: none on these slices
 * (a note says why); STATUS_TOO_LARGE, STATUS_NO_MEMORY: `out` has failed. Pure. */
NODISCARD status slurm_order_write(struct buffer *out, const struct slurm_member_config *config,
                                   struct slurm_api api, const struct slurm_partition *partition,
                                   const struct member_order *order,
                                   const struct slurm_slice_size *sizes, struct error_note *note);

#define SLURM_ORDER_BYTES_MAX (4u << 20)
#define SLURM_GANG_SIGNAL     "USR2" /* to a gang: its parts shall end */

#endif
