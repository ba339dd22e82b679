#ifndef PENSTOCK_SCHEDULER_SLURM_JOB_H
#define PENSTOCK_SCHEDULER_SLURM_JOB_H

#include <jansson.h>

#include "slurm_hostlist.h"
#include "slurm_mark.h"
#include "slurm_member.h"

/* One job of an answer's list, as the pool sees it. */

struct slurm_job {
    uint64_t id;
    bool is_ours, is_gang;
    bool is_holding; /* it has its nodes and devices */
    bool is_over;    /* it is none any more */
    bool
        is_put_back; /* Slurm would run it again, or has stopped it for a while: ours are cancelled then */
    struct slurm_mark mark; /* ours; borrowed from the object */
    const char *name;       /* the same */
    enum member_phase phase;
    enum member_cause cause;
    bool is_preempted; /* it runs still, until ends_seconds */
    uint64_t
        ends_seconds; /* when Slurm ends it, by the cluster's clock; 0: it does not, as far as is known */
    char node[SLURM_HOST_BYTES_MAX + 1];
    char reason[128];
};

/* False: it is no job. Ours are the jobs of the config's user with its pool's mark. Pure. */
bool slurm_job_read(const json_t *object, const struct slurm_member_config *config,
                    struct slurm_job *out);

#endif
