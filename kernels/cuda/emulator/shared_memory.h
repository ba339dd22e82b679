#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_SHARED_MEMORY_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_SHARED_MEMORY_H

#include "emulated_thread.h"

enum {
    MARK_LANES = 1,   /* more threads of the same warp did, since the warp's last barrier */
    MARK_WARPS = 2,   /* threads of other warps did too, since the block's last barrier */
    MARK_ATOMIC = 4,  /* by atomic operations alone */
    MARK_PENDING = 8, /* an asynchronous copy to it is under way */
};

/* An access: the last one, and who else. */
struct access_mark {
    uint32_t epoch; /* the block's */
    uint16_t thread;
    uint8_t warp_epoch;
    uint8_t flags;
};

struct byte_shadow {
    struct access_mark write, read;
};

/* Takes memory for blocks that run in this place, one after another. */
void shared_memory_init(struct emulated_block *block);
/* A new block: all of it is unwritten (its epochs are later than all before). */
void shared_memory_begin(struct emulated_block *block, uint32_t dynamic_bytes);
/* Epochs begin again. */
void shared_memory_forget(struct emulated_block *block);
/* Bytes that a copy by `thread` will write, or has written. */
void shared_memory_set_pending(const struct emulated_thread *thread, uint32_t offset,
                               uint32_t bytes, bool is_pending);

#endif
