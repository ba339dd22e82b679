/* CUDA_VISIBLE_DEVICES takes UUIDs, of GPUs and of MIG instances (NVIDIA, CUDA C++ Programming Guide, "Environment Variables";
 * MIG User Guide, "Device Enumeration"); ROCR_VISIBLE_DEVICES "GPU-" and the number that the kernel shows as unique_id (AMD, ROCm
 * documentation, "GPU isolation techniques"). The names of files under /dev are the kernel drivers'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "local_internal.h"

#define AMD_PREFIX   "AMD-" /* before the vendor's number (amd_source.c) */
#define PCI_MARK     ':'    /* a PCI address in its place */
#define NVIDIA_FACTS "/proc/driver/nvidia/gpus"

void local_device_show(const struct device *device, struct local_environment *environment)
{
    const char *number = device->id + strlen(AMD_PREFIX);

    if (device->vendor == SLICE_NVIDIA)
        local_environment_set(environment, "CUDA_VISIBLE_DEVICES", "%s", device->id);
    /* One without a number of its own is told by its files alone. */
    if (device->vendor == SLICE_AMD && strncmp(device->id, AMD_PREFIX, strlen(AMD_PREFIX)) == 0 &&
        strchr(number, PCI_MARK) == NULL)
        local_environment_set(environment, "ROCR_VISIBLE_DEVICES", "GPU-%s", number);
}

int32_t local_nvidia_minor(const char *information)
{
    static const char key[] = "Device Minor:";
    const char *place = strstr(information, key);
    char *end;
    long minor;

    if (place == NULL)
        return -1;
    place += strlen(key);
    minor = strtol(place, &end, 10);
    return end != place && minor >= 0 && minor <= 4095 ? (int32_t)minor : -1;
}

/* By its place; what does not tell has the number of its order, as the driver gives them by default. */
static uint32_t nvidia_minor_read(const struct device *device)
{
    char path[sizeof NVIDIA_FACTS + DEVICE_NAME_BYTES + 16], text[2048];
    FILE *file;
    size_t bytes;
    int32_t minor;

    (void)snprintf(path, sizeof path, "%s/%s/information", NVIDIA_FACTS, device->pci);
    file = fopen(path, "re");
    if (file == NULL)
        return device->index;
    bytes = fread(text, 1, sizeof text - 1, file);
    text[bytes] = '\0';
    (void)fclose(file);
    minor = local_nvidia_minor(text);
    return minor >= 0 ? (uint32_t)minor : device->index;
}

static void path_add(struct sandbox_path *paths, uint32_t *count, const char *path,
                     enum sandbox_access access)
{
    if (*count < SANDBOX_PATHS_MAX && path != NULL)
        paths[(*count)++] = (struct sandbox_path){path, access, true};
}

static const char *nvidia_file(const struct device *device, arena *memory)
{
    char path[32];
    int bytes = snprintf(path, sizeof path, "/dev/nvidia%u", nvidia_minor_read(device));

    return arena_copy_text(memory, path, (size_t)bytes);
}

static const char *amd_file(const struct device *device, arena *memory)
{
    char path[DEVICE_NAME_BYTES + 32];
    int bytes = snprintf(path, sizeof path, "/dev/dri/by-path/pci-%s-render", device->pci);

    return arena_copy_text(memory, path, (size_t)bytes);
}

void local_device_paths(const struct device *device, arena *memory, struct sandbox_path *paths,
                        uint32_t *count)
{
    static const char *const nvidia[] = {"/dev/nvidiactl", "/dev/nvidia-uvm",
                                         "/dev/nvidia-uvm-tools", "/dev/nvidia-caps",
                                         "/dev/nvidia-caps-imex-channels"};
    static const char *const read[] = {"/proc/driver/nvidia", "/proc/devices",  "/sys/bus/pci",
                                       "/sys/devices",        "/sys/class/kfd", "/sys/class/drm",
                                       "/usr/local/cuda",     "/opt/rocm"};

    for (size_t i = 0; i < ARRAY_COUNT(read); i++)
        path_add(paths, count, read[i], SANDBOX_READ);
    if (device->vendor == SLICE_NVIDIA) {
        for (size_t i = 0; i < ARRAY_COUNT(nvidia); i++)
            path_add(paths, count, nvidia[i], SANDBOX_DEVICE);
        path_add(paths, count, nvidia_file(device, memory), SANDBOX_DEVICE);
    } else if (device->vendor == SLICE_AMD) {
        path_add(paths, count, "/dev/kfd", SANDBOX_DEVICE);
        path_add(paths, count, amd_file(device, memory), SANDBOX_DEVICE);
    }
}
