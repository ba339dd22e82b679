#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_DRIVER_VERSIONS_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_DRIVER_VERSIONS_H

#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether a driver can run what was built with a version of CUDA. Both as CUDA counts them, 1000 * major + 10 * minor; the driver's is the
 * latest CUDA it knows, 0: there is no driver. A driver runs all of its major version (NVIDIA, "CUDA Compatibility", minor version
 * compatibility) and those before. STATUS_NOT_FOUND: there is none; STATUS_UNSUPPORTED: it is too old; with a note. Pure. */
NODISCARD status driver_versions_check(uint32_t driver, uint32_t runtime, struct error_note *note);

#ifdef __cplusplus
}
#endif

#endif
