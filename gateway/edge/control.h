#ifndef PENSTOCK_EDGE_CONTROL_H
#define PENSTOCK_EDGE_CONTROL_H

#include "edge.h"

/* The control thread: runs the replica manager, starts and ends the child processes, probes them,
 * and tells the loops what it finds through struct edge_replica and a wake-up message. */

struct control_options {
    const char *config_file, *config_copy; /* the copy is what replicas read */
    bool has_model_path;                   /* the models' paths come from the command line */
    /* Replicas that run already, by their number; taken over. [edge->replica_count], pid_fd -1: none; NULL: none at all */
    const struct control_process *processes;
};

/* A replica's process, as one gateway leaves it to the next. */
struct control_process {
    int32_t pid;
    int pid_fd, lifeline_fd;
};

/* Starts the thread, which starts all replicas. `edge` and the options' texts outlive it.
 * STATUS_OK, STATUS_NO_MEMORY, STATUS_IO. Thread: main. */
NODISCARD status control_start(struct edge *edge, const struct control_options *options,
                               struct control **out);

/* The drain time-out of replicas from now on. Any thread. */
void control_set_drain_timeout(struct control *control, uint64_t drain_timeout_ns);

/* Has every replica read its copy of the config again. Any thread. */
void control_reload_replicas(struct control *control);

/* The processes of the replicas that run, for the next gateway: copies of the descriptors, the caller's. `out` has
 * edge->replica_count. Waits for the thread. Thread: main. */
void control_processes(struct control *control, struct control_process *out);
/* From now on another gateway looks after the replica, if `pid` is still its process: it is neither started, nor asked to end, nor
 * killed any more, but only looked at. Any thread. */
void control_release(struct control *control, uint32_t id, int32_t pid);
/* Before this, a gateway that takes over from another does not start again what that one has started. Any thread. */
void control_own(struct control *control);

/* Asks every replica to end within `drain_timeout_ns`, then ends the ones that are left; returns
 * when all are gone and the thread has ended. Accepts NULL. Thread: main. */
void control_stop(struct control *control, uint64_t drain_timeout_ns);
/* After control_stop, when no loop runs any more. Accepts NULL. */
void control_destroy(struct control *control);

/* Requests that wait for a replica look again: some replica's state has changed. Any thread, while the loops run. */
void control_wake_loops(struct edge *edge);

/* Age of the thread's last turn is below the limit. Any thread. */
bool control_is_alive(const struct control *control, uint64_t now_ns, uint64_t limit_ns);

#endif
