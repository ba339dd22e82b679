#include "driver_versions.h"

status driver_versions_check(uint32_t driver, uint32_t runtime, struct error_note *note)
{
    if (driver == 0) {
        error_note_set(note,
                       "the NVIDIA driver is missing: install it, or start the container with "
                       "its GPUs; nvidia-smi shows whether it works");
        return STATUS_NOT_FOUND;
    }
    if (driver / 1000 >= runtime / 1000)
        return STATUS_OK;
    error_note_set(note,
                   "the NVIDIA driver is too old: it knows CUDA %u.%u, and this program was built "
                   "with CUDA %u.%u; install a driver of CUDA %u or later",
                   driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10,
                   runtime / 1000);
    return STATUS_UNSUPPORTED;
}
