#include "device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* From the best to the worst: what cannot be told is worse than what works badly, and better than what is known to be broken. */
static int badness(enum slice_health health)
{
    static const int of[SLICE_HEALTH_COUNT] = {
        [SLICE_OK] = 0,      [SLICE_DEGRADED] = 1, [SLICE_DRAINING] = 2,
        [SLICE_UNKNOWN] = 3, [SLICE_BAD] = 4,
    };

    return of[health];
}

void device_clear(struct device *device, enum slice_vendor vendor, enum slice_kind kind)
{
    *device = (struct device){.vendor = vendor,
                              .kind = kind,
                              .health = SLICE_OK,
                              .numa = -1,
                              .gpu_instance = UINT32_MAX,
                              .compute_instance = UINT32_MAX,
                              .compute_milli = 1000,
                              .memory_bytes = DEVICE_UNKNOWN,
                              .memory_used_bytes = DEVICE_UNKNOWN};
    for (uint32_t i = 0; i < DEVICE_READING_COUNT; i++)
        device->readings[i] = DEVICE_UNKNOWN;
}

struct device *device_list_add(struct device_list *list, enum slice_vendor vendor,
                               enum slice_kind kind)
{
    struct device *device;

    if (list->count == DEVICES_MAX) {
        list->missed++;
        return NULL;
    }
    device = &list->items[list->count++];
    device_clear(device, vendor, kind);
    return device;
}

void device_blame(struct device *device, enum slice_health health, const char *format, ...)
{
    va_list arguments;

    if (badness(health) <= badness(device->health))
        return;
    device->health = health;
    va_start(arguments, format);
    (void)vsnprintf(device->reason, sizeof device->reason, format, arguments);
    va_end(arguments);
}

static bool is_own(uint32_t pid, const uint32_t *own, uint32_t own_count)
{
    for (uint32_t i = 0; i < own_count; i++)
        if (own[i] == pid)
            return true;
    return false;
}

static uint64_t foreign_bytes(const struct device *device, const uint32_t *own, uint32_t own_count)
{
    uint64_t used = device->memory_used_bytes;

    if (used == DEVICE_UNKNOWN || device->memory_bytes == DEVICE_UNKNOWN)
        return 0;
    for (uint32_t i = 0; i < device->process_count; i++) {
        const struct device_process *process = &device->processes[i];

        if (!is_own(process->pid, own, own_count))
            continue;
        if (process->memory_bytes == DEVICE_UNKNOWN || process->memory_bytes >= used)
            return 0;
        used -= process->memory_bytes;
    }
    return used < device->memory_bytes ? used : device->memory_bytes;
}

void device_report(const struct device *device, const char *node, const uint32_t *own,
                   uint32_t own_count, char *id, struct slice_report *report)
{
    (void)snprintf(id, DEVICE_SLICE_ID_BYTES, "%s/%s", node, device->id);
    *report = (struct slice_report){
        .id = id,
        .node = node,
        .nvlink_domain = device->nvlink_domain,
        .switch_name = device->pcie_switch,
        .pcie_root = device->pcie_root,
        .product = device->product,
        .profile = device->profile,
        .reason = device->reason,
        .kind = device->kind,
        .vendor = device->vendor,
        .health = device->health,
        .compute_capability = device->compute_capability,
        .numa = device->numa,
        .memory_bytes = device->memory_bytes != DEVICE_UNKNOWN ? device->memory_bytes : 0,
        .memory_foreign_bytes = foreign_bytes(device, own, own_count),
        .compute_milli = device->compute_milli,
        .tenants_max = 1,
    };
}
