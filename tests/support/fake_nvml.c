#include "fake_nvml.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvml_abi.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

struct fake_nvml fake_nvml_state;

#define STATE fake_nvml_state

/* Handles: the address of a GPU, or of an instance inside of it. */
static struct fake_gpu *gpu_of(void *handle)
{
    size_t offset = (size_t)((char *)handle - (char *)STATE.gpus);

    return &STATE.gpus[offset / sizeof STATE.gpus[0]];
}

static struct fake_instance *instance_of(void *handle)
{
    return handle == (void *)gpu_of(handle) ? NULL : handle;
}

#define ANSWER(handle)                                                                             \
    do {                                                                                           \
        if (gpu_of(handle)->result != 0)                                                           \
            return gpu_of(handle)->result;                                                         \
    } while (0)

int nvmlInit_v2(void)
{
    if (STATE.init_result == 0)
        STATE.open_count++;
    return STATE.init_result;
}

int nvmlShutdown(void)
{
    STATE.open_count--;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = STATE.count;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    *handle = &STATE.gpus[index];
    return STATE.gpus[index].by_index_result;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned bytes)
{
    const struct fake_instance *instance = instance_of(handle);

    ANSWER(handle);
    if (instance == NULL)
        (void)snprintf(text, bytes, "%s", gpu_of(handle)->uuid);
    else
        (void)snprintf(text, bytes, "MIG-%s-%u", gpu_of(handle)->uuid, instance->gpu_instance);
    return 0;
}

#ifndef FAKE_NVML_OLD

static void wait_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

int nvmlSystemGetDriverVersion(char *text, unsigned bytes)
{
    (void)snprintf(text, bytes, "570.86.15");
    return 0;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned bytes)
{
    ANSWER(handle);
    (void)snprintf(text, bytes, "%s", gpu_of(handle)->name);
    return 0;
}

int nvmlDeviceGetPciInfo_v3(void *handle, struct nvml_pci *pci)
{
    ANSWER(handle);
    *pci = (struct nvml_pci){.bus = gpu_of(handle)->bus};
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    ANSWER(handle);
    *major = gpu_of(handle)->major;
    *minor = gpu_of(handle)->minor;
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *handle, struct nvml_memory *memory)
{
    const struct fake_instance *instance = instance_of(handle);

    while (STATE.is_hanging)
        wait_ms(2);
    ANSWER(handle);
    memory->total = instance != NULL ? instance->memory_mb << 20 : gpu_of(handle)->memory_total;
    memory->used = instance != NULL ? 0 : gpu_of(handle)->memory_used;
    memory->free = memory->total - memory->used;
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count,
                                            struct nvml_process *processes)
{
    ANSWER(handle);
    if (gpu_of(handle)->process_pid == 0 || *count == 0) {
        *count = 0;
        return 0;
    }
    *count = 1;
    processes[0] = (struct nvml_process){.pid = gpu_of(handle)->process_pid,
                                         .memory = gpu_of(handle)->process_memory};
    return 0;
}

int nvmlDeviceGetUtilizationRates(void *handle, struct nvml_utilization *utilization)
{
    ANSWER(handle);
    if (instance_of(handle) != NULL)
        return NVML_NOT_SUPPORTED;
    utilization->gpu = gpu_of(handle)->utilization;
    utilization->memory = gpu_of(handle)->utilization / 2;
    return 0;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *value)
{
    (void)sensor;
    ANSWER(handle);
    *value = gpu_of(handle)->temperature;
    return 0;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *value)
{
    ANSWER(handle);
    *value = gpu_of(handle)->power_mw;
    return 0;
}

int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *value)
{
    (void)counter;
    ANSWER(handle);
    *value = type == NVML_ECC_UNCORRECTED ? gpu_of(handle)->ecc_uncorrected : 0;
    return 0;
}

