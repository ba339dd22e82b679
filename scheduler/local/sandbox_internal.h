#ifndef PENSTOCK_SCHEDULER_SANDBOX_INTERNAL_H
#define PENSTOCK_SCHEDULER_SANDBOX_INTERNAL_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox.h"

/* --- the filter of calls (sandbox_filter.c) --- */

/* A classic BPF program has at most BPF_MAXINSNS (4096); ours needs one instruction a call and a few for arguments. */
#define SANDBOX_FILTER_MAX 512u

struct sandbox_filter {
    struct sock_filter code[SANDBOX_FILTER_MAX];
    uint16_t count;
    /* Instructions whose constant is the child's process id, known after the fork only. */
    uint16_t pid_at[3];
    uint16_t pid_count;
};

/* False: there is no list for this processor. */
bool sandbox_filter_build(struct sandbox_filter *filter, bool may_use_tcp);
/* Async-signal-safe, as all for the child. */
int sandbox_filter_install(struct sandbox_filter *filter, pid_t self);

/* --- the file system (sandbox_landlock.c) --- */

#define SANDBOX_FD_MIN 16

/* *fd: the rules, -1 where the kernel has no Landlock. */
NODISCARD status sandbox_rules_create(const struct sandbox_options *options, int version, int *fd,
                                      struct error_note *note);
/* Adds the files of the process itself in /proc, which do not exist before the fork, and applies the rules. */
int sandbox_rules_apply(int fd);

#endif
