#ifndef PENSTOCK_SCHEDULER_AMD_SOURCE_H
#define PENSTOCK_SCHEDULER_AMD_SOURCE_H

#include "device_watch.h"

/* AMD's GPUs for a device_watch, by what the kernel's driver shows of them in files, so that no library of theirs is needed: kernel
 * documentation, gpu/amdgpu (driver-misc, thermal, ras). A card is one slice; how it is partitioned is its profile. `sysfs`: copied;
 * NULL: "/sys". STATUS_OK, STATUS_NO_MEMORY, STATUS_TOO_LARGE (the path). */
NODISCARD status amd_source_create(const char *sysfs, struct device_source *out);

#endif
