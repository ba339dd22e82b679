#ifndef PENSTOCK_EDGE_LOCAL_PROCESS_H
#define PENSTOCK_EDGE_LOCAL_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "status.h"

/* A process that runs a verb of this same program: a child, or one that the gateway before this one has started. */
struct local_process {
    pid_t pid;       /* 0: none */
    int pid_fd;      /* readable when it has ended; -1: none */
    int lifeline_fd; /* it lives as long as somebody has this open; -1: none */
    bool is_adopted;
};

/* Forks and executes /proc/self/exe with `arguments` (NULL-terminated; [0] is the name shown by
 * ps). The child has a process group of its own (a Ctrl-C at the terminal reaches only the gateway,
 * which then drains), standard streams of ours and no other descriptor but the end of its lifeline: the kernel kills it
 * when the last process that holds the other end is gone, for whatever reason, since a replica without its gateway would
 * hold its memory for nobody. STATUS_OK, STATUS_IO (errno tells). */
NODISCARD status local_process_start(struct local_process *process, char *const arguments[]);

/* Takes over both descriptors. */
void local_process_adopt(struct local_process *process, pid_t pid, int pid_fd, int lifeline_fd);

void local_process_signal(const struct local_process *process, int signal_number);

/* After pid_fd became readable: collects it. `text` (at least 64 bytes) says how it ended. */
void local_process_collect(struct local_process *process, char *text, size_t text_bytes);

/* Leaves it to whoever holds copies of its descriptors. */
void local_process_forget(struct local_process *process);

#endif
