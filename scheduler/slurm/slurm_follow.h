#ifndef PENSTOCK_SCHEDULER_SLURM_FOLLOW_H
#define PENSTOCK_SCHEDULER_SLURM_FOLLOW_H

#include "slurm_internal.h"
#include "slurm_parts.h"

/* What the watcher knows while it follows. */
struct slurm_follow {
    struct slurm_member *member;
    struct slurm_client *client;
    const struct member_sink *sink;
    const _Atomic bool *is_stopping;
    struct error_note *note;
    struct slurm_holds holds;
    struct slurm_parts parts;             /* of the replica that is being told */
    json_t *sizes;                        /* of the list that is being told; owned */
    uint64_t jobs_since, nodes_since;     /* cluster's seconds; 0: never listed */
    uint64_t jobs_next_ns, nodes_next_ns; /* no full answer before */
    size_t moving_at;
    bool has_failed; /* memory, while slices are told */
};

/* All of an answer's jobs, or one. `list`: the number that slurm_table_begin gave before the question. Statuses of slurm_client_ask. */
NODISCARD status slurm_follow_jobs(struct slurm_follow *follow, uint64_t list, const json_t *jobs);
NODISCARD status slurm_follow_job(struct slurm_follow *follow, uint64_t list, const json_t *object);

#endif
