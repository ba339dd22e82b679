#ifndef PENSTOCK_ENGINE_SAMPLING_H
#define PENSTOCK_ENGINE_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

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

/* DRY (sample/dry.h). */
struct dry_params {
    float multiplier;        /* 0: off */
    float base;              /* >= 1 */
    uint32_t allowed_length; /* >= 1; shorter repetitions are free */
    int32_t last_n;          /* tokens of prompt and output that are looked at; 0: off; -1: all */
    const struct text_slice *breakers; /* [breaker_count] not empty; borrowed */
    uint32_t breaker_count;
};
#define DRY_BREAKERS_MAX 64u

/* Mirostat 2: keeps the surprise of the text near `tau` bits a token. Then top-k, top-p and their like do not count. */
struct mirostat_params {
    bool is_on;
    float tau; /* >= 0 */
    float eta; /* [0, 1] how fast it learns */
};

/* An output that only repeats itself is ended: when it ends in min_count copies of a run of tokens. */
struct repetition_params {
    uint32_t min_pattern, max_pattern; /* tokens of a run; min 0: 1; max 0: off */
    uint32_t min_count;                /* >= 2 */
};
#define REPETITION_PATTERN_MAX 4096u
#define REPETITION_COUNT_MAX   1024u

#define LOGPROBS_MAX         20u
#define TOKEN_RUN_LENGTH_MAX 1024u

struct sampling_params {
    float temperature; /* 0: greedy */
    float top_p;       /* (0, 1]; 1: off */
    float min_p;       /* [0, 1]; 0: off */
    int32_t top_k;     /* 0 or -1: off */
    /* sample/row_filter.h says what these do */
    float top_n_sigma;                    /* <= 0: off */
    float top_a;                          /* [0, 1]; 0: off */
    float typical_p;                      /* [0, 1]; 0 or 1: off */
    float xtc_probability, xtc_threshold; /* [0, 1]; probability 0 or threshold above 0.5: off */
    struct dry_params dry;
    struct mirostat_params mirostat;
    struct repetition_params repetition;
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
