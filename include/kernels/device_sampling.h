#ifndef PENSTOCK_KERNELS_DEVICE_SAMPLING_H
#define PENSTOCK_KERNELS_DEVICE_SAMPLING_H

#include <stdint.h>

/* What the engine asks of a device that chooses tokens itself, and what it gets back. A sample is one token chosen from one
 * row of logits. The device chooses what engine/sample/sampler.h would choose of the same row and wishes; it knows only
 * those wishes that are named here. */

#define DEVICE_ALTERNATIVES_MAX 20u
#define DEVICE_BIASES_MAX       1024u
#define DEVICE_SAMPLE_NONE      UINT32_MAX

/* One sample of a step. Plain data: it is copied to the device as it is. */
struct device_sample {
    uint32_t logit_row; /* of the step's logits; several samples may read one row */
    uint32_t slot;  /* whose wishes sampling_state_set has given; DEVICE_SAMPLE_NONE: it has none */
    uint32_t mask;  /* number of the mask of allowed tokens; DEVICE_SAMPLE_NONE: all are */
    uint32_t index; /* which of the request's n sequences */
    uint32_t position;     /* tokens before it */
    uint32_t output_count; /* outputs before it */
    uint32_t top_k;        /* 0: off */
    int32_t logprobs; /* -1: none; else so many alternatives, at most DEVICE_ALTERNATIVES_MAX */
    uint64_t seed;
    float temperature; /* 0: the highest logit, of equal ones the lowest id */
    float top_p;       /* (0, 1]; 1: off */
    float min_p;       /* [0, 1]; 0: off */
    uint32_t unused;   /* 0 */
};

struct device_logit_bias {
    int32_t token;
    float bias; /* -100 or less bans */
};

/* The wishes of one sequence, and the tokens that they count, until the next state of the same slot. The device itself adds
 * each token that it gives. Tokens are all inside the vocabulary. Host arrays, borrowed during the call. */
struct device_sampling_state {
    float repetition_penalty;                  /* > 0; 1: off. Over prompt and outputs */
    float presence_penalty, frequency_penalty; /* 0: off. Over outputs */
    uint32_t min_tokens;                       /* with so few outputs, none of `held` is chosen */
    const struct device_logit_bias *biases;    /* added in this order */
    uint32_t bias_count;                       /* at most DEVICE_BIASES_MAX */
    const int32_t *held;
    uint32_t held_count;
    const int32_t *prompt; /* read only with a repetition penalty; may be empty without */
    uint32_t prompt_count;
    const int32_t *outputs; /* so far */
    uint32_t output_count;
};

struct device_alternative {
    int32_t token;
    float logprob;
};

struct device_sample_result {
    int32_t token;
    float logprob; /* of the row as it came, natural; NaN unless asked for */
    /* STATUS_OK; STATUS_INTERNAL: the row is broken or allows nothing; STATUS_UNSUPPORTED: mask and wishes leave nothing. Then the
     * rest means nothing, but that the token is one of the vocabulary. */
    uint32_t status;
    uint32_t alternative_count; /* best first; of equal ones the lowest id first */
    struct device_alternative alternatives[DEVICE_ALTERNATIVES_MAX];
};

#endif
