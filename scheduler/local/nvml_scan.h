#ifndef PENSTOCK_SCHEDULER_NVML_SCAN_H
#define PENSTOCK_SCHEDULER_NVML_SCAN_H

#include "device.h"
#include "nvml_library.h"

/* GPUs of one machine: today's largest have 16. */
#define NVML_GPUS_MAX 32u

/* One reading of all GPUs and their instances, appended to `list`. A GPU that does not answer is in it with what is known of it (an id
 * at the least) and SLICE_BAD. `sysfs`: "/sys", for what only the kernel knows. STATUS_OK; STATUS_IO: not even how many there are.
 * Blocks as long as the driver does. */
NODISCARD status nvml_scan(const struct nvml_library *library, const char *sysfs,
                           struct device_list *list, struct error_note *note);

/* --- among its files --- */

struct nvml_gpu {
    void *handle; /* NULL: it does not answer */
    struct device facts;
    struct nvml_pci pci;
};

/* Which GPUs share a switch, a root, an NVLink domain: fills the names of groups. (nvml_topology.c) */
void nvml_topology_fill(const struct nvml_library *library, struct nvml_gpu *gpus, uint32_t count);

#endif
