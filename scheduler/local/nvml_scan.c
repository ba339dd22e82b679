/* One reading. Every answer is optional, since drivers differ by years and instances do not have what GPUs have; one only matters for
 * health: NVML_GPU_IS_LOST and NVML_RESET_REQUIRED, from whichever function. After it a GPU is asked nothing more: each further question
 * may take the driver seconds.
 *
 * Text comes from the library; it is cut at the size of its field, and control characters become spaces. */
#include "nvml_scan.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define MIB (1ull << 20)

static void text_clean(char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text))
            *text = ' ';
}

/* True: answered. Otherwise what the answer says about the device is noted. */
static bool is_answered(struct nvml_gpu *gpu, int result)
{
    if (result != NVML_GPU_IS_LOST && result != NVML_RESET_REQUIRED)
        return result == NVML_OK;
    device_blame(&gpu->facts, SLICE_BAD, "%s", nvml_result_text(result));
    gpu->handle = NULL;
    return false;
}

/* Asks when there is whom to ask, and whom by. */
#define ASK(gpu, function, ...)                                                                    \
    ((gpu)->handle != NULL && (function) != NULL &&                                                \
     is_answered(gpu, (function)((gpu)->handle, __VA_ARGS__)))

static int16_t numa_read(const char *sysfs, const struct nvml_pci *pci)
{
    char path[512], text[16] = "";
    FILE *file;
    long node;

    (void)snprintf(path, sizeof path, "%s/bus/pci/devices/%04x:%02x:%02x.0/numa_node", sysfs,
                   pci->domain, pci->bus, pci->device);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    (void)fclose(file);
    node = strtol(text, NULL, 10);
    return text[0] != '\0' && node >= 0 && node <= INT16_MAX ? (int16_t)node : -1;
}

static void identity_read(const struct nvml_library *library, const char *sysfs,
                          struct nvml_gpu *gpu)
{
    struct device *device = &gpu->facts;
    int major, minor, node;

    if (ASK(gpu, library->uuid, device->id, sizeof device->id))
        device->id[sizeof device->id - 1] = '\0';
    if (ASK(gpu, library->name, device->product, sizeof device->product))
        device->product[sizeof device->product - 1] = '\0';
    text_clean(device->id);
    text_clean(device->product);
    if (ASK(gpu, library->pci, &gpu->pci)) {
        (void)snprintf(device->pci, sizeof device->pci, "%04x:%02x:%02x.0", gpu->pci.domain,
                       gpu->pci.bus, gpu->pci.device);
        device->numa = numa_read(sysfs, &gpu->pci);
    }
    if (device->numa < 0 && ASK(gpu, library->numa, &node) && node >= 0 && node <= INT16_MAX)
        device->numa = (int16_t)node;
    if (ASK(gpu, library->capability, &major, &minor) && major >= 0 && major < 100 && minor >= 0 &&
        minor < 10)
        device->compute_capability = (uint16_t)(major * 10 + minor);
}

static void memory_read(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    struct nvml_memory memory;

    if (!ASK(gpu, library->memory, &memory))
        return;
    gpu->facts.memory_bytes = memory.total;
    gpu->facts.memory_used_bytes = memory.used;
}

/* More than fit are not told in part: then all but the replicas of whom nothing is known here counts as others'. */
static void processes_read(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    struct nvml_process found[DEVICE_PROCESSES_MAX];
    unsigned count = DEVICE_PROCESSES_MAX;

    if (!ASK(gpu, library->processes, &count, found) || count > DEVICE_PROCESSES_MAX)
        return;
    for (unsigned i = 0; i < count; i++)
        gpu->facts.processes[i] = (struct device_process){found[i].pid, found[i].memory};
    gpu->facts.process_count = count;
}

static void load_read(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    uint64_t *readings = gpu->facts.readings;
    struct nvml_utilization utilization;
    unsigned long long wide;
    unsigned value;

    if (ASK(gpu, library->utilization, &utilization)) {
        readings[DEVICE_GPU_UTILIZATION] = utilization.gpu;
        readings[DEVICE_MEMORY_UTILIZATION] = utilization.memory;
    }
    if (ASK(gpu, library->temperature, NVML_TEMPERATURE_GPU, &value))
        readings[DEVICE_TEMPERATURE] = value;
    if (ASK(gpu, library->power, &value))
        readings[DEVICE_POWER_MW] = value;
    if (ASK(gpu, library->energy, &wide))
        readings[DEVICE_ENERGY_MJ] = wide;
    if (ASK(gpu, library->clock, NVML_CLOCK_SM, &value))
        readings[DEVICE_SM_CLOCK_MHZ] = value;
    if (ASK(gpu, library->clock, NVML_CLOCK_MEMORY, &value))
        readings[DEVICE_MEMORY_CLOCK_MHZ] = value;
    if (ASK(gpu, library->replays, &value))
        readings[DEVICE_PCIE_REPLAYS] = value;
}

