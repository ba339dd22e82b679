#ifndef PENSTOCK_ENGINE_MEMORY_PLAN_H
#define PENSTOCK_ENGINE_MEMORY_PLAN_H

#include <stdint.h>

#include "status.h"

/* How large the KV cache is to be. Pure but for memory_available_bytes. */
struct memory_plan_input {
    uint64_t kv_bytes;        /* what the operator asked for; 0: choose */
    uint64_t kv_block_bytes;  /* > 0 */
    uint64_t weight_bytes;    /* in the backend's layout, and what adapters may take */
    uint64_t available_bytes; /* memory that is free for all of `share_count` */
    uint32_t
        share_count; /* engines that are to start beside each other on it, this one counted; 0: 1 */
    uint32_t sequence_count_max; /* > 0 */
    uint32_t context_max;        /* > 0 */
};

/* Blocks of the cache, never more than `sequence_count_max` sequences of `context_max` can use. STATUS_TOO_LARGE with
 * a note: not even KV_BLOCKS_MIN blocks fit. */
#define KV_BLOCKS_MIN 2u
NODISCARD status memory_plan_kv_blocks(const struct memory_plan_input *input, uint32_t *blocks,
                                       struct error_note *note);

/* What the kernel says is available, and what the control group leaves, whichever is less. 0: unknown. */
uint64_t memory_available_bytes(void);

#endif
