#include "sampler.h"

/* Ranges that any client gets an answer about; the front end checks the same and names its own
 * fields. */
#define TEMPERATURE_MAX  100.0f
#define PENALTY_MAX      100.0f
#define BIAS_MAX         100.0f
#define TOP_N_SIGMA_MAX  100.0f
#define MIROSTAT_TAU_MAX 100.0f

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        error_note_set(note, __VA_ARGS__);                                                         \
        return STATUS_INVALID;                                                                     \
    } while (0)

static bool is_within(float value, float low, float high)
{
    return value >= low && value <= high; /* false for NaN */
}

static status check_tokens(const struct sampling_params *p, uint32_t vocabulary,
                           struct error_note *note)
{
    for (uint32_t i = 0; i < p->bias_count; i++) {
        int32_t token = p->biases[i].token;
        if (token < 0 || (uint32_t)token >= vocabulary)
            FAIL("logit_bias names token %d; the vocabulary has 0 to %u", token, vocabulary - 1);
        if (!is_within(p->biases[i].bias, -BIAS_MAX, BIAS_MAX))
            FAIL("logit_bias of token %d must be within -100 and 100", token);
    }
    for (uint32_t i = 0; i < p->stop_token_count; i++) {
        int32_t token = p->stop_tokens[i];
        if (token < 0 || (uint32_t)token >= vocabulary)
            FAIL("stop_token_ids names token %d; the vocabulary has 0 to %u", token,
                 vocabulary - 1);
    }
    for (uint32_t i = 0; i < p->allowed_token_count; i++) {
        int32_t token = p->allowed_tokens[i];
        if (token < 0 || (uint32_t)token >= vocabulary)
            FAIL("allowed_token_ids names token %d; the vocabulary has 0 to %u", token,
                 vocabulary - 1);
    }
    for (uint32_t i = 0; i < p->ban_count; i++) {
        if (p->bans[i].count < 1 || p->bans[i].count > TOKEN_RUN_LENGTH_MAX)
            FAIL("bad_words must have 1 to %u tokens each, not %u", TOKEN_RUN_LENGTH_MAX,
                 p->bans[i].count);
        for (uint32_t j = 0; j < p->bans[i].count; j++)
            if (p->bans[i].tokens[j] < 0 || (uint32_t)p->bans[i].tokens[j] >= vocabulary)
                FAIL("bad_words has token %d; the vocabulary has 0 to %u", p->bans[i].tokens[j],
                     vocabulary - 1);
    }
    return STATUS_OK;
}

static status check_filters(const struct sampling_params *p, struct error_note *note)
{
    if (!is_within(p->top_n_sigma, -1.0f, TOP_N_SIGMA_MAX))
        FAIL("top_n_sigma must be within -1 and 100, not %g", (double)p->top_n_sigma);
    if (!is_within(p->top_a, 0.0f, 1.0f))
        FAIL("top_a must be within 0 and 1, not %g", (double)p->top_a);
    if (!is_within(p->typical_p, 0.0f, 1.0f))
        FAIL("typical_p must be within 0 and 1, not %g", (double)p->typical_p);
    if (!is_within(p->xtc_probability, 0.0f, 1.0f))
        FAIL("xtc_probability must be within 0 and 1, not %g", (double)p->xtc_probability);
    if (!is_within(p->xtc_threshold, 0.0f, 1.0f))
        FAIL("xtc_threshold must be within 0 and 1, not %g", (double)p->xtc_threshold);
    if (!is_within(p->mirostat.tau, 0.0f, MIROSTAT_TAU_MAX))
        FAIL("mirostat_tau must be within 0 and 100, not %g", (double)p->mirostat.tau);
    if (!is_within(p->mirostat.eta, 0.0f, 1.0f))
        FAIL("mirostat_eta must be within 0 and 1, not %g", (double)p->mirostat.eta);
    return STATUS_OK;
}

static status check_repetition(const struct sampling_params *p, struct error_note *note)
{
    const struct dry_params *dry = &p->dry;
    if (!is_within(dry->multiplier, 0.0f, PENALTY_MAX))
        FAIL("dry_multiplier must be within 0 and 100, not %g", (double)dry->multiplier);
    if (dry->multiplier > 0.0f && !is_within(dry->base, 1.0f, PENALTY_MAX))
        FAIL("dry_base must be within 1 and 100, not %g", (double)dry->base);
    if (dry->multiplier > 0.0f && dry->allowed_length < 1)
        FAIL("dry_allowed_length must be at least 1");
    if (dry->last_n < -1)
        FAIL("dry_penalty_last_n must be at least 0, or -1 for all tokens, not %d", dry->last_n);
    if (dry->breaker_count > DRY_BREAKERS_MAX)
        FAIL("dry_sequence_breakers may be %u, not %u", DRY_BREAKERS_MAX, dry->breaker_count);
    for (uint32_t i = 0; i < dry->breaker_count; i++)
        if (dry->breakers[i].bytes == 0)
            FAIL("dry_sequence_breakers may not be empty");
    const struct repetition_params *loops = &p->repetition;
    if (loops->max_pattern > REPETITION_PATTERN_MAX || loops->min_pattern > loops->max_pattern)
        FAIL(
            "repetition_detection must have min_pattern_size <= max_pattern_size <= %u, not %u and "
            "%u",
            REPETITION_PATTERN_MAX, loops->min_pattern, loops->max_pattern);
    if (loops->max_pattern > 0 && (loops->min_count < 2 || loops->min_count > REPETITION_COUNT_MAX))
        FAIL("repetition_detection must have a min_count of 2 to %u, not %u", REPETITION_COUNT_MAX,
             loops->min_count);
    return STATUS_OK;
}

status sampling_params_check(const struct sampling_params *p, uint32_t vocabulary,
                             struct error_note *note)
{
    if (!is_within(p->temperature, 0.0f, TEMPERATURE_MAX))
        FAIL("temperature must be within 0 and 100, not %g", (double)p->temperature);
    if (!is_within(p->top_p, 0.0f, 1.0f) || p->top_p == 0.0f)
        FAIL("top_p must be above 0 and at most 1, not %g", (double)p->top_p);
    if (!is_within(p->min_p, 0.0f, 1.0f))
        FAIL("min_p must be within 0 and 1, not %g", (double)p->min_p);
    if (p->top_k < -1)
        FAIL("top_k must be at least 1, or 0 or -1 for all tokens, not %d", p->top_k);
    if (!is_within(p->repetition_penalty, 0.0f, PENALTY_MAX) || p->repetition_penalty == 0.0f)
        FAIL("repetition_penalty must be above 0 and at most 100, not %g",
             (double)p->repetition_penalty);
    if (!is_within(p->presence_penalty, -PENALTY_MAX, PENALTY_MAX))
        FAIL("presence_penalty must be within -100 and 100, not %g", (double)p->presence_penalty);
    if (!is_within(p->frequency_penalty, -PENALTY_MAX, PENALTY_MAX))
        FAIL("frequency_penalty must be within -100 and 100, not %g", (double)p->frequency_penalty);
    if (p->logprobs < -1 || p->logprobs > (int32_t)LOGPROBS_MAX)
        FAIL("logprobs must be within 0 and %u, not %d", LOGPROBS_MAX, p->logprobs);
    status s = check_filters(p, note);
    if (s == STATUS_OK)
        s = check_repetition(p, note);
    return s == STATUS_OK ? check_tokens(p, vocabulary, note) : s;
}
