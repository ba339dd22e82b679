#ifndef PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_STEP_H
#define PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_STEP_H

#include "backend.h"
#include "device_sampling.h"
#include "runtime/device_runtime.h"
#include "sampling.h"
#include "step_state.h"

/* A step as the device has it, and the ring of what goes there and comes back.
 *
 *     host   slot 0: description, samples, masks, results   slot 1: ...      pinned; a slot for each step under way and one more
 *     device description, samples, masks, results, sampled tokens            one each: steps follow one another in the stream
 *
 * A slot is written to again when the event that ended its step is past. */

#define STEP_SLOTS_MAX 8u

struct cuda_backend;

struct step_slot {
    uint8_t *description; /* pinned */
    struct device_sample *samples;
    uint32_t *masks;
    struct device_sample_result *results;
    device_event *begun, *ended;
    bool is_counted; /* its time is in busy_ns */
};

struct cuda_step {
    bool is_prepared, is_open;
    struct step_limits limits;
    uint32_t mask_words;
    uint32_t slot_count;
    struct step_slot slots[STEP_SLOTS_MAX];
    uint8_t *pinned; /* owned: all slots */
    uint8_t *device; /* owned: all below */
    uint8_t *description;
    uint64_t tables_offset; /* of the block tables in a description: the last array */
    struct step_state state;
    struct device_sample *samples;
    uint32_t *masks;
    struct device_sample_result *results;
    int32_t *sampled;
    void *sampling_scratch;
    uint32_t samples_max; /* of one launch of the sampler */
    struct sampling_slot *sampling_slots;
    uint32_t *sampling_words;
    struct device_logit_bias *sampling_biases;
    uint64_t begun, ended, waited; /* steps */
    uint64_t busy_ns;
    /* The open step. */
    const int32_t *tokens;
    const uint32_t *logit_rows;
    struct step_extent extent;
    uint32_t n_sequences; /* padded */
    bool has_split, has_long;
};

/* What operations of the batch read: the open step's description, or a copy of the arrays of `batch` made now. */
struct step_view {
    struct step_state state;
    uint32_t n_rows, n_sequences;
    bool has_split, has_long;
    uint32_t positions_max; /* no row has a higher position */
};
struct step_view step_view_of(struct cuda_backend *b, const struct step_batch *batch);

void step_close(struct cuda_backend *b);
status cuda_step_prepare(backend *b, const struct step_limits *limits);
status cuda_step_begin(backend *b, const struct step_batch *batch, const int32_t *tokens,
                       const uint32_t *logit_rows, uint32_t logit_row_count, bool is_usual,
                       struct step_extent *out);
status cuda_step_end(backend *b, uint64_t *ticket);
status cuda_step_wait(backend *b, uint64_t ticket, const struct device_sample_result **results);
uint64_t cuda_device_busy_ns(backend *b);

/* cuda_sampling.c */
void cuda_step_sample(backend *b, const float *logits, const struct device_sample *samples,
                      uint32_t count, const uint32_t *masks, uint32_t mask_count);
status cuda_sampling_state_set(backend *b, uint32_t slot,
                               const struct device_sampling_state *state);

#endif
