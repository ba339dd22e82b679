#include "device_metrics.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "memory.h"

#define LABEL_COUNT 7u
#define HOST_BYTES  256u
#define MIB         (1ull << 20)

static const char *const label_names[LABEL_COUNT + 1] = {
    "gpu", "UUID", "device", "modelName", "Hostname", "GPU_I_ID", "GPU_I_PROFILE", NULL};

/* What is no reading of a device's, but said of it elsewhere. */
enum { ROW_MEMORY_USED = DEVICE_READING_COUNT, ROW_MEMORY_FREE, ROW_XID, ROW_COUNT };

static const struct {
    const char *name, *help;
    double scale; /* of the reading's unit */
} rows[ROW_COUNT] = {
    [DEVICE_GPU_UTILIZATION] = {"DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", 1},
    [DEVICE_MEMORY_UTILIZATION] = {"DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization (in %).", 1},
    [DEVICE_TEMPERATURE] = {"DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", 1},
    [DEVICE_MEMORY_TEMPERATURE] = {"DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature (in C).", 1},
    [DEVICE_POWER_MW] = {"DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", 1e-3},
    [DEVICE_ENERGY_MJ] = {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
                          "Energy since the driver was loaded (in mJ).", 1},
    [DEVICE_SM_CLOCK_MHZ] = {"DCGM_FI_DEV_SM_CLOCK", "SM clock (in MHz).", 1},
    [DEVICE_MEMORY_CLOCK_MHZ] = {"DCGM_FI_DEV_MEM_CLOCK", "Memory clock (in MHz).", 1},
    [DEVICE_PCIE_REPLAYS] = {"DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "PCIe retries.", 1},
    [DEVICE_NVLINK_KIB] = {"DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
                           "Data over all NVLinks, both ways (in KiB).", 1},
    [DEVICE_ECC_CORRECTED] = {"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
                              "Corrected errors of memory since the driver was loaded.", 1},
    [DEVICE_ECC_UNCORRECTED] = {"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
                                "Uncorrected errors of memory since the driver was loaded.", 1},
    [DEVICE_ROWS_CORRECTABLE] = {"DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
                                 "Rows remapped for correctable errors.", 1},
    [DEVICE_ROWS_UNCORRECTABLE] = {"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
                                   "Rows remapped for uncorrectable errors.", 1},
    [DEVICE_ROWS_PENDING] = {"DCGM_FI_DEV_ROW_REMAP_PENDING", "Rows wait for a reset.", 1},
    [DEVICE_ROWS_FAILED] = {"DCGM_FI_DEV_ROW_REMAP_FAILURE", "Remapping of rows has failed.", 1},
    [ROW_MEMORY_USED] = {"DCGM_FI_DEV_FB_USED", "Memory used (in MiB).", 1.0 / MIB},
    [ROW_MEMORY_FREE] = {"DCGM_FI_DEV_FB_FREE", "Memory free (in MiB).", 1.0 / MIB},
    [ROW_XID] = {"DCGM_FI_DEV_XID_ERRORS", "The last Xid; 0: none.", 1},
};

/* A device that has series, and by which names. */
struct shown {
    char index[16], id[DEVICE_TEXT_BYTES], place[32], product[DEVICE_TEXT_BYTES];
    char instance[16], profile[DEVICE_NAME_BYTES];
    uint32_t rows; /* mask */
    /* Energy, since the device was first seen; and what it was last reckoned from */
    bool has_energy;
    double joules;
    uint64_t power_mw, energy_mj, at_ns;
};

struct device_metrics {
    metrics_family *families[ROW_COUNT], *energy; /* the registry's */
    char host[HOST_BYTES];
    struct shown shown[DEVICES_MAX];
    uint32_t shown_count;
};

_Static_assert(ROW_COUNT <= 32, "a row is a bit of shown.rows");

static status energy_family_create(metrics_registry *registry, metrics_family **out)
{
    const struct metrics_family_options options = {
        .kind = METRICS_COUNTER,
        .name = "penstock_device_energy_joules_total",
        .help = "Energy that a device has used since it was first seen: by its own counter, or its "
                "power over time.",
        .labels = label_names,
        .series_max = 2 * DEVICES_MAX};

    return metrics_family_create(registry, &options, out);
}

status device_metrics_create(metrics_registry *registry, const char *host,
                             struct device_metrics **out)
{
    struct device_metrics *metrics = memory_allocate_array(1, sizeof *metrics);
    status result = STATUS_OK;

    if (metrics == NULL)
        return STATUS_NO_MEMORY;
    (void)snprintf(metrics->host, sizeof metrics->host, "%s", host);
    for (uint32_t i = 0; result == STATUS_OK && i < ROW_COUNT; i++) {
        const struct metrics_family_options options = {.kind = METRICS_GAUGE,
                                                       .name = rows[i].name,
                                                       .help = rows[i].help,
                                                       .labels = label_names,
                                                       .series_max = 2 * DEVICES_MAX};

        result = metrics_family_create(registry, &options, &metrics->families[i]);
    }
    if (result == STATUS_OK)
        result = energy_family_create(registry, &metrics->energy);
    if (result != STATUS_OK) {
        memory_release(metrics);
        return result;
    }
    *out = metrics;
    return STATUS_OK;
}

void device_metrics_destroy(struct device_metrics *metrics)
{
    memory_release(metrics);
}

static void shown_fill(struct shown *shown, const struct device *device)
{
    const char *gpu = device->kind == SLICE_MIG ? device->parent : device->id;

    memset(shown, 0, sizeof *shown);
    (void)snprintf(shown->index, sizeof shown->index, "%u", device->index);
    (void)snprintf(shown->id, sizeof shown->id, "%s", gpu);
    (void)snprintf(shown->place, sizeof shown->place, "%s%u",
                   device->vendor == SLICE_NVIDIA ? "nvidia" : "card", device->index);
    (void)snprintf(shown->product, sizeof shown->product, "%s", device->product);
    if (device->gpu_instance != UINT32_MAX)
        (void)snprintf(shown->instance, sizeof shown->instance, "%u", device->gpu_instance);
    (void)snprintf(shown->profile, sizeof shown->profile, "%s", device->profile);
}

static bool has_same_labels(const struct shown *a, const struct shown *b)
{
    return strcmp(a->index, b->index) == 0 && strcmp(a->id, b->id) == 0 &&
           strcmp(a->place, b->place) == 0 && strcmp(a->product, b->product) == 0 &&
           strcmp(a->instance, b->instance) == 0 && strcmp(a->profile, b->profile) == 0;
}

static uint64_t row_value(const struct device *device, uint32_t row)
{
    bool has_memory = device->memory_bytes != DEVICE_UNKNOWN &&
                      device->memory_used_bytes != DEVICE_UNKNOWN &&
                      device->memory_used_bytes <= device->memory_bytes;

    if (row < DEVICE_READING_COUNT)
        return device->readings[row];
    if (row == ROW_XID)
        return device->vendor == SLICE_NVIDIA ? device->xid : DEVICE_UNKNOWN;
    if (!has_memory)
        return DEVICE_UNKNOWN;
    return row == ROW_MEMORY_USED ? device->memory_used_bytes
                                  : device->memory_bytes - device->memory_used_bytes;
}

static void labels_of(const struct device_metrics *metrics, const struct shown *shown,
                      const char *labels[LABEL_COUNT])
{
    labels[0] = shown->index;
    labels[1] = shown->id;
    labels[2] = shown->place;
    labels[3] = shown->product;
    labels[4] = metrics->host;
    labels[5] = shown->instance;
    labels[6] = shown->profile;
}

static void device_show(struct device_metrics *metrics, const struct device *device,
                        struct shown *shown)
{
    const char *labels[LABEL_COUNT];

    labels_of(metrics, shown, labels);
    for (uint32_t row = 0; row < ROW_COUNT; row++) {
        uint64_t value = row_value(device, row);

        if (value == DEVICE_UNKNOWN)
            continue;
        metrics_set(metrics_series_get(metrics->families[row], labels),
                    (double)value * rows[row].scale);
        shown->rows |= 1u << row;
    }
}

/* A device's counter begins anew when its driver is loaded again; then, and without one, it is the power that it drew all the time
 * since the last look. */
static void energy_note(struct shown *shown, const struct shown *before,
                        const struct device *device, uint64_t now_ns)
{
    uint64_t energy_mj = device->readings[DEVICE_ENERGY_MJ];

    shown->power_mw = device->readings[DEVICE_POWER_MW];
    shown->energy_mj = energy_mj;
    shown->at_ns = now_ns;
    shown->has_energy = energy_mj != DEVICE_UNKNOWN || shown->power_mw != DEVICE_UNKNOWN;
    if (before == NULL)
        return;
    shown->joules = before->joules;
    shown->has_energy |= before->has_energy;
    if (energy_mj != DEVICE_UNKNOWN && before->energy_mj != DEVICE_UNKNOWN &&
        energy_mj >= before->energy_mj)
        shown->joules += (double)(energy_mj - before->energy_mj) / 1e3;
    else if (before->power_mw != DEVICE_UNKNOWN && now_ns > before->at_ns)
        shown->joules +=
            (double)before->power_mw / 1e3 * (double)(now_ns - before->at_ns) / NS_PER_SECOND;
}

static const struct shown *same_find(const struct shown *shown, uint32_t count,
                                     const struct shown *wanted)
{
    for (uint32_t i = 0; i < count; i++)
        if (has_same_labels(&shown[i], wanted))
            return &shown[i];
    return NULL;
}

static void energy_show(struct device_metrics *metrics, const struct shown *shown)
{
    const char *labels[LABEL_COUNT];

    if (!shown->has_energy)
        return;
    labels_of(metrics, shown, labels);
    metrics_set(metrics_series_get(metrics->energy, labels), shown->joules);
}

/* What `before` has and the new list has not. */
static void series_remove(struct device_metrics *metrics, const struct shown *before,
                          uint32_t before_count)
{
    const char *labels[LABEL_COUNT];

    for (uint32_t i = 0; i < before_count; i++) {
        uint32_t gone = before[i].rows;

        for (uint32_t k = 0; k < metrics->shown_count; k++)
            if (has_same_labels(&before[i], &metrics->shown[k]))
                gone &= ~metrics->shown[k].rows;
        labels_of(metrics, &before[i], labels);
        if (before[i].has_energy &&
            same_find(metrics->shown, metrics->shown_count, &before[i]) == NULL)
            metrics_series_remove(metrics->energy, labels);
        for (uint32_t row = 0; row < ROW_COUNT; row++)
            if ((gone & (1u << row)) != 0)
                metrics_series_remove(metrics->families[row], labels);
    }
}

void device_metrics_set(struct device_metrics *metrics, const struct device_list *list,
                        uint64_t now_ns)
{
    struct shown before[DEVICES_MAX];
    uint32_t before_count = metrics->shown_count;

    CHECK(list->count <= DEVICES_MAX);
    memcpy(before, metrics->shown, sizeof before);
    metrics->shown_count = list->count;
    for (uint32_t i = 0; i < list->count; i++) {
        shown_fill(&metrics->shown[i], &list->items[i]);
        device_show(metrics, &list->items[i], &metrics->shown[i]);
        energy_note(&metrics->shown[i], same_find(before, before_count, &metrics->shown[i]),
                    &list->items[i], now_ns);
        energy_show(metrics, &metrics->shown[i]);
    }
    series_remove(metrics, before, before_count);
}