int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed)
{
    ANSWER(handle);
    *corrected = 0;
    *uncorrected = gpu_of(handle)->rows_pending + gpu_of(handle)->rows_failed;
    *pending = gpu_of(handle)->rows_pending;
    *failed = gpu_of(handle)->rows_failed;
    return 0;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending)
{
    ANSWER(handle);
    *now = *pending = gpu_of(handle)->is_mig;
    return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count)
{
    ANSWER(handle);
    *count = FAKE_INSTANCES_MAX;
    return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance)
{
    ANSWER(handle);
    if (gpu_of(handle)->instances[index].memory_mb == 0)
        return NVML_NOT_FOUND;
    *instance = &gpu_of(handle)->instances[index];
    return 0;
}

int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *id)
{
    *id = instance_of(handle)->gpu_instance;
    return 0;
}

int nvmlDeviceGetComputeInstanceId(void *handle, unsigned *id)
{
    *id = instance_of(handle)->compute_instance;
    return 0;
}

int nvmlDeviceGetAttributes_v2(void *handle, struct nvml_attributes *attributes)
{
    const struct fake_instance *instance = instance_of(handle);

    *attributes = (struct nvml_attributes){.gpu_slices = instance->gpu_slices,
                                           .compute_slices = instance->compute_slices,
                                           .memory_mb = instance->memory_mb};
    return 0;
}

int nvmlDeviceGetTopologyCommonAncestor(void *a, void *b, int *ancestor)
{
    ANSWER(a);
    ANSWER(b);
    *ancestor = STATE.ancestors[gpu_of(a) - STATE.gpus][gpu_of(b) - STATE.gpus];
    return *ancestor != 0 ? 0 : NVML_NOT_SUPPORTED;
}

int nvmlDeviceGetNvLinkState(void *handle, unsigned link, int *state)
{
    ANSWER(handle);
    if (gpu_of(handle)->links == 0)
        return NVML_NOT_SUPPORTED;
    *state = link < gpu_of(handle)->links;
    return 0;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(void *handle, unsigned link, int *type)
{
    (void)link;
    *type = gpu_of(handle)->link_type;
    return 0;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *handle, unsigned link, struct nvml_pci *pci)
{
    (void)link;
    *pci = (struct nvml_pci){.bus = STATE.gpus[gpu_of(handle)->link_to].bus};
    return 0;
}

int nvmlDeviceGetGpuFabricInfoV(void *handle, struct nvml_fabric *fabric)
{
    ANSWER(handle);
    if (fabric->version != NVML_FABRIC_VERSION)
        return 25; /* argument version mismatch */
    memcpy(fabric->cluster, gpu_of(handle)->cluster, sizeof fabric->cluster);
    fabric->clique = gpu_of(handle)->clique;
    fabric->state = gpu_of(handle)->fabric_state;
    return 0;
}

int nvmlDeviceGetNumaNodeId(void *handle, int *node)
{
    ANSWER(handle);
    *node = gpu_of(handle)->numa;
    return 0;
}

int nvmlEventSetCreate(void **set)
{
    *set = &STATE;
    return 0;
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long mask, void *set)
{
    (void)mask;
    (void)set;
    ANSWER(handle);
    return 0;
}

int nvmlEventSetWait_v2(void *set, struct nvml_event *event, unsigned timeout_ms)
{
    (void)set;
    for (unsigned waited = 0; waited < timeout_ms; waited += 2) {
        uint64_t xid = atomic_exchange(&STATE.xid, 0);

        if (xid != 0) {
            *event = (struct nvml_event){.device = &STATE.gpus[STATE.xid_gpu],
                                         .type = NVML_EVENT_XID,
                                         .data = xid,
                                         .gpu_instance = STATE.xid_gpu_instance,
                                         .compute_instance = NVML_NO_INSTANCE};
            return 0;
        }
        wait_ms(2);
    }
    return NVML_TIMEOUT;
}

int nvmlEventSetFree(void *set)
{
    (void)set;
    return 0;
}

#endif
