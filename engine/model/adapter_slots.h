#ifndef PENSTOCK_ADAPTER_SLOTS_H
#define PENSTOCK_ADAPTER_SLOTS_H

#include <stdatomic.h>

#include "backend.h"
#include "model_shape.h"

/* Memory of adapters on a device of its own: as many slots as there may be adapters, each with room for the largest, taken when the
 * model is opened. So loading allocates nothing on the device, which another thread than its own may not do, and which would
 * stop it; and what adapters take is what was planned. */
struct adapter_slots {
    backend *b;           /* borrowed */
    float *memory;        /* device, owned; NULL: adapters are in the host's memory */
    uint64_t slot_floats; /* of each */
    uint32_t count;
    _Atomic bool *taken; /* owned; [count] */
};

/* Nothing is taken where the backend's memory is the host's. STATUS_NO_MEMORY. A zeroed struct may be closed. */
NODISCARD status adapter_slots_open(struct adapter_slots *slots, backend *b,
                                    const struct model_shape *shape, uint32_t count,
                                    uint32_t rank_max);
void adapter_slots_close(struct adapter_slots *slots);

/* A free slot is the caller's. STATUS_FULL: there is none. Any thread. */
NODISCARD status adapter_slots_acquire(struct adapter_slots *slots, uint32_t *out);
/* No step uses it any more. Any thread. */
void adapter_slots_release(struct adapter_slots *slots, uint32_t slot);
/* Device; slot_floats. */
float *adapter_slot_memory(const struct adapter_slots *slots, uint32_t slot);

#endif
