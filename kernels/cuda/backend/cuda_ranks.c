/* How the ranks of a model speak to each other where each has a device. */

#include "cuda_backend.h"
#include "runtime/nccl_communicator.h"

status cuda_communicator_id(uint8_t *id, struct error_note *note)
{
    return nccl_communicator_id(id, note);
}

status cuda_communicator_open(backend *b, const struct communicator_place *place,
                              communicator **out, struct error_note *note)
{
    const struct cuda_backend *own = of_cuda(b);
    return nccl_communicator_open(own->device, own->stream, place, out, note);
}
