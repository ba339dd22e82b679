#ifndef PENSTOCK_KERNELS_DEVICE_LIBRARY_H
#define PENSTOCK_KERNELS_DEVICE_LIBRARY_H

#include "backend.h"

/* The shared objects that hold the backends of devices. They are looked for when such a backend is asked for, so that a
 * process without one needs none of a device's libraries. */

/* Whether `path` is one of them. */
bool device_library_holds(enum backend_path path);

/* Opens the library of `path` (the file that PENSTOCK_CUDA_LIBRARY names; else beside the program, else in ../lib/penstock
 * from there; it stays open) and its backend. STATUS_NOT_FOUND: no driver, library or device, with a note; else as its backend says. */
NODISCARD status device_library_open(const struct backend_options *options, backend **out,
                                     struct error_note *note);

/* Whether the library is there and opens. */
bool device_library_is_found(enum backend_path path);

#endif
