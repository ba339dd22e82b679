#include "model_rope.h"

#include <math.h>

/* The pair that turns `turns` times within the original context, as a real index. */
static double pair_of_turns(const struct rope_shape *rope, double turns)
{
    const double two_pi = 6.283185307179586;
    return rope->d_rope * log(rope->context_original / (turns * two_pi)) / (2 * log(rope->base));
}

/* 1: the pair turns fast and keeps its frequency; 0: it turns slowly and is interpolated; between:
 * a ramp. */
static double yarn_kept_share(const struct rope_shape *rope, uint32_t pair)
{
    double first = pair_of_turns(rope, rope->beta_fast),
           last = pair_of_turns(rope, rope->beta_slow);
    double low = fmax(0, rope->is_exact ? first : floor(first));
    double high = fmin(rope->d_rope - 1, rope->is_exact ? last : ceil(last));
    double ramp = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(1, fmax(0, ramp));
}

/* 1: the pair turns more than high_factor times within the original context and keeps its frequency; 0: less than
 * low_factor times. As transformers' _compute_llama3_parameters. */
static double llama3_kept_share(const struct rope_shape *rope, double frequency)
{
    const double two_pi = 6.283185307179586;
    double turns = rope->context_original * frequency / two_pi;
    double share = (turns - rope->low_factor) / (rope->high_factor - rope->low_factor);
    return fmin(1, fmax(0, share));
}

void model_rope_frequencies(const struct rope_shape *rope, const float *divisors, float *out)
{
    for (uint32_t i = 0; i < rope->d_rope / 2; i++) {
        double frequency = pow(rope->base, -2.0 * i / rope->d_rope);
        if (divisors != NULL)
            frequency /= (double)divisors[i];
        double share = 1; /* of the unscaled frequency */
        if (rope->scaling == ROPE_SCALING_LINEAR)
            share = 0;
        if (rope->scaling == ROPE_SCALING_YARN)
            share = yarn_kept_share(rope, i);
        if (rope->scaling == ROPE_SCALING_LLAMA3)
            share = llama3_kept_share(rope, frequency);
        out[i] = (float)(frequency * share + frequency / rope->factor * (1 - share));
    }
}

float model_rope_magnitude(const struct rope_shape *rope)
{
    double magnitude = rope->attention_factor;
    if (rope->scaling == ROPE_SCALING_YARN && rope->factor > 1)
        magnitude *= 1 + 0.1 * log(rope->factor);
    return (float)magnitude;
}
