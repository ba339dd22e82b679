#include "amd_source.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define ROOT_BYTES  512u
#define CARDS_MAX   64u
#define VALUE_BYTES 128u
#define VENDOR_AMD  0x1002u

struct amd_source {
    char root[ROOT_BYTES];
};

/* The first line of ROOT/NAME, without its end; false: there is none. */
static bool line_read(const char *root, const char *name, char *text)
{
    char path[PATH_MAX];
    FILE *file;
    bool is_read;

    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path)
        return false;
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    is_read = fgets(text, VALUE_BYTES, file) != NULL;
    (void)fclose(file);
    if (is_read)
        text[strcspn(text, "\n")] = '\0';
    return is_read && text[0] != '\0';
}

static uint64_t number_read(const char *root, const char *name)
{
    char text[VALUE_BYTES], *end;
    uint64_t value;

    if (!line_read(root, name, text))
        return DEVICE_UNKNOWN;
    value = strtoull(text, &end, 0);
    return end != text && text[0] != '-' ? value : DEVICE_UNKNOWN;
}

/* The value of a line that begins with `key`. */
static bool key_read(const char *root, const char *name, const char *key, char *text)
{
    char path[PATH_MAX], line[VALUE_BYTES];
    bool is_found = false;
    FILE *file;

    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path)
        return false;
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!is_found && fgets(line, sizeof line, file) != NULL)
        is_found = strncmp(line, key, strlen(key)) == 0;
    (void)fclose(file);
    if (is_found) {
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(text, VALUE_BYTES, "%s", line + strlen(key));
    }
    return is_found;
}

/* The sensors' folder has a number that nobody can know before. */
static bool sensors_find(const char *card, char *out)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    bool is_found = false;
    DIR *folder;

    if (snprintf(path, sizeof path, "%s/hwmon", card) >= (int)sizeof path)
        return false;
    folder = opendir(path);
    if (folder == NULL)
        return false;
    while (!is_found && (entry = readdir(folder)) != NULL)
        is_found = strncmp(entry->d_name, "hwmon", 5) == 0 &&
                   snprintf(out, PATH_MAX, "%s/%s", path, entry->d_name) < PATH_MAX;
    (void)closedir(folder);
    return is_found;
}

static uint64_t scaled(uint64_t value, uint64_t by)
{
    return value == DEVICE_UNKNOWN ? value : value / by;
}

static void sensors_read(const char *card, struct device *device)
{
    uint64_t *readings = device->readings;
    char sensors[PATH_MAX];
    uint64_t power;

    readings[DEVICE_GPU_UTILIZATION] = number_read(card, "gpu_busy_percent");
    readings[DEVICE_MEMORY_UTILIZATION] = number_read(card, "mem_busy_percent");
    if (!sensors_find(card, sensors))
        return;
    readings[DEVICE_TEMPERATURE] = scaled(number_read(sensors, "temp1_input"), 1000);
    readings[DEVICE_MEMORY_TEMPERATURE] = scaled(number_read(sensors, "temp3_input"), 1000);
    power = number_read(sensors, "power1_average"); /* microwatts */
    if (power == DEVICE_UNKNOWN)
        power = number_read(sensors, "power1_input");
    readings[DEVICE_POWER_MW] = scaled(power, 1000);
    readings[DEVICE_SM_CLOCK_MHZ] = scaled(number_read(sensors, "freq1_input"), 1000000);
    readings[DEVICE_MEMORY_CLOCK_MHZ] = scaled(number_read(sensors, "freq2_input"), 1000000);
}

static void faults_read(const char *card, struct device *device)
{
    char text[VALUE_BYTES];

    if (key_read(card, "ras/umc_err_count", "ce: ", text))
        device->readings[DEVICE_ECC_CORRECTED] = strtoull(text, NULL, 10);
    if (!key_read(card, "ras/umc_err_count", "ue: ", text))
        return;
    device->readings[DEVICE_ECC_UNCORRECTED] = strtoull(text, NULL, 10);
    if (device->readings[DEVICE_ECC_UNCORRECTED] > 0)
        device_blame(device, SLICE_DEGRADED, "%s uncorrected errors of memory", text);
}

