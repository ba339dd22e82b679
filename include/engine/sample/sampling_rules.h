#ifndef PENSTOCK_ENGINE_SAMPLE_SAMPLING_RULES_H
#define PENSTOCK_ENGINE_SAMPLE_SAMPLING_RULES_H

#include "sampling.h"

/* Which of a request's wishes change anything: for whoever samples, on the host or on a device. Pure. */

static inline bool sampling_has_penalties(const struct sampling_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

/* Is it the share of something that has to be cut? */
static inline bool sampling_is_share(float p)
{
    return p > 0.0f && p < 1.0f;
}

static inline bool sampling_has_xtc(const struct sampling_params *p)
{
    return p->xtc_probability > 0.0f && p->xtc_threshold <= 0.5f;
}

/* Some filter beside top-k, top-p and min-p. */
static inline bool sampling_has_filters(const struct sampling_params *p)
{
    return p->temperature > 0.0f &&
           (p->top_n_sigma > 0.0f || p->top_a > 0.0f || sampling_is_share(p->typical_p) ||
            sampling_has_xtc(p) || p->mirostat.is_on);
}

static inline bool sampling_has_dry(const struct sampling_params *p)
{
    return p->dry.multiplier > 0.0f && p->dry.last_n != 0;
}

/* Sets the bits of allowed_tokens, t % 32 of word t / 32, in zeroed words. */
static inline void sampling_allow_tokens(const struct sampling_params *p, uint32_t *words)
{
    for (uint32_t i = 0; i < p->allowed_token_count; i++) {
        uint32_t token = (uint32_t)p->allowed_tokens[i];
        words[token / 32] |= 1u << token % 32;
    }
}

#endif
