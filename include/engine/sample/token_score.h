#ifndef PENSTOCK_ENGINE_TOKEN_SCORE_H
#define PENSTOCK_ENGINE_TOKEN_SCORE_H

#include "sampling.h"
#include "status.h"

/* How likely a row of logits makes a token: the natural log of its share of the unmodified distribution, what
 * temperature, penalties and bans would make of it left aside. Pure: any thread. */

/* Of a token that was there before the row was computed: one of a prompt. */
struct token_score {
    float logprob; /* NaN: nothing is known, as of a prompt's first token */
    uint32_t rank; /* 1: no other is likelier; 0 with NaN */
};

/* The log of the row's sum of exponentials; a logit less this is a log probability. logits: [vocabulary] f32.
 * STATUS_INTERNAL: the row has a NaN or +inf, or allows no token at all. */
NODISCARD status row_log_sum(const float *logits, uint32_t vocabulary, double *out);

/* The `count` (0 .. LOGPROBS_MAX) likeliest tokens, best first; of equal ones the lowest id first. Returns how many there
 * are: fewer only where the vocabulary is smaller. */
uint32_t row_list_best(const float *logits, uint32_t vocabulary, double log_sum, uint32_t count,
                       struct token_logprob *out);

/* Scores `token`, and lists the `alternative_count` likeliest ones; places of `alternatives` that are left over get token
 * -1. STATUS_INTERNAL as row_log_sum; the results are untouched then. */
NODISCARD status row_score_token(const float *logits, uint32_t vocabulary, int32_t token,
                                 uint32_t alternative_count, struct token_score *score,
                                 struct token_logprob *alternatives);

#endif
