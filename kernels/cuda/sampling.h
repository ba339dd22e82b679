#ifndef PENSTOCK_CUDA_SAMPLING_H
#define PENSTOCK_CUDA_SAMPLING_H

#include <stdint.h>

#include "device_sampling.h"
#include "runtime/device_runtime.h"

/* The sampler on the device: rows of logits in, tokens out, nothing sorted but a few hundred candidates, the same three
 * kernels whatever is asked for, with a grid that the number of samples and the vocabulary give. Its tokens are those of
 * engine/sample/sampler.h. Sums are added in an order that the vocabulary gives: a row's token is the same
 * whatever else is sampled with it.
 *
 * All pointers are device pointers. Thread: the step thread. Launches only; errors are the stream's. */

#ifdef __cplusplus
extern "C" {
#endif

/* The wishes of one sequence on the device. All zeros: none. Written by sampling_state_launch. */
struct sampling_slot {
    float repetition_penalty, presence_penalty, frequency_penalty;
    uint32_t has_penalty;
    uint32_t min_tokens;
    uint32_t bias_count;
    /* Memory of the slot, which outlives the state: [vocabulary], what is wished of each token; and its biases. */
    uint32_t *words;
    struct device_logit_bias *biases; /* [DEVICE_BIASES_MAX] */
};

/* Writes the wishes `state` into `slot`. The state's arrays are device pointers here (a copy of what the host gave), and
 * nothing reads them after the kernel. words: [vocabulary]; biases: [DEVICE_BIASES_MAX]: the slot's own, whatever they hold. */
struct sampling_state_args {
    struct sampling_slot *slot;
    uint32_t *words;
    struct device_logit_bias *biases;
    uint32_t vocabulary;
    struct device_sampling_state state;
};
void sampling_state_launch(device_stream *stream, const struct sampling_state_args *args);

/* Bytes of scratch that a launch of so many samples needs; a caller bounds it by sampling in several launches. */
uint64_t sampling_scratch_bytes(uint32_t sample_count, uint32_t vocabulary);

struct sampling_args {
    const float *logits; /* [*, vocabulary]; not changed */
    uint32_t vocabulary;
    const struct device_sample *samples; /* [sample_count] */
    uint32_t sample_count;
    struct sampling_slot
        *slots; /* [*], indexed by device_sample.slot: those that are named have a state */
    const uint32_t *masks; /* [*, (vocabulary + 31) / 32], one bit a token, the lowest first */
    void *scratch;         /* [sampling_scratch_bytes], 16-byte aligned */
    int32_t *tokens;       /* [sample_count]: the tokens chosen, where the next step finds them */
    struct device_sample_result *results; /* [sample_count] */
};
void sampling_launch(device_stream *stream, const struct sampling_args *args);

#ifdef __cplusplus
}
#endif

#endif