static uint64_t field_value(const struct nvml_field *field)
{
    if (field->result != NVML_OK)
        return DEVICE_UNKNOWN;
    if (field->value_type == 1)
        return field->value.u32;
    if (field->value_type == 2 || field->value_type == 3)
        return field->value.u64;
    return DEVICE_UNKNOWN;
}

static void fields_read(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    struct nvml_field fields[] = {
        {.field = NVML_FIELD_MEMORY_TEMPERATURE, .result = NVML_NOT_SUPPORTED},
        {.field = NVML_FIELD_NVLINK_TX, .scope = NVML_SCOPE_ALL, .result = NVML_NOT_SUPPORTED},
        {.field = NVML_FIELD_NVLINK_RX, .scope = NVML_SCOPE_ALL, .result = NVML_NOT_SUPPORTED}};
    uint64_t sent, received;

    if (!ASK(gpu, library->fields, 3, fields))
        return;
    gpu->facts.readings[DEVICE_MEMORY_TEMPERATURE] = field_value(&fields[0]);
    sent = field_value(&fields[1]);
    received = field_value(&fields[2]);
    if (sent != DEVICE_UNKNOWN && received != DEVICE_UNKNOWN)
        gpu->facts.readings[DEVICE_NVLINK_KIB] = sent + received;
}

/* Errors of memory: those that were mended are wear, those that were not are read by the programs that hit them; the device itself is
 * broken once it has no rows left to replace bad ones. */
static void faults_read(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    uint64_t *readings = gpu->facts.readings;
    unsigned corrected, uncorrected, pending, failed;
    unsigned long long count;

    if (ASK(gpu, library->ecc, NVML_ECC_CORRECTED, NVML_ECC_VOLATILE, &count))
        readings[DEVICE_ECC_CORRECTED] = count;
    if (ASK(gpu, library->ecc, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &count)) {
        readings[DEVICE_ECC_UNCORRECTED] = count;
        if (count > 0)
            device_blame(&gpu->facts, SLICE_DEGRADED, "%llu uncorrected errors of memory", count);
    }
    if (!ASK(gpu, library->remapped, &corrected, &uncorrected, &pending, &failed))
        return;
    readings[DEVICE_ROWS_CORRECTABLE] = corrected;
    readings[DEVICE_ROWS_UNCORRECTABLE] = uncorrected;
    readings[DEVICE_ROWS_PENDING] = pending;
    readings[DEVICE_ROWS_FAILED] = failed;
    if (failed != 0)
        device_blame(&gpu->facts, SLICE_BAD, "a row of memory could not be remapped");
    if (pending != 0)
        device_blame(&gpu->facts, SLICE_DEGRADED, "rows of memory wait for a reset to be remapped");
}

/* --- instances --- */

/* As NVIDIA names them: "1g.10gb", and "1c.3g.40gb" where the GPU instance is shared by several compute instances. */
static void profile_write(const struct nvml_attributes *attributes, char *text, size_t bytes)
{
    unsigned gigabytes = (unsigned)((attributes->memory_mb + 512) / 1024);

    if (attributes->compute_slices < attributes->gpu_slices)
        (void)snprintf(text, bytes, "%uc.%ug.%ugb", attributes->compute_slices,
                       attributes->gpu_slices, gigabytes);
    else
        (void)snprintf(text, bytes, "%ug.%ugb", attributes->gpu_slices, gigabytes);
}

