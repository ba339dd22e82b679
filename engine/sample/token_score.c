#include "token_score.h"

#include <math.h>

#include "row_math.h"

status row_log_sum(const float *logits, uint32_t vocabulary, double *out)
{
    bool is_sound;
    float max = row_max(logits, vocabulary, &is_sound);
    if (!is_sound || !isfinite(max))
        return STATUS_INTERNAL;
    float sums[ROW_CHUNKS_MAX];
    *out = (double)max + log(row_exp_sums(logits, vocabulary, max, 1.0f, -INFINITY, sums));
    return STATUS_OK;
}

uint32_t row_list_best(const float *logits, uint32_t vocabulary, double log_sum, uint32_t count,
                       struct token_logprob *out)
{
    struct row_candidate best[LOGPROBS_MAX];
    uint32_t found = row_select_top(logits, vocabulary, count, best);
    for (uint32_t i = 0; i < found; i++)
        out[i] = (struct token_logprob){(int32_t)best[i].token,
                                        (float)((double)best[i].logit - log_sum)};
    return found;
}

status row_score_token(const float *logits, uint32_t vocabulary, int32_t token,
                       uint32_t alternative_count, struct token_score *score,
                       struct token_logprob *alternatives)
{
    double log_sum = 0.0;
    status s = row_log_sum(logits, vocabulary, &log_sum);
    if (s != STATUS_OK)
        return s;
    float own = logits[token];
    uint32_t likelier = 0;
    for (uint32_t i = 0; i < vocabulary; i++)
        likelier += logits[i] > own;
    *score = (struct token_score){(float)((double)own - log_sum), likelier + 1};
    uint32_t found = 0;
    if (alternative_count > 0)
        found = row_list_best(logits, vocabulary, log_sum, alternative_count, alternatives);
    for (; found < alternative_count; found++)
        alternatives[found] = (struct token_logprob){-1, -INFINITY};
    return STATUS_OK;
}
