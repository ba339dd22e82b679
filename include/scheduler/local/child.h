#ifndef PENSTOCK_SCHEDULER_CHILD_H
#define PENSTOCK_SCHEDULER_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "cpu_bind.h"
#include "sandbox.h"
#include "status.h"

/* A replica's process on this machine: a child in a process group of its own, on its slice, in its sandbox, tied to its parent by a
 * lifeline; or one that the process before this one has started. */
struct child {
    pid_t pid;       /* 0: none */
    int pid_fd;      /* readable when it has ended; -1: none */
    int lifeline_fd; /* it lives as long as somebody has this open; -1: none */
    bool is_adopted;
};

struct child_order {
    const char *program; /* a path */
    char *const *arguments, *const
                                *environment; /* NULL-terminated; the environment is all it gets */
    struct sandbox *sandbox;                  /* NULL: none */
    const struct cpu_bind *bind;              /* NULL: runs where the parent may */
    int output_fd; /* its standard output and error; -1: the parent's. Its standard input is the parent's. */
};

/* Returns when its program runs: what fails between fork and execve is told here. STATUS_OK; STATUS_NOT_FOUND and STATUS_DENIED
 * (the program), STATUS_INVALID (it could not be bound to its slice: that is gone, or closed to this process), STATUS_IO; with a note. */
NODISCARD status child_start(struct child *child, const struct child_order *order,
                             struct error_note *note);

/* Takes over both descriptors. */
void child_adopt(struct child *child, pid_t pid, int pid_fd, int lifeline_fd);

/* To the process, not to its group: it has no other (the sandbox allows none). */
void child_signal(const struct child *child, int signal_number);

/* After pid_fd became readable: collects it. `text` (at least 64 bytes) says how it ended. False: it ended by itself with an error
 * or by a signal; an adopted one's end is another's to hear, and true. */
bool child_collect(struct child *child, char *text, size_t text_bytes);

/* Leaves it to whoever holds copies of its descriptors. */
void child_forget(struct child *child);

#endif
