#ifndef PENSTOCK_SCHEDULER_CPU_BIND_H
#define PENSTOCK_SCHEDULER_CPU_BIND_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* Where a process runs and where its memory comes from. Set by a child between fork and execve, and kept by its program: threads
 * that it makes inherit both. */
#define CPU_NODES_MAX  1024u
#define CPU_NODE_WORDS (CPU_NODES_MAX / 64u)

struct cpu_bind {
    cpu_set_t cores;
    uint64_t
        nodes[CPU_NODE_WORDS]; /* memory comes from these NUMA nodes; none set: from anywhere */
    bool is_strict; /* out of memory when they are full, instead of taking it from others */
};

/* Async-signal-safe; the calling thread. 0 or errno, and `step` names what failed (a static text). EINVAL: none of the cores is open
 * to this process. A kernel without NUMA binds cores alone. */
int cpu_bind_apply(const struct cpu_bind *bind, const char **step);

#endif
