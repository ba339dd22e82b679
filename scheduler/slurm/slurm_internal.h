#ifndef PENSTOCK_SCHEDULER_SLURM_INTERNAL_H
#define PENSTOCK_SCHEDULER_SLURM_INTERNAL_H

#include "slurm_client.h"
#include "slurm_node.h"
#include "slurm_partition.h"
#include "slurm_table.h"

struct slurm_member {
    struct slurm_member_config config;
    struct slurm_table table;         /* both threads' */
    struct slurm_client watching;     /* the watcher's */
    struct slurm_client working;      /* the worker's */
    struct slurm_partition partition; /* the same */
};

/* member_driver's functions, and the member they get. */
status slurm_follow(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                    struct error_note *note);
status slurm_start(void *driver, const struct member_order *order, struct error_note *note);
status slurm_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note);

/* Ends a job at once. STATUS_OK also when it is not there. Else as slurm_client_ask. */
NODISCARD status slurm_cancel(struct slurm_client *client, uint64_t job_id,
                              struct error_note *note);

#endif
