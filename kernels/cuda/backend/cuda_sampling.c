/* Tokens that the device chooses. */

#include <string.h>

#include "check.h"
#include "cuda_backend.h"

static void launch(struct cuda_backend *b, const float *logits, uint32_t first, uint32_t count)
{
    struct cuda_step *step = &b->step;
    const struct sampling_args args = {
        .logits = logits,
        .vocabulary = step->limits.vocabulary,
        .samples = step->samples + first,
        .sample_count = count,
        .slots = step->sampling_slots,
        .masks = step->masks,
        .scratch = step->sampling_scratch,
        .tokens = step->sampled + first,
        .results = step->results + first,
    };
    sampling_launch(b->stream, &args);
}

void cuda_step_sample(backend *base, const float *logits, const struct device_sample *samples,
                      uint32_t count, const uint32_t *masks, uint32_t mask_count)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(step->is_open && count <= step->limits.logit_rows_max &&
          mask_count <= step->limits.logit_rows_max);
    graphs_finish(b);
    struct step_slot *slot = &step->slots[(step->begun - 1) % step->slot_count];
    memcpy(slot->samples, samples, count * sizeof(*samples));
    device_copy_to_device(b->stream, step->samples, slot->samples, count * sizeof(*samples));
    uint64_t mask_bytes = 4ull * mask_count * step->mask_words;
    if (mask_bytes > 0) {
        memcpy(slot->masks, masks, mask_bytes);
        device_copy_to_device(b->stream, step->masks, slot->masks, mask_bytes);
    }
    for (uint32_t first = 0; first < count; first += step->samples_max)
        launch(b, logits, first,
               count - first < step->samples_max ? count - first : step->samples_max);
    device_copy_to_host(b->stream, slot->results, step->results, count * sizeof(*step->results));
}

status cuda_sampling_state_set(backend *base, uint32_t slot,
                               const struct device_sampling_state *state)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(step->is_prepared && !step->is_open && slot < step->limits.slots_max &&
          state->bias_count <= DEVICE_BIASES_MAX);
    struct sampling_state_args args = {
        .slot = step->sampling_slots + slot,
        .words = step->sampling_words + (size_t)slot * step->limits.vocabulary,
        .biases = step->sampling_biases + (size_t)slot * DEVICE_BIASES_MAX,
        .vocabulary = step->limits.vocabulary,
        .state = *state,
    };
    args.state.biases = loose_copy(b, state->biases, state->bias_count * sizeof(*state->biases));
    args.state.held = loose_copy(b, state->held, state->held_count * sizeof(*state->held));
    args.state.prompt = loose_copy(b, state->prompt, state->prompt_count * sizeof(*state->prompt));
    args.state.outputs =
        loose_copy(b, state->outputs, state->output_count * sizeof(*state->outputs));
    sampling_state_launch(b->stream, &args);
    return device_status(b->device);
}
