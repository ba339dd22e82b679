/* The host's devices have no NCCL: their ranks speak through the host. */

#include "nccl_communicator.h"

status nccl_communicator_id(uint8_t *id, struct error_note *note)
{
    (void)id;
    error_note_set(note, "the host's device runtime has no NCCL");
    return STATUS_NOT_FOUND;
}

status nccl_communicator_open(device *d, device_stream *s, const struct communicator_place *place,
                              communicator **out, struct error_note *note)
{
    (void)d, (void)s, (void)place, (void)out;
    error_note_set(note, "the host's device runtime has no NCCL");
    return STATUS_UNSUPPORTED;
}
