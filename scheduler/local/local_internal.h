#ifndef PENSTOCK_SCHEDULER_LOCAL_INTERNAL_H
#define PENSTOCK_SCHEDULER_LOCAL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "arena.h"
#include "child.h"
#include "device_watch.h"
#include "local_member.h"
#include "nvml_source.h"

/* The driver of this machine from inside. Who may touch what:
 *   config, cpus, nodes      nobody changes them
 *   replicas                 with `lock`; one is taken away and freed by the watcher alone, so that it may read a replica's
 *                            name and places without the lock; a process ends up there when it runs
 *   faults                   with `fault_lock`, which is taken while a source's lock is held: nothing else is taken under it
 *   told, lists              the watcher's
 * The watcher sleeps in epoll: on the processes' pidfds, and on `wake_fd`, by which everybody else says that there is something to
 * look at. */

/* More than any machine has room for: processes of 100 MB each would fill 200 GB. */
#define LOCAL_REPLICAS_MAX 2048u
#define LOCAL_PARTS_MAX    DEVICES_MAX /* of one replica */
#define LOCAL_NAME_BYTES   128u
#define LOCAL_REASON_BYTES 192u
#define LOCAL_FAULT_BYTES  64u
#define LOCAL_FAULTS_MAX                                                                           \
    64u /* between two turns of the watcher; further ones show in the readings */
#define LOCAL_SLICES_MAX (CPU_SLICES_MAX + LOCAL_VENDORS * DEVICES_MAX)
#define LOCAL_NODE_BYTES 254u

enum { LOCAL_NVML, LOCAL_AMD, LOCAL_VENDORS };

struct local_part {
    struct child child; /* pid 0: there is none, or it has ended */
    char slice_id[DEVICE_SLICE_ID_BYTES];
    uint64_t memory_bytes;
    uint32_t compute_milli, bound_milli; /* what is booked; what it runs on */
    cpu_set_t cores;                     /* what of a slice of cores it has; none of a device's */
    char fault[LOCAL_FAULT_BYTES];       /* what its device has told of last; "": nothing */
    bool is_device_broken;
};

struct local_replica {
    uint64_t uid;
    char name[LOCAL_NAME_BYTES];
    struct local_part *parts; /* owned; places do not change once it is in the table */
    uint32_t part_count;
    pid_t pid; /* of the first part, also when it is gone */
    enum member_phase phase;
    enum member_cause cause;
    char reason[LOCAL_REASON_BYTES];
    bool has_news; /* to be told */
    bool is_stopping, is_released;
    uint64_t kill_ns; /* its grace is over; UINT64_MAX: none runs */
};

struct local_fault {
    char id[DEVICE_TEXT_BYTES]; /* the GPU's */
    uint32_t gpu_instance;      /* UINT32_MAX: of the whole */
    char text[LOCAL_FAULT_BYTES];
    bool is_broken;
};

/* A slice as it was told. */
struct local_told {
    char id[DEVICE_SLICE_ID_BYTES];
    uint64_t print; /* of all that its report says */
    bool is_there;  /* in the look under way */
};

struct local_member {
    arena *texts; /* of the config */
    struct local_member_config config;
    struct cpu_slices cpus;  /* what is offered */
    struct cpu_slices nodes; /* where a device's process runs: near it */
    int epoll_fd, wake_fd;

    pthread_mutex_t lock;
    struct local_replica *replicas[LOCAL_REPLICAS_MAX]; /* owned; NULL: free */
    uint32_t replica_bound;                             /* all are below */

    pthread_mutex_t fault_lock;
    struct local_fault faults[LOCAL_FAULTS_MAX];
    uint32_t fault_count;

    struct device_watch *watches[LOCAL_VENDORS]; /* owned; NULL: none */
    _Atomic bool has_reading;                    /* a new one, of whichever */
    struct device_list lists[LOCAL_VENDORS];
    struct device_list all;
    struct local_told told[LOCAL_SLICES_MAX];
    uint32_t told_count;
};

/* --- local_member.c --- */

