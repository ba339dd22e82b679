#ifndef PENSTOCK_SCHEDULER_NVML_SOURCE_H
#define PENSTOCK_SCHEDULER_NVML_SOURCE_H

#include "device_watch.h"

/* NVIDIA's GPUs for a device_watch, by the driver's library, opened when there is one and tried again at each reading while there is
 * not. Errors that the driver tells of (Xid) are heard by a thread of its own. A broken device stays so until the gateway starts anew
 *: that its next readings are good proves nothing. */
struct nvml_source;

/* A program's fault that the device has told: whoever ran there is to blame. */
struct nvml_fault {
    const char *id;                          /* the GPU's */
    uint32_t gpu_instance, compute_instance; /* UINT32_MAX: of the whole */
    uint64_t xid;
    const char *text;
    bool is_programs; /* the replica's fault; else the device's */
    bool is_broken;   /* the device is of no more use */
};

struct nvml_source_options {
    const char *library; /* copied; NULL: "libnvidia-ml.so.1" */
    const char *sysfs;   /* copied; NULL: "/sys" */
    /* On the thread that hears, which holds a lock: it notes it and wakes somebody; may be NULL. */
    void (*fault)(void *context, const struct nvml_fault *fault);
    void *context;
};

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_TOO_LARGE (a path). */
NODISCARD status nvml_source_create(const struct nvml_source_options *options,
                                    struct device_source *out);

#endif
