#ifndef PENSTOCK_ENGINE_SAMPLE_DRY_H
#define PENSTOCK_ENGINE_SAMPLE_DRY_H

#include "sampler.h"
#include "token_history.h"

/* DRY, "don't repeat yourself": what would go on with a repetition is made the less likely the longer the repetition is.
 * Weidmann 2024, in text-generation-webui. Where the text ends with the L tokens that stood before an earlier token t, and
 * L >= allowed_length, the logit of t loses multiplier * base^(L - allowed_length); of several such places the longest
 * counts. No repetition reaches over a breaker, and tokens that hold a breaker lose nothing, as in llama.cpp; but a breaker
 * is found in the text, in whatever tokens it is written.
 *
 * One sequence's; one thread at a time; allocates in dry_init only. */
struct dry_repeat {
    int32_t token;
    uint32_t length; /* L */
};

struct dry {
    const struct dry_params *params; /* borrowed */
    sampler_piece_fn *piece;         /* the text of a token */
    const void *context;
    uint32_t *matched;          /* [breaker_count] how much of each breaker the text ends with */
    uint32_t since_breaker;     /* tokens after the last one that a breaker was found in */
    uint32_t *common;           /* [window_max] */
    uint32_t *longest;          /* [vocabulary] 0 between the calls */
    struct dry_repeat *repeats; /* [repeat_max] */
    uint32_t repeat_max;
};

/* `window_max`: the most tokens that its history will hold. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status dry_init(struct dry *d, const struct dry_params *params, uint32_t window_max,
                          uint32_t vocabulary, arena *memory);

/* The token became part of the text. */
void dry_accept(struct dry *d, int32_t token);

/* The tokens that would go on with a repetition, each once, in d->repeats. Returns how many. Linear in the history. */
uint32_t dry_find(struct dry *d, const struct token_history *history);

/* What the logit of such a token loses; finite. */
float dry_penalty(const struct dry_params *params, uint32_t length);

#endif
