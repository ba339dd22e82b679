#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_NCCL_COMMUNICATOR_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_NCCL_COMMUNICATOR_H

#include "communicator.h"
#include "device_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The kind of communicator that devices have (communicator.h): NCCL, found at run time (libnccl.so.2), since only models of several
 * ranks need it. What is called is queued on the rank's stream, and may be captured. nccl_communicator.cpp with CUDA's runtime;
 * the host's runtime has none. */

/* As backend.h's communicator_id and communicator_open. */
NODISCARD status nccl_communicator_id(uint8_t *id, struct error_note *note);
/* d, s: the rank's, borrowed for the communicator's life. */
NODISCARD status nccl_communicator_open(device *d, device_stream *s,
                                        const struct communicator_place *place, communicator **out,
                                        struct error_note *note);

#ifdef __cplusplus
}
#endif

#endif
