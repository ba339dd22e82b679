#ifndef PENSTOCK_MODEL_RANKS_H
#define PENSTOCK_MODEL_RANKS_H

#include "communicator.h"
#include "model.h"

/* The ranks of a model beside its first: each is a thread with a backend of its own and its part of the weights and of the cache.
 * They do what the first one's thread, the step thread, is asked to do, at the same time; it posts orders by pointer, one at a
 * time. Owned by the first rank's model. Thread: step. */
struct model_ranks;

/* Starts the threads, which open their backends and parts at once. What `options` and `source` point to must stay until
 * model_ranks_wait_open. STATUS_NO_MEMORY, STATUS_IO. */
NODISCARD status model_ranks_start(const model_source *source, const struct model_options *options,
                                   struct model_ranks **out, struct error_note *note);
/* Waits until all are open. Not STATUS_OK: what hindered one of them, with a note; STATUS_CLOSED: none of them failed by itself. */
NODISCARD status model_ranks_wait_open(struct model_ranks *ranks, struct error_note *note);
/* Tells the threads to close what they have, when they are through with the last order: then it is the first rank's time to do the
 * same. */
void model_ranks_end(struct model_ranks *ranks);
/* Waits for the threads' end, and frees. Accepts NULL. What was not told to end fails. */
void model_ranks_close(struct model_ranks *ranks);

communicator_group *model_ranks_group(struct model_ranks *ranks);
/* Over the other ranks: bytes of weights, and of a block of the cache. */
uint64_t model_ranks_weight_bytes(const struct model_ranks *ranks);
uint64_t model_ranks_kv_block_bytes(const struct model_ranks *ranks);

/* Makes *slots 0 if one of the other ranks has none, and *block_ns what the slowest of them takes. */
void model_ranks_host_slots(const struct model_ranks *ranks, uint32_t *slots, uint64_t *block_ns);

/* The others launch the step, without what only the first rank does (samples, rows for the host), and then collect it.
 * `step` and what it points to may be let go when model_ranks_wait_launched has returned. */
void model_ranks_launch(struct model_ranks *ranks, const struct model_step *step);
void model_ranks_wait_launched(struct model_ranks *ranks);
/* Waits for the order's end; the first status of a rank that is not STATUS_OK. */
NODISCARD status model_ranks_wait(struct model_ranks *ranks);

/* Each returns when all ranks have done it. */
void model_ranks_kv_copy_blocks(struct model_ranks *ranks, const uint32_t *from, const uint32_t *to,
                                uint32_t count);
void model_ranks_kv_save_blocks(struct model_ranks *ranks, const uint32_t *blocks,
                                const uint32_t *slots, uint32_t count);
void model_ranks_kv_load_blocks(struct model_ranks *ranks, const uint32_t *slots,
                                const uint32_t *blocks, uint32_t count);
void model_ranks_kv_touch_block(struct model_ranks *ranks, uint32_t block);
void model_ranks_sleep(struct model_ranks *ranks, uint32_t level);
NODISCARD status model_ranks_wake(struct model_ranks *ranks, struct error_note *note);

#endif
