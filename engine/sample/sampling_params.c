#include "sampler.h"

/* Ranges that any client gets an answer about; the front end checks the same and names its own
 * fields. */
#define TEMPERATURE_MAX 100.0f
#define PENALTY_MAX     100.0f
#define BIAS_MAX        100.0f

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
    return check_tokens(p, vocabulary, note);
}
