#ifndef PENSTOCK_SCHEDULER_DEVICE_H
#define PENSTOCK_SCHEDULER_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

/* A GPU of this machine, or a MIG instance of one, as its vendor's interface tells; one reading. What is not known is DEVICE_UNKNOWN. */
#define DEVICES_MAX         128u /* 16 GPUs of 7 instances, and room */
#define DEVICE_TEXT_BYTES   96u
#define DEVICE_NAME_BYTES   48u
#define DEVICE_REASON_BYTES 128u
#define DEVICE_UNKNOWN      UINT64_MAX

enum device_reading {
    DEVICE_GPU_UTILIZATION,    /* per cent */
    DEVICE_MEMORY_UTILIZATION, /* per cent of the time that memory was read or written */
    DEVICE_TEMPERATURE,        /* degrees Celsius */
    DEVICE_MEMORY_TEMPERATURE,
    DEVICE_POWER_MW,
    DEVICE_ENERGY_MJ, /* since the driver was loaded */
    DEVICE_SM_CLOCK_MHZ,
    DEVICE_MEMORY_CLOCK_MHZ,
    DEVICE_PCIE_REPLAYS,
    DEVICE_NVLINK_KIB,    /* both ways, since the driver was loaded */
    DEVICE_ECC_CORRECTED, /* since the driver was loaded */
    DEVICE_ECC_UNCORRECTED,
    DEVICE_ROWS_CORRECTABLE, /* remapped for good */
    DEVICE_ROWS_UNCORRECTABLE,
    DEVICE_ROWS_PENDING, /* 1: a reset will remap some */
    DEVICE_ROWS_FAILED,  /* 1: none are left to remap to */
    DEVICE_READING_COUNT
};

/* Who has memory of a device; beyond these the rest counts as others'. */
#define DEVICE_PROCESSES_MAX 32u

struct device_process {
    uint32_t pid;
    uint64_t memory_bytes; /* DEVICE_UNKNOWN */
};

struct device {
    char id
        [DEVICE_TEXT_BYTES]; /* "GPU-<uuid>", "MIG-<uuid>"; of others the vendor's number, or the PCI address */
    char parent[DEVICE_TEXT_BYTES]; /* of an instance: its GPU's id */
    char product[DEVICE_TEXT_BYTES];
    char profile[DEVICE_NAME_BYTES]; /* "1g.10gb" */
    char pci[DEVICE_NAME_BYTES];
    /* The names of groups are this machine's: "nvlink0", "pcie-switch0"; of a fabric over machines its cluster and clique. */
    char nvlink_domain[DEVICE_TEXT_BYTES];
    char pcie_switch[DEVICE_NAME_BYTES];
    char pcie_root[DEVICE_NAME_BYTES];
    char reason[DEVICE_REASON_BYTES];        /* of its health */
    uint32_t index;                          /* of the GPU, in its vendor's order */
    uint32_t gpu_instance, compute_instance; /* of MIG; UINT32_MAX: none */
    enum slice_vendor vendor;
    enum slice_kind kind;
    enum slice_health health;
    uint16_t compute_capability;
    int16_t numa;
    uint32_t compute_milli;
    uint64_t memory_bytes, memory_used_bytes; /* DEVICE_UNKNOWN each */
    struct device_process processes[DEVICE_PROCESSES_MAX];
    uint32_t process_count;
    uint64_t readings[DEVICE_READING_COUNT];
    uint64_t xid; /* the last one; 0: none seen */
};

struct device_list {
    uint32_t count;
    uint32_t missed; /* devices beyond DEVICES_MAX */
    char driver[DEVICE_TEXT_BYTES];
    struct device items[DEVICES_MAX];
};

/* A device with nothing known but its vendor and kind. */
void device_clear(struct device *device, enum slice_vendor vendor, enum slice_kind kind);

/* The next free item, or NULL and one more missed. */
struct device *device_list_add(struct device_list *list, enum slice_vendor vendor,
                               enum slice_kind kind);

/* Makes the health worse, never better, with its reason. */
void device_blame(struct device *device, enum slice_health health, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The report of a device as a slice of `node`: texts are borrowed from both, and from `id` (DEVICE_SLICE_ID_BYTES). What `own` processes
 * (replicas of ours) hold is not foreign; where the vendor does not tell who holds what, nothing is foreign while one of ours is there.
 */
#define DEVICE_SLICE_ID_BYTES (SLICE_NAME_BYTES_MAX + 1u)
void device_report(const struct device *device, const char *node, const uint32_t *own,
                   uint32_t own_count, char *id, struct slice_report *report);

#endif
