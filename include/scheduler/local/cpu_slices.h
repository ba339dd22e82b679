#ifndef PENSTOCK_SCHEDULER_CPU_SLICES_H
#define PENSTOCK_SCHEDULER_CPU_SLICES_H

#include <stdint.h>

#include "cpu_bind.h"
#include "slice.h"
#include "status.h"

/* This machine's cores and memory, cut into slices: the whole, one a NUMA node, or several of a stated number of cores in each. Only
 * what this process may use is cut: its affinity, its control groups' cores (cpuset, and the time of cpu.max) and memory. Read by hwloc,
 * which knows NUMA nodes, cores and what of them is open to us. Pure but for reading; any thread. */
#define CPU_SLICES_MAX 256u
#define CPU_STEP_MILLI 100u

enum cpu_cut {
    CPU_CUT_MACHINE, /* one replica can have all cores, of whichever nodes */
    CPU_CUT_NODES,
    CPU_CUT_CORES,
    CPU_CUT_COUNT
};

struct cpu_slice {
    char name
        [32]; /* "cpu", "numa0", "numa0-cores4-7" by hwloc's numbers of cores; the same as long as the cut is */
    int16_t numa;        /* as the kernel numbers it; -1: of several nodes */
    uint32_t core_count; /* physical ones */
    uint64_t memory_bytes;
    struct cpu_bind bind;
};

struct cpu_slices {
    uint32_t count;
    struct cpu_slice items[CPU_SLICES_MAX];
    uint16_t core_of[CPU_SETSIZE]; /* of each thread in a slice: the number of its core */
};

struct cpu_slices_options {
    enum cpu_cut cut;
    uint32_t cores_each;       /* CPU_CUT_CORES, at least 1; a node's last slice has what is left */
    uint64_t memory_bytes_max; /* of all; 0: what there is. Control groups' limit it further. */
    /* For tests, NULL: this machine. hwloc's description of a machine ("numa:2 core:4 pu:2"), and the cores that are open. */
    const char *synthetic;
    const cpu_set_t *allowed;
    uint32_t core_count_max; /* 0: what control groups leave */
};

/* STATUS_OK; STATUS_NOT_FOUND: no core is open; STATUS_TOO_LARGE: more than CPU_SLICES_MAX; STATUS_IO (hwloc); STATUS_NO_MEMORY. */
NODISCARD status cpu_slices_read(const struct cpu_slices_options *options, struct cpu_slices *out,
                                 struct error_note *note);

/* The report of one as a slice of `node`: texts are borrowed from both, and from `id` (SLICE_NAME_BYTES_MAX + 1 bytes). Replicas may share
 * it by CPU_STEP_MILLI. */
void cpu_slice_report(const struct cpu_slice *slice, const char *node, char *id,
                      struct slice_report *report);

/* The least of the limits of memory in the control groups of a process, of both versions; UINT64_MAX: none. `groups`: the text of
 * /proc/PID/cgroup; `root`: "/sys/fs/cgroup". */
uint64_t cpu_memory_limit(const char *groups, const char *root);

#endif