static void instance_read(const struct nvml_library *library, const struct nvml_gpu *gpu,
                          void *handle, uint32_t of_count, struct device *out)
{
    struct nvml_gpu instance = {.handle = handle};
    struct device *device = &instance.facts;
    struct nvml_attributes attributes;
    unsigned value;

    device_clear(device, SLICE_NVIDIA, SLICE_MIG);
    device->index = gpu->facts.index;
    if (ASK(&instance, library->gpu_instance, &value))
        device->gpu_instance = value;
    if (ASK(&instance, library->compute_instance, &value))
        device->compute_instance = value;
    if (ASK(&instance, library->uuid, device->id, sizeof device->id))
        device->id[sizeof device->id - 1] = '\0';
    text_clean(device->id);
    if (device->id[0] == '\0') /* an older driver's way to name it */
        (void)snprintf(device->id, sizeof device->id, "MIG-%.48s/%u/%u", gpu->facts.id,
                       device->gpu_instance, device->compute_instance);
    memory_read(library, &instance);
    processes_read(library, &instance);
    device->compute_milli = 1000u / (of_count > 0 ? of_count : 1);
    if (ASK(&instance, library->attributes, &attributes)) {
        profile_write(&attributes, device->profile, sizeof device->profile);
        /* A GPU has seven slices of compute, of whatever generation. */
        if (attributes.compute_slices >= 1 && attributes.compute_slices <= 7)
            device->compute_milli = (attributes.compute_slices * 1000u + 3) / 7;
        if (device->memory_bytes == DEVICE_UNKNOWN)
            device->memory_bytes = attributes.memory_mb * MIB;
    }
    (void)snprintf(device->parent, sizeof device->parent, "%s", gpu->facts.id);
    (void)snprintf(device->product, sizeof device->product, "%s", gpu->facts.product);
    (void)snprintf(device->pci, sizeof device->pci, "%s", gpu->facts.pci);
    (void)snprintf(device->pcie_switch, sizeof device->pcie_switch, "%s", gpu->facts.pcie_switch);
    (void)snprintf(device->pcie_root, sizeof device->pcie_root, "%s", gpu->facts.pcie_root);
    device->compute_capability = gpu->facts.compute_capability;
    device->numa = gpu->facts.numa;
    /* Instances do not talk to each other over NVLink, and have the faults of their GPU. */
    if (gpu->facts.health != SLICE_OK)
        device_blame(device, gpu->facts.health, "%s", gpu->facts.reason);
    *out = *device;
}

/* False: the GPU is not cut. */
static bool instances_read(const struct nvml_library *library, struct nvml_gpu *gpu,
                           struct device_list *list)
{
    unsigned now = 0, pending, count = 0;

    if (!ASK(gpu, library->mig_mode, &now, &pending) || now == 0 || library->mig_by_index == NULL ||
        !ASK(gpu, library->mig_count, &count))
        return false;
    for (unsigned i = 0; i < count && i < DEVICES_MAX; i++) {
        struct device *device;
        void *handle = NULL;

        if (!ASK(gpu, library->mig_by_index, i, &handle) || handle == NULL)
            continue; /* an empty place */
        device = device_list_add(list, SLICE_NVIDIA, SLICE_MIG);
        if (device != NULL)
            instance_read(library, gpu, handle, count, device);
    }
    return true;
}

/* --- all --- */

static void gpu_read(const struct nvml_library *library, const char *sysfs, unsigned index,
                     struct nvml_gpu *gpu)
{
    int result;

    *gpu = (struct nvml_gpu){.handle = NULL};
    device_clear(&gpu->facts, SLICE_NVIDIA, SLICE_GPU);
    gpu->facts.index = index;
    result = library->by_index(index, &gpu->handle);
    if (result != NVML_OK) {
        gpu->handle = NULL;
        device_blame(&gpu->facts, SLICE_BAD, "%s", nvml_result_text(result));
        return;
    }
    identity_read(library, sysfs, gpu);
    memory_read(library, gpu);
    processes_read(library, gpu);
    load_read(library, gpu);
    fields_read(library, gpu);
    faults_read(library, gpu);
}

static void gpus_list(const struct nvml_library *library, struct nvml_gpu *gpus, uint32_t count,
                      struct device_list *list)
{
    for (uint32_t i = 0; i < count; i++) {
        struct device *device;

        if (instances_read(library, &gpus[i], list))
            continue;
        device = device_list_add(list, SLICE_NVIDIA, SLICE_GPU);
        if (device != NULL)
            *device = gpus[i].facts;
    }
}

status nvml_scan(const struct nvml_library *library, const char *sysfs, struct device_list *list,
                 struct error_note *note)
{
    struct nvml_gpu *gpus;
    unsigned count = 0;
    int result = library->count(&count);

    if (result != NVML_OK) {
        error_note_set(note, "the number of GPUs: %s", nvml_result_text(result));
        return STATUS_IO;
    }
    if (count > NVML_GPUS_MAX) {
        list->missed += count - NVML_GPUS_MAX;
        count = NVML_GPUS_MAX;
    }
    gpus = memory_allocate_array(NVML_GPUS_MAX, sizeof *gpus);
    if (gpus == NULL)
        return STATUS_NO_MEMORY;
    if (library->driver_version != NULL &&
        library->driver_version(list->driver, sizeof list->driver) == NVML_OK)
        list->driver[sizeof list->driver - 1] = '\0';
    for (unsigned i = 0; i < count; i++)
        gpu_read(library, sysfs, i, &gpus[i]);
    nvml_topology_fill(library, gpus, count);
    gpus_list(library, gpus, count, list);
    memory_release(gpus);
    return STATUS_OK;
}
