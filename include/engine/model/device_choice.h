#ifndef PENSTOCK_ENGINE_DEVICE_CHOICE_H
#define PENSTOCK_ENGINE_DEVICE_CHOICE_H

#include "backend.h"

/* Where a replica was placed, which settles what the backend "auto" is. */
enum device_place {
    DEVICE_PLACE_ANY,    /* nobody placed it: a GPU where one is usable, else the CPU */
    DEVICE_PLACE_CPU,    /* a slice of cores */
    DEVICE_PLACE_GPU,    /* a slice of a GPU: never the CPU */
    DEVICE_PLACE_UNKNOWN /* a slice of a device that there are no kernels for: refused */
};

/* Of a slice's vendor; "other" may be NVIDIA's, where its member cannot tell; NULL or "": ANY. */
enum device_place device_place_of(const char *vendor);

/* What the backend "auto" is on this machine, for this model. The log says which it is, and why. */
struct device_choice {
    struct backend_options all; /* of all ranks together; path: as asked for, and then as chosen */
    uint32_t rank_count;        /* > 0 */
    enum device_place place;
    /* Whether the model has room in so many bytes of each rank's device; else with a note. */
    status (*fits)(void *context, uint64_t available_bytes, struct error_note *note);
    void *context;
};

/* Opens the backend of the first rank; the calling thread becomes its step thread. Statuses as backend_open, with a note. */
NODISCARD status device_choice_open(struct device_choice *choice, backend **out,
                                    struct error_note *note);

#endif
