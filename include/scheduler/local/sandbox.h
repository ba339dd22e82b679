#ifndef PENSTOCK_SCHEDULER_SANDBOX_H
#define PENSTOCK_SCHEDULER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* The walls around a replica's process. A replica parses files and requests that others wrote, so it is given what it needs to answer
 * and no more, whoever takes it over: it cannot gain privileges (no_new_privs), calls of the kernel that serving does not
 * need fail (seccomp), files that it was not given do not open (Landlock), and its memory never ends in a core file.
 *
 * All that can fail or allocates is done by sandbox_create, before the fork; sandbox_enter is for the child between fork and exec and
 * only calls what a signal handler may. A sandbox is for one child, and is destroyed by the parent after the fork.
 *
 * seccomp: an allow list. A list of what is forbidden has to be mended with each kernel, and until then lets everything new
 * through; this one lets nothing new through and stays as it is: calls it knows and does not allow fail with EPERM, calls newer than
 * the list with ENOSYS, by which the C library takes its older way, as it does on an older kernel. Nothing is
 * killed for a refused call: a library that tries and goes on without is common.
 *
 * Landlock: what the kernel's version of it can do (sandbox_probe). Without it files are open as to any process of this user, which
 * is told by sandbox_describe. Kernel's documentation: userspace-api/landlock.rst, seccomp_filter.rst. */
struct sandbox;

enum sandbox_access {
    SANDBOX_READ,    /* a file, or all below a folder */
    SANDBOX_WRITE,   /* also write, make and remove */
    SANDBOX_EXECUTE, /* read, and run as a program */
    SANDBOX_DEVICE,  /* read, write and ioctl: a GPU's files */
    SANDBOX_LISTEN,  /* make sockets in a folder */
    SANDBOX_ACCESS_COUNT
};

#define SANDBOX_PATHS_MAX 256u

struct sandbox_path {
    const char *path; /* borrowed for the call */
    enum sandbox_access access;
    bool is_optional; /* may be missing */
};

struct sandbox_options {
    const struct sandbox_path
        *paths; /* beside those that every process needs (libraries, /proc of itself, /dev/null) */
    uint32_t path_count; /* at most SANDBOX_PATHS_MAX */
    /* The TCP port it may listen at; 0: Unix sockets alone. It may never connect to anything. */
    uint16_t listen_port;
    bool needs_landlock;     /* refuse to be made where the kernel has none */
    uint64_t files_max;      /* open at once; 0: as the parent */
    uint64_t file_bytes_max; /* of a file that it writes; 0: as the parent */
    uint64_t data_bytes_max; /* private memory; 0: as the parent */
};

/* The kernel's version of Landlock; 0: it has none, or it is switched off. */
int sandbox_probe(void);

/* Statuses: OK; INVALID (too many paths, or one that cannot be opened: the note names it); UNSUPPORTED (no seccomp for this
 * processor, or no Landlock and `needs_landlock`); IO; NO_MEMORY. Any thread. */
NODISCARD status sandbox_create(const struct sandbox_options *options, struct sandbox **out,
                                struct error_note *note);
void sandbox_destroy(struct sandbox *sandbox); /* accepts NULL */

/* One line for the log: what holds and what this kernel cannot do. */
void sandbox_describe(const struct sandbox *sandbox, char *text, uint32_t text_bytes);

/* In the child, with one thread; to be followed by execve. For good. 0, or errno, and then `step` names what failed (a static text). */
int sandbox_enter(struct sandbox *sandbox, const char **step);

#endif