void local_wake(struct local_member *member);

/* --- local_replicas.c: with `lock` --- */

/* Of room for `part_count` parts. NULL: no memory. */
struct local_replica *local_replica_create(uint64_t uid, const char *name, uint32_t part_count);
/* Closes what it has of processes. Accepts NULL. */
void local_replica_free(struct local_replica *replica);
void local_part_place(struct local_part *part, const struct member_part *place);
struct local_replica *local_replica_find(struct local_member *member, uint64_t uid);
/* The watcher hears of its processes from now on. STATUS_OK; STATUS_FULL; STATUS_INVALID: its uid is there already; STATUS_IO. */
NODISCARD status local_replica_insert(struct local_member *member, struct local_replica *replica);
void local_replica_signal(struct local_replica *replica, int signal_number);
bool local_replica_is_gone(const struct local_replica *replica);
status local_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note);

/* --- local_start.c --- */

status local_start(void *driver, const struct member_order *order, struct error_note *note);

/* --- local_cores.c --- */

/* Takes for a part of `milli` (0, or all there is: the whole slice) as many of the slice's cores as that rounds up to, those that have the least of
 * `used` (thousandths, by the cores' numbers; CPU_SETSIZE). Pure. */
void local_cores_pick(const struct cpu_slices *slices, const struct cpu_slice *slice,
                      uint32_t milli, const uint32_t *used, cpu_set_t *out);
/* Shares `milli` (0: all that they have) among the cores in `used`. */
void local_cores_charge(const struct cpu_slices *slices, const cpu_set_t *cores, uint32_t milli,
                        uint32_t *used);
uint32_t local_cores_count(const struct cpu_slices *slices, const cpu_set_t *cores);

/* --- local_environment.c --- */

#define LOCAL_ENVIRONMENT_MAX 1024u /* variables of a replica */

struct local_environment {
    arena *memory; /* of the values that are made here; borrowed */
    const char *variables[LOCAL_ENVIRONMENT_MAX + 1];
    uint32_t count;
    status failed; /* some are missing: STATUS_TOO_LARGE or STATUS_NO_MEMORY */
};

/* The last word on a name counts. */
void local_environment_put(struct local_environment *environment, const char *variable);
void local_environment_set(struct local_environment *environment, const char *name,
                           const char *format, ...) PRINTF_LIKE(3, 4);
/* What of `process` (NULL-terminated) replicas read: LOCAL_ENVIRONMENT_NAMES. */
void local_environment_inherit(struct local_environment *environment, char *const *process);

/* --- local_access.c --- */

/* What a process needs to use a device: variables that show it this one alone, and files. */
void local_device_show(const struct device *device, struct local_environment *environment);
/* Appends to `paths` at `count`, of at most SANDBOX_PATHS_MAX; texts are from `memory`, or live for ever. */
void local_device_paths(const struct device *device, arena *memory, struct sandbox_path *paths,
                        uint32_t *count);
/* The number in its name under /dev, from the text of /proc/driver/nvidia/gpus/<pci>/information; -1: it does not say. Pure. */
int32_t local_nvidia_minor(const char *information);

/* --- local_slices.c: the watcher --- */

/* Reads devices and tells what is there (`is_list`: everything, as a complete list), or else what has changed. */
void local_slices_tell(struct local_member *member, const struct member_sink *sink, bool is_list);
/* The device of a slice, by its last reading; NULL: it is not one's, or it is gone. */
const struct device *local_slice_device(const struct local_member *member, const char *slice_id);
/* The slice of cores of this id; NULL: it is none. Any thread. */
const struct cpu_slice *local_slice_cores(const struct local_member *member, const char *slice_id);
/* The device of a slice as it was read last. False: it is not one's, or it is gone. Any thread. */
bool local_slice_device_read(struct local_member *member, const char *slice_id, struct device *out);

/* --- local_follow.c: the watcher --- */

status local_follow(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                    struct error_note *note);
/* Of a source's thread. */
void local_fault_note(void *context, const struct nvml_fault *fault);

#endif
