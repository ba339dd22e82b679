#ifndef PENSTOCK_SCHEDULER_SLURM_PARTITION_H
#define PENSTOCK_SCHEDULER_SLURM_PARTITION_H

#include "slurm_client.h"

/* How long jobs of a partition may run, and whether they run shorter where nothing is said. */
struct slurm_partition {
    bool has_limit, has_default;
    uint64_t limit_minutes;
};

/* False: the answer has no partition of this name. Pure. */
bool slurm_partition_read(const json_t *answer, const char *name, struct slurm_partition *out);

/* Asks for the config's partition. STATUS_INVALID where there is none; else as slurm_client_ask. */
NODISCARD status slurm_partition_ask(struct slurm_client *client, struct slurm_partition *out,
                                     struct error_note *note);

#endif
