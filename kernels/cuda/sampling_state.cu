#include "device.h"
#include "sampling.h"
#include "sampling_wishes.h"

/* One block: a sequence's wishes come once, when it begins, and the words of a vocabulary are a megabyte at most. */
#define STATE_THREADS 1024u

K_DEVICE void state_mark(uint32_t *words, const int32_t *tokens, uint32_t count, uint32_t mark)
{
    for (uint32_t i = k_thread(); i < count; i += STATE_THREADS)
        k_atomic_or(&words[tokens[i]], mark);
}

K_DEVICE void state_write_slot(const struct sampling_state_args &a)
{
    const struct device_sampling_state &state = a.state;
    struct sampling_slot slot;
    slot.repetition_penalty = state.repetition_penalty;
    slot.presence_penalty = state.presence_penalty;
    slot.frequency_penalty = state.frequency_penalty;
    slot.has_penalty = state.repetition_penalty != 1.0f || state.presence_penalty != 0.0f ||
                       state.frequency_penalty != 0.0f;
    slot.min_tokens = state.min_tokens;
    slot.bias_count = state.bias_count;
    slot.words = a.words;
    slot.biases = a.biases;
    *a.slot = slot;
}

K_KERNEL_BOUNDS(STATE_THREADS, 1) void sampling_state_kernel(struct sampling_state_args a)
{
    k_release_next();
    k_wait_previous();
    const struct device_sampling_state &state = a.state;
    for (uint32_t i = k_thread(); i < a.vocabulary; i += STATE_THREADS)
        a.words[i] = 0;
    k_sync();
    for (uint32_t i = k_thread(); i < state.bias_count; i += STATE_THREADS) {
        struct device_logit_bias bias = state.biases[i];
        a.biases[i] = bias;
        k_atomic_or(&a.words[bias.token], WISH_BIASED);
    }
    state_mark(a.words, state.held, state.held_count, WISH_HELD);
    if (state.repetition_penalty != 1.0f)
        state_mark(a.words, state.prompt, state.prompt_count, WISH_COUNTED);
    state_mark(a.words, state.outputs, state.output_count, WISH_COUNTED);
    for (uint32_t i = k_thread(); i < state.output_count; i += STATE_THREADS)
        k_atomic_add(&a.words[state.outputs[i]], 1u);
    if (k_thread() == 0)
        state_write_slot(a);
}

void sampling_state_launch(device_stream *stream, const struct sampling_state_args *args)
{
    K_LAUNCH(stream, sampling_state_kernel, k_grid(1), STATE_THREADS, 0, *args);
}
