#ifndef PENSTOCK_SCHEDULER_NVML_LIBRARY_H
#define PENSTOCK_SCHEDULER_NVML_LIBRARY_H

#include "nvml_abi.h"
#include "status.h"

/* The driver's library, opened when there is one. Each function may be missing (drivers differ by years): NULL then, and what it would
 * have told is not known. Functions block while the driver does, which can be for ever: the watcher's thread alone calls them. */

/* X(member, symbol, arguments) */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, nvmlInit_v2, (void))                                                                   \
    X(shutdown, nvmlShutdown, (void))                                                              \
    X(driver_version, nvmlSystemGetDriverVersion, (char *, unsigned))                              \
    X(count, nvmlDeviceGetCount_v2, (unsigned *))                                                  \
    X(by_index, nvmlDeviceGetHandleByIndex_v2, (unsigned, void **))                                \
    X(name, nvmlDeviceGetName, (void *, char *, unsigned))                                         \
    X(uuid, nvmlDeviceGetUUID, (void *, char *, unsigned))                                         \
    X(pci, nvmlDeviceGetPciInfo_v3, (void *, struct nvml_pci *))                                   \
    X(capability, nvmlDeviceGetCudaComputeCapability, (void *, int *, int *))                      \
    X(memory, nvmlDeviceGetMemoryInfo, (void *, struct nvml_memory *))                             \
    X(processes, nvmlDeviceGetComputeRunningProcesses_v3,                                          \
      (void *, unsigned *, struct nvml_process *))                                                 \
    X(utilization, nvmlDeviceGetUtilizationRates, (void *, struct nvml_utilization *))             \
    X(temperature, nvmlDeviceGetTemperature, (void *, int, unsigned *))                            \
    X(power, nvmlDeviceGetPowerUsage, (void *, unsigned *))                                        \
    X(energy, nvmlDeviceGetTotalEnergyConsumption, (void *, unsigned long long *))                 \
    X(clock, nvmlDeviceGetClockInfo, (void *, int, unsigned *))                                    \
    X(ecc, nvmlDeviceGetTotalEccErrors, (void *, int, int, unsigned long long *))                  \
    X(remapped, nvmlDeviceGetRemappedRows,                                                         \
      (void *, unsigned *, unsigned *, unsigned *, unsigned *))                                    \
    X(replays, nvmlDeviceGetPcieReplayCounter, (void *, unsigned *))                               \
    X(mig_mode, nvmlDeviceGetMigMode, (void *, unsigned *, unsigned *))                            \
    X(mig_count, nvmlDeviceGetMaxMigDeviceCount, (void *, unsigned *))                             \
    X(mig_by_index, nvmlDeviceGetMigDeviceHandleByIndex, (void *, unsigned, void **))              \
    X(gpu_instance, nvmlDeviceGetGpuInstanceId, (void *, unsigned *))                              \
    X(compute_instance, nvmlDeviceGetComputeInstanceId, (void *, unsigned *))                      \
    X(attributes, nvmlDeviceGetAttributes_v2, (void *, struct nvml_attributes *))                  \
    X(ancestor, nvmlDeviceGetTopologyCommonAncestor, (void *, void *, int *))                      \
    X(link_state, nvmlDeviceGetNvLinkState, (void *, unsigned, int *))                             \
    X(link_remote, nvmlDeviceGetNvLinkRemotePciInfo_v2, (void *, unsigned, struct nvml_pci *))     \
    X(link_remote_type, nvmlDeviceGetNvLinkRemoteDeviceType, (void *, unsigned, int *))            \
    X(fields, nvmlDeviceGetFieldValues, (void *, int, struct nvml_field *))                        \
    X(fabric, nvmlDeviceGetGpuFabricInfoV, (void *, struct nvml_fabric *))                         \
    X(numa, nvmlDeviceGetNumaNodeId, (void *, int *))                                              \
    X(set_create, nvmlEventSetCreate, (void **))                                                   \
    X(set_register, nvmlDeviceRegisterEvents, (void *, unsigned long long, void *))                \
    X(set_wait, nvmlEventSetWait_v2, (void *, struct nvml_event *, unsigned))                      \
    X(set_free, nvmlEventSetFree, (void *))

struct nvml_library {
    void *handle;
#define NVML_MEMBER(member, symbol, arguments) int(*member) arguments;
    NVML_FUNCTIONS(NVML_MEMBER)
#undef NVML_MEMBER
};

/* Opens `path` ("libnvidia-ml.so.1") and starts it. STATUS_OK; STATUS_NOT_FOUND: no such library, or no driver behind it;
 * STATUS_UNSUPPORTED: not even devices can be listed by it; with a note. */
NODISCARD status nvml_library_open(struct nvml_library *library, const char *path,
                                   struct error_note *note);
void nvml_library_close(struct nvml_library *library);

/* In NVML's words; never NULL. */
const char *nvml_result_text(int result);

#endif
