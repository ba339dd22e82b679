#include "opening.h"

void opening_tell(struct opening *opening, status result)
{
    opening->result = result;
    atomic_store_explicit(&opening->is_over, true, memory_order_release);
    parking_signal(&opening->parking);
}

status opening_wait(struct opening *opening, struct error_note *note)
{
    while (!atomic_load_explicit(&opening->is_over, memory_order_acquire)) {
        uint32_t ticket = parking_prepare(&opening->parking);
        if (atomic_load_explicit(&opening->is_over, memory_order_acquire))
            parking_cancel(&opening->parking);
        else
            parking_wait(&opening->parking, ticket, UINT64_MAX);
    }
    if (opening->result != STATUS_OK && note != NULL)
        *note = opening->note;
    return opening->result;
}
