#ifndef PENSTOCK_ENGINE_SAMPLING_H
#define PENSTOCK_ENGINE_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

/* What a client may ask of the sampler. */

struct logit_bias {
    int32_t token;
    float bias; /* -100 bans, 100 forces */
};

/* Tokens one after the other. */
struct token_run {
    const int32_t *tokens; /* [count]; borrowed */
    uint32_t count;        /* > 0 */
};

#define LOGPROBS_MAX         20u
#define TOKEN_RUN_LENGTH_MAX 1024u

struct sampling_params {
    float temperature;        /* 0: greedy */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1]; 0: off */
    int32_t top_k;            /* 0 or -1: off */
    float repetition_penalty; /* > 0; 1: off. Over prompt and output (CTRL, Keskar et al. 2019) */
    float presence_penalty, frequency_penalty; /* OpenAI's; over the output only */
    uint64_t seed; /* always set: the front end draws one where the client gave none */
    const struct logit_bias *biases; /* borrowed */
    uint32_t bias_count;
    /* -1: none; else this many alternatives (0..20) beside the chosen token's own */
    int32_t logprobs;
    uint32_t min_tokens; /* end tokens and stops are held off until then */
    bool ignore_eos;
    const int32_t *stop_tokens; /* borrowed */
    uint32_t stop_token_count;
    const int32_t *allowed_tokens; /* no other is ever chosen; borrowed; NULL: all may be */
    uint32_t allowed_token_count;
    const struct token_run *bans; /* the output never contains one of these; borrowed */
    uint32_t ban_count;
};

struct token_logprob {
    int32_t token;
    /* natural log, of the unmodified distribution (before temperature and penalties) */
    float logprob;
};

#endif
