#include "device_choice.h"

#include <string.h>

#include "log.h"
#include "rank_backend.h"

#define AREA "engine/device"

enum device_place device_place_of(const char *vendor)
{
    if (vendor == NULL || vendor[0] == '\0')
        return DEVICE_PLACE_ANY;
    if (strcmp(vendor, "nvidia") == 0 || strcmp(vendor, "other") == 0)
        return DEVICE_PLACE_GPU;
    return strcmp(vendor, "cpu") == 0 ? DEVICE_PLACE_CPU : DEVICE_PLACE_UNKNOWN;
}

static status open_path(struct device_choice *choice, enum backend_path path, backend **out,
                        struct error_note *note)
{
    choice->all.path = path;
    return rank_backend_open(&choice->all, 0, choice->rank_count, out, note);
}

/* A device for each rank, and room for the model on the first: the others are taken to be like it. */
static status check_device(const struct device_choice *choice, backend *b, struct error_note *note)
{
    struct backend_device device;
    uint64_t total, available;
    b->operations->device_describe(b, &device);
    if (choice->all.device + choice->rank_count > device.visible_count) {
        error_note_set(note, "there are %u ranks, and %u devices are visible", choice->rank_count,
                       device.visible_count);
        return STATUS_NOT_FOUND;
    }
    status s = b->operations->memory_info(b, &total, &available);
    if (s == STATUS_OK)
        s = choice->fits(choice->context, available, note);
    if (s != STATUS_OK)
        return s;
    log_info(AREA, "backend auto: %s on %s, %.1f GB free of %.1f GB", b->operations->name,
             device.name, (double)available / 1e9, (double)total / 1e9);
    return STATUS_OK;
}

static status open_device(struct device_choice *choice, backend **out, struct error_note *note)
{
    status s = open_path(choice, BACKEND_CUDA, out, note);
    if (s != STATUS_OK)
        return s;
    s = check_device(choice, *out, note);
    if (s != STATUS_OK) {
        backend_close(*out);
        *out = NULL;
    }
    return s;
}

static status open_cpu(struct device_choice *choice, const char *why, backend **out,
                       struct error_note *note)
{
    status s = open_path(choice, BACKEND_CPU, out, note);
    if (s == STATUS_OK)
        log_info(AREA, "backend auto: the CPU (%s): %s", (*out)->operations->name, why);
    return s;
}

status device_choice_open(struct device_choice *choice, backend **out, struct error_note *note)
{
    struct error_note why = {""};
    status s;
    if (choice->all.path != BACKEND_AUTO)
        return open_path(choice, choice->all.path, out, note);
    switch (choice->place) {
    case DEVICE_PLACE_CPU:
        return open_cpu(choice, "the slice is one of cores", out, note);
    case DEVICE_PLACE_GPU:
        s = open_device(choice, out, note);
        if (s != STATUS_OK)
            error_note_prefix(note, "the slice is one of a GPU, which cannot be used");
        return s;
    case DEVICE_PLACE_UNKNOWN:
        error_note_set(note,
                       "the slice is one of a device that there are no kernels for: place the "
                       "model on slices of NVIDIA GPUs or of cores, or set backend to cpu");
        return STATUS_UNSUPPORTED;
    case DEVICE_PLACE_ANY:
        break;
    }
    s = open_device(choice, out, &why);
    return s == STATUS_OK
               ? s
               : open_cpu(choice, why.text[0] != '\0' ? why.text : status_name(s), out, note);
}
