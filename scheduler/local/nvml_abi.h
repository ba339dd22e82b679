#ifndef PENSTOCK_SCHEDULER_NVML_ABI_H
#define PENSTOCK_SCHEDULER_NVML_ABI_H

#include <stddef.h>
#include <stdint.h>

/* The part of NVML's binary interface that is used, declared anew, since its header comes with the CUDA toolkit only. Layouts
 * as in NVIDIA's own binding (nvidia-ml-py 13.615), x86-64 and aarch64 alike. Handles are opaque. */

enum {
    NVML_OK = 0,
    NVML_NOT_SUPPORTED = 3,
    NVML_NO_PERMISSION = 4,
    NVML_NOT_FOUND = 6,
    NVML_TIMEOUT = 10,
    NVML_GPU_IS_LOST = 15,
    NVML_RESET_REQUIRED = 16,
};

enum { NVML_TEMPERATURE_GPU = 0 };
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2 };
enum { NVML_ECC_CORRECTED = 0, NVML_ECC_UNCORRECTED = 1 };
enum { NVML_ECC_VOLATILE = 0 };
/* Of two GPUs: what joins them at the nearest. */
enum { NVML_ANCESTOR_SWITCH = 10, NVML_ANCESTOR_SWITCHES = 20, NVML_ANCESTOR_HOST_BRIDGE = 30 };
#define NVML_LINKS_MAX 36u
enum { NVML_REMOTE_GPU = 0, NVML_REMOTE_SWITCH = 2 };
enum { NVML_FABRIC_COMPLETED = 3 };
#define NVML_EVENT_XID             0x8ull
#define NVML_EVENT_GPU_UNAVAILABLE 0x4000ull
#define NVML_NO_INSTANCE           0xffffffffu
#define NVML_TEXT_BYTES            96u

enum { NVML_FIELD_MEMORY_TEMPERATURE = 82, NVML_FIELD_NVLINK_TX = 138, NVML_FIELD_NVLINK_RX = 139 };
#define NVML_SCOPE_ALL 0xffffffffu

struct nvml_memory {
    uint64_t total, free, used;
};

struct nvml_utilization {
    uint32_t gpu, memory; /* per cent */
};

struct nvml_pci {
    char bus_id_legacy[16];
    uint32_t domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml_attributes {
    uint32_t processors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    uint64_t memory_mb;
};

struct nvml_process {
    uint32_t pid;
    uint64_t memory; /* UINT64_MAX: not told */
    uint32_t gpu_instance, compute_instance;
};

struct nvml_event {
    void *device;
    uint64_t type, data;
    uint32_t gpu_instance, compute_instance;
};

struct nvml_field {
    uint32_t field, scope;
    int64_t timestamp, latency_us;
    uint32_t value_type; /* 0 double, 1 u32, 2 unsigned long, 3 u64 */
    int32_t result;
    union {
        double real;
        uint32_t u32;
        uint64_t u64;
    } value;
};

#define NVML_FABRIC_VERSION 0x02000024u

struct nvml_fabric {
    uint32_t version;
    uint8_t cluster[16];
    int32_t status;
    uint32_t clique;
    uint8_t state; /* some headers have 4 bytes: little-endian, so the first tells */
    uint8_t state_rest[3];
    uint32_t health;
};

_Static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");
_Static_assert(sizeof(struct nvml_utilization) == 8, "nvmlUtilization_t");
_Static_assert(sizeof(struct nvml_pci) == 68 && offsetof(struct nvml_pci, bus_id) == 36,
               "nvmlPciInfo_t");
_Static_assert(sizeof(struct nvml_attributes) == 40, "nvmlDeviceAttributes_t");
_Static_assert(sizeof(struct nvml_process) == 24, "nvmlProcessInfo_t");
_Static_assert(sizeof(struct nvml_event) == 32, "nvmlEventData_t");
_Static_assert(sizeof(struct nvml_field) == 40 && offsetof(struct nvml_field, value) == 32,
               "nvmlFieldValue_t");
_Static_assert(sizeof(struct nvml_fabric) == 36 && offsetof(struct nvml_fabric, state) == 28,
               "nvmlGpuFabricInfo_v2_t");

#endif
