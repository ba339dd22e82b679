#ifndef PENSTOCK_CUDA_SAMPLING_WISHES_H
#define PENSTOCK_CUDA_SAMPLING_WISHES_H

#include "device.h"
#include "sampling.h"

/* What a slot's word says of its token: how many outputs were it, and whether anything else is wished of it. A row's pass
 * reads one word a token, and only looks for more where it is not zero. */
#define WISH_OUTPUTS 0x0fffffffu
#define WISH_HELD    0x20000000u /* not before min_tokens */
#define WISH_BIASED  0x40000000u /* the list of biases has it, perhaps more than once */
#define WISH_COUNTED 0x80000000u /* came in the prompt, where that counts, or in the outputs */

/* The token's logit with its biases, in the order of the list. */
K_DEVICE float wish_biased(const struct sampling_slot &slot, uint32_t token, float logit)
{
    for (uint32_t i = 0; i < slot.bias_count; i++) {
        struct device_logit_bias bias = slot.biases[i];
        if ((uint32_t)bias.token == token)
            logit = bias.bias <= -100.0f ? -INFINITY : logit + bias.bias;
    }
    return logit;
}

K_DEVICE float wish_penalised(const struct sampling_slot &slot, uint32_t outputs, float logit)
{
    logit = logit > 0.0f ? logit / slot.repetition_penalty : logit * slot.repetition_penalty;
    if (outputs > 0)
        logit -= slot.presence_penalty + slot.frequency_penalty * (float)outputs;
    return logit;
}

/* The token's logit with all that `word` asks for. */
K_DEVICE float wish_applied(const struct sampling_slot &slot, uint32_t word, uint32_t token,
                            uint32_t output_count, float logit)
{
    if ((word & WISH_BIASED) != 0)
        logit = wish_biased(slot, token, logit);
    if ((word & WISH_COUNTED) != 0 && slot.has_penalty != 0)
        logit = wish_penalised(slot, word & WISH_OUTPUTS, logit);
    if ((word & WISH_HELD) != 0 && output_count < slot.min_tokens)
        logit = -INFINITY;
    return logit;
}

#endif
