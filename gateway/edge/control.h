#ifndef PENSTOCK_EDGE_CONTROL_H
#define PENSTOCK_EDGE_CONTROL_H

#include "edge.h"
#include "slice.h"

/* The control thread: scales models, runs the replica manager, has replicas placed on the pool's slices and started there, probes them,
 * and tells the loops what it finds through struct edge_replica and a wake-up message. */

struct control_options {
    const char *config_file, *config_copy; /* the copy is what replicas read */
    bool has_model_path;                   /* the models' paths come from the command line */
    /* Replicas that run already, by their number; taken over. [edge->replica_count], pid_fd -1: none; NULL: none at all */
    const struct control_process *processes;
};

/* A replica's process on this machine and what it has of it, as one gateway leaves it to the next. */
struct control_process {
    uint64_t uid;
    int32_t pid;
    int pid_fd, lifeline_fd; /* -1: there is none */
    char slice[SLICE_NAME_BYTES_MAX + 1];
    uint64_t memory_bytes;
    uint32_t compute_milli;
};

/* Starts the thread, which starts all replicas. `edge` and the options' texts outlive it.
 * STATUS_OK, STATUS_INVALID (the pool's config), STATUS_NO_MEMORY, STATUS_IO; with a note. Thread: main. */
NODISCARD status control_start(struct edge *edge, const struct control_options *options,
                               struct control **out, struct error_note *note);

/* A model without a replica has a request: now is the time to look at its load. NULL: it is about to begin, and looks then. Any
 * thread. */
void control_ask(struct control *control, struct edge_model *model);

/* The thread looks at everything now. Any thread. */
void control_look(struct control *control);

/* The replica with this uid, in the slot `id`, has told that it is ready. Any thread. */
void control_answered(struct control *control, uint32_t id, uint64_t uid);

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

/* Age of the thread's last turn. Any thread. */
uint64_t control_silence_ns(const struct control *control, uint64_t now_ns);
/* It is below the limit; of NULL too: it is about to begin. Any thread. */
bool control_is_alive(const struct control *control, uint64_t now_ns, uint64_t limit_ns);

#endif
