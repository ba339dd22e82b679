#ifndef PENSTOCK_SCHEDULER_LOCAL_MEMBER_H
#define PENSTOCK_SCHEDULER_LOCAL_MEMBER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cpu_slices.h"
#include "device_metrics.h"
#include "member.h"

/* This machine as a member of the pool. Its slices are sets of cores and what NVML and the kernel tell of GPUs; its replicas are
 * children of this process, bound to their slice and shut into a sandbox. All hold on to this process by a lifeline: when it is gone,
 * for whatever reason, they are killed, but for those that it has handed over to the next.
 *
 * A gang has a process a part, PENSTOCK_PART of PENSTOCK_PARTS; when one of them ends, the others are ended. Cores: a part of a slice has
 * cores of its own as far as that goes, the least used of the slice's, as many as its thousandths round up to (or the order's
 * core_milli). It is not left to wander over all, since an engine has a thread for each core that it may use, and those spin: more of
 * them than cores cost everybody more than an idle neighbour's core would bring; and a replica's measured capacity would be its
 * neighbours'.
 *
 * A replica's environment is its order's, that of this process as far as replicas read it (LOCAL_ENVIRONMENT_NAMES: a secret of the
 * gateway's is none of theirs), its devices' (CUDA_VISIBLE_DEVICES and the like), PENSTOCK_POOL and PENSTOCK_UID.
 *
 * Threads: as member.h says of the driver's functions; those below are for any thread. `driver` is that of the member_driver. */

enum local_sandbox {
    LOCAL_SANDBOX_OFF,
    LOCAL_SANDBOX_ON,       /* what this kernel can do */
    LOCAL_SANDBOX_REQUIRED, /* refuses to start replicas where it has no Landlock */
    LOCAL_SANDBOX_COUNT
};

struct local_price {
    const char *product; /* of a device as it is told; "": of all others */
    int64_t nano_hour;   /* of the device, in thousand-millionths of the ledger's unit */
};

/* Copied, unless it says so; texts may be NULL. */
struct local_member_config {
    const char *pool; /* what replicas are marked with, PENSTOCK_POOL */
    const char *node; /* the machine's name; NULL: the host's */
    const char *region, *zone;
    const char *owner; /* the organisation that it is kept for */
    const char *const *labels;
    uint32_t label_count; /* at most SLICE_LABELS_MAX */
    bool has_cpu_slices;
    struct cpu_slices_options cpu;
    int64_t core_price_nano_hour; /* of one core */
    const struct local_price *prices;
    uint32_t price_count; /* at most LOCAL_PRICES_MAX */
    bool has_devices;
    const char *nvml_library;    /* NULL: the driver's */
    const char *sysfs;           /* NULL: "/sys" */
    uint64_t device_interval_ns; /* between readings of devices */
    struct device_metrics
        *metrics; /* borrowed; set after each reading, by the watcher; NULL: none */
    enum local_sandbox sandbox;
    bool limits_memory;  /* a replica's private memory ends at what its parts were given */
    const char *program; /* of all replicas; NULL: this process's own */
};

#define LOCAL_PRICES_MAX 64u
/* An asterisk ends a name's beginning, or begins its end. */
#define LOCAL_ENVIRONMENT_NAMES                                                                    \
    "PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_CACHE_HOME", "PENSTOCK_HOME",     \
        "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_*", "*SAN_OPTIONS", "CUDA_*",   \
        "NVIDIA_*", "HSA_*", "ROCR_*", "HIP_*"
/* A driver that is silent for as many intervals hangs; its devices are SLICE_UNKNOWN. NVML's slowest answers (a GPU that wakes up) take
 * some seconds. */
#define LOCAL_DEVICE_SILENT_INTERVALS 10u

/* Reads this machine's cores; devices are read by threads of their own from now on. STATUS_OK; STATUS_INVALID (a text too long, too many
 * labels or prices), STATUS_NOT_FOUND (cores), STATUS_TOO_LARGE (more than CPU_SLICES_MAX slices), STATUS_IO, STATUS_NO_MEMORY; with a
 * note. `out->destroy` kills what was not released. */
NODISCARD status local_member_create(const struct local_member_config *config,
                                     struct member_driver *out, struct error_note *note);

/* To all processes of a replica, unless it is released: SIGHUP has it read its config again. */
void local_member_signal(void *driver, uint64_t uid, int signal_number);

/* The process of a part, and copies of its descriptors, the caller's: for the next process that looks after the replica. Each of `pid_fd`
 * and `lifeline_fd` may be NULL. STATUS_OK; STATUS_NOT_FOUND: there is none, or it has ended; STATUS_IO: no descriptor is free. */
NODISCARD status local_member_process(void *driver, uint64_t uid, uint32_t part, pid_t *pid,
                                      int *pid_fd, int *lifeline_fd);

/* A replica that another process has started, and that is looked after here from now on. */
struct local_adopted_part {
    struct member_part place;
    pid_t pid;
    int pid_fd, lifeline_fd; /* taken over, also on failure; the lifeline keeps it alive */
};

struct local_adoption {
    uint64_t uid;
    const char *name;
    const struct local_adopted_part *parts;
    uint32_t part_count;
};

/* Before or while `follow` runs. STATUS_OK (also when it is there already), STATUS_FULL, STATUS_NO_MEMORY, STATUS_IO. */
NODISCARD status local_member_adopt(void *driver, const struct local_adoption *adoption);

/* It is another process's from now on: neither asked to end, nor signalled, nor killed; that it ends is still told. False: not known. */
bool local_member_release(void *driver, uint64_t uid);

#endif
