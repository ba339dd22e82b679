#ifndef PENSTOCK_SCHEDULER_SLURM_TABLE_H
#define PENSTOCK_SCHEDULER_SLURM_TABLE_H

#include <pthread.h>

#include "slurm_job.h"
#include "slurm_order.h"

/* What the watcher and the worker of a member both know: our jobs, and the sizes of the slices that were told last. Each call
 * takes the lock for itself. Any thread. */

struct slurm_row {
    uint64_t uid, job_id;
    uint64_t
        list; /* the number of the list that had it last, or that had begun when it was submitted */
    uint64_t cancel_at_ns; /* it has been asked to end: when it is ended; 0: not, or it is ended */
    uint64_t ends_seconds; /* as of struct slurm_job */
    enum member_phase phase;
    enum member_cause cause;
    bool is_over, is_gang;
    bool is_asked;                       /* to end */
    char node[SLURM_HOST_BYTES_MAX + 1]; /* the last it was on: a job in the queue has none */
};

struct slurm_table {
    pthread_mutex_t lock;
    struct slurm_row *rows; /* owned */
    size_t count, capacity;
    uint64_t list; /* the number of the last list that has begun */
    bool
        is_listed; /* a list has ended, and nothing has been submitted since of which we do not know */
    json_t *sizes; /* owned; slice id -> compute_milli << 32 | step_milli */
};

NODISCARD status slurm_table_init(struct slurm_table *table);
void slurm_table_deinit(struct slurm_table *table);

/* A list of jobs: begin, put each, end. A job that is not of a list that began after it was submitted is forgotten. The number that begin returns goes to put and end. */
uint64_t slurm_table_begin(struct slurm_table *table);
NODISCARD status slurm_table_put(struct slurm_table *table, uint64_t list,
                                 const struct slurm_job *job);
void slurm_table_end(struct slurm_table *table, uint64_t list);

NODISCARD status slurm_table_submitted(struct slurm_table *table, const struct member_order *order,
                                       uint64_t job_id);
/* It is not known whether a job was submitted: a list must tell. */
void slurm_table_doubt(struct slurm_table *table);
bool slurm_table_is_listed(struct slurm_table *table);

/* The job of this uid: of those that are not over the first one, else the last one. */
bool slurm_table_find(struct slurm_table *table, uint64_t uid, struct slurm_row *out);
void slurm_table_cancel_at(struct slurm_table *table, uint64_t job_id, uint64_t when_ns);
/* A job whose time is over, which is no longer due then. */
bool slurm_table_due(struct slurm_table *table, uint64_t now_ns, uint64_t *job_id);
/* Where a job was last. False: not known. */
bool slurm_table_node(struct slurm_table *table, uint64_t job_id,
                      char out[SLURM_HOST_BYTES_MAX + 1]);
/* From row *at on the next job that is about to change, or that Slurm ends before `horizon_seconds`; *at moves behind it. */
bool slurm_table_moving(struct slurm_table *table, uint64_t horizon_seconds, size_t *at,
                        uint64_t *job_id);

/* Takes over `sizes`. */
void slurm_table_sizes_set(struct slurm_table *table, json_t *sizes);
bool slurm_table_size(struct slurm_table *table, const char *slice_id,
                      struct slurm_slice_size *out);

#endif