static void card_read(const char *card, uint32_t index, struct device *device)
{
    char text[VALUE_BYTES], *end;
    long numa;

    device->index = index;
    if (key_read(card, "uevent", "PCI_SLOT_NAME=", text))
        (void)snprintf(device->pci, sizeof device->pci, "%.40s", text);
    if (line_read(card, "unique_id", text))
        (void)snprintf(device->id, sizeof device->id, "AMD-%.80s", text);
    else
        (void)snprintf(device->id, sizeof device->id, "AMD-%s",
                       device->pci[0] != '\0' ? device->pci : "?");
    if (line_read(card, "product_name", text))
        (void)snprintf(device->product, sizeof device->product, "%.90s", text);
    if (line_read(card, "current_compute_partition", text))
        (void)snprintf(device->profile, sizeof device->profile, "%.40s", text);
    if (line_read(card, "numa_node", text)) {
        numa = strtol(text, &end, 10);
        if (end != text && numa >= 0 && numa <= INT16_MAX)
            device->numa = (int16_t)numa;
    }
    device->memory_bytes = number_read(card, "mem_info_vram_total");
    device->memory_used_bytes = number_read(card, "mem_info_vram_used");
    /* A card that the driver has given up on has its folder, and no memory. */
    if (device->memory_bytes == DEVICE_UNKNOWN)
        device_blame(device, SLICE_BAD, "the driver tells nothing of its memory");
    sensors_read(card, device);
    faults_read(card, device);
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* "card0", not "card0-DP-1"; in the order of their numbers, which a folder does not keep. */
static uint32_t cards_list(const char *drm, uint32_t *numbers)
{
    const struct dirent *entry;
    uint32_t count = 0;
    DIR *folder = opendir(drm);

    if (folder == NULL)
        return 0;
    while (count < CARDS_MAX && (entry = readdir(folder)) != NULL) {
        char *end;
        unsigned long number;

        if (strncmp(entry->d_name, "card", 4) != 0)
            continue;
        number = strtoul(entry->d_name + 4, &end, 10);
        if (end != entry->d_name + 4 && *end == '\0' && number <= UINT32_MAX)
            numbers[count++] = (uint32_t)number;
    }
    (void)closedir(folder);
    qsort(numbers, count, sizeof numbers[0], by_number);
    return count;
}

static status source_scan(void *context, struct device_list *list, struct error_note *note)
{
    const struct amd_source *source = context;
    char drm[PATH_MAX], card[PATH_MAX];
    uint32_t numbers[CARDS_MAX], count;

    (void)snprintf(drm, sizeof drm, "%s/class/drm", source->root);
    count = cards_list(drm, numbers);
    for (uint32_t i = 0; i < count; i++) {
        struct device *device;

        if (snprintf(card, sizeof card, "%s/card%u/device", drm, numbers[i]) >= (int)sizeof card ||
            number_read(card, "vendor") != VENDOR_AMD)
            continue;
        device = device_list_add(list, SLICE_AMD, SLICE_GPU);
        if (device != NULL)
            card_read(card, numbers[i], device);
    }
    if (list->count > 0)
        return STATUS_OK;
    error_note_set(note, "no card of AMD's in %s", drm);
    return STATUS_NOT_FOUND;
}

status amd_source_create(const char *sysfs, struct device_source *out)
{
    const char *root = sysfs != NULL ? sysfs : "/sys";
    struct amd_source *source;

    if (strlen(root) >= ROOT_BYTES)
        return STATUS_TOO_LARGE;
    source = memory_allocate_array(1, sizeof *source);
    if (source == NULL)
        return STATUS_NO_MEMORY;
    (void)snprintf(source->root, sizeof source->root, "%s", root);
    *out = (struct device_source){"amdgpu", source_scan, memory_release, NULL, source};
    return STATUS_OK;
}
