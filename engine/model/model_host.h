#ifndef PENSTOCK_MODEL_HOST_H
#define PENSTOCK_MODEL_HOST_H

#include "backend.h"
#include "status.h"

/* Memory of the host below a rank's cache: slots of one block each, pinned, and what it takes to copy one. Owned by the model.
 * Thread: that of the rank. */
struct model_host {
    uint8_t *memory;      /* owned; [slots, block_bytes] */
    uint64_t block_bytes; /* of the rank's part of a block */
    uint32_t slots;       /* 0: there is none */
    uint64_t block_ns;    /* the slower direction of the two, in runs of several */
};

/* Slots for a cache of kv_blocks blocks. Where the host has no such memory to pin, there are none, and that is STATUS_OK.
 * Else what the device said while it was measured. */
NODISCARD status host_open(struct model_host *host, backend *b, kv_store *kv, uint64_t block_bytes,
                           uint32_t kv_blocks, uint32_t slots);
void host_close(struct model_host *host, backend *b);

/* Queued; slot to[i] or from[i] is block from[i]'s or to[i]'s. */
void host_save(const struct model_host *host, backend *b, const kv_store *kv, const uint32_t *from,
               const uint32_t *to, uint32_t count);
void host_load(const struct model_host *host, backend *b, kv_store *kv, const uint32_t *from,
               const uint32_t *to, uint32_t count);

#endif
