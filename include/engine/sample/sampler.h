#ifndef PENSTOCK_ENGINE_SAMPLE_SAMPLER_H
#define PENSTOCK_ENGINE_SAMPLE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "sampling.h"
#include "status.h"

/* Turns one row of logits into one token. One sampler a sequence: what the client asked for, and how often each token
 * came (only if a penalty needs it). The draw is a pure function of (seed, index, position), the logits and
 * the tokens so far, so a sequence says the same whatever else is in the batch, and after a preemption.
 *
 * Order: logprobs of the row as it came; then what is allowed; logit bias; repetition, presence and frequency penalties; DRY; bans; end
 * tokens banned before min_tokens; temperature; top-n-sigma; top-k; top-a; typicality; top-p over what those left; min-p;
 * XTC; draw. Mirostat stands for all from top-n-sigma on. Temperature 0 takes the highest logit, of equal ones the lowest id,
 * and skips what follows temperature.
 *
 * Thread: one at a time per sampler; different samplers on any threads. Allocates only in sampler_create. */
typedef struct sampler sampler;

/* The text of a token, where it is asked for: DRY looks for breakers in it. */
typedef struct text_slice sampler_piece_fn(const void *context, int32_t token);

/* STATUS_OK when every field is in range: else STATUS_INVALID, and the note names the field, its range and what came. */
NODISCARD status sampling_params_check(const struct sampling_params *params, uint32_t vocabulary,
                                       struct error_note *note);

struct sampler_options {
    const struct sampling_params
        *params; /* checked; copied, the arrays in it are borrowed for the sampler's life */
    uint32_t vocabulary;
    uint32_t index;        /* which of the request's n sequences */
    const int32_t *prompt; /* [prompt_count]; read during sampler_create only */
    uint32_t prompt_count;
    uint32_t output_count_max;
    const int32_t *end_tokens; /* the model's; borrowed for the sampler's life */
    uint32_t end_token_count;
    /* Bit t % 32 of word t / 32 tells whether token t may be chosen; read by every sample. NULL: all may. Borrowed for the
     * sampler's life. */
    const uint32_t *allowed;
    sampler_piece_fn *piece; /* needed only where DRY has breakers */
    const void *piece_context;
};

/* The sampler lives in `memory`. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status sampler_create(const struct sampler_options *options, arena *memory,
                                sampler **out);

struct sample {
    int32_t token;
    float logprob;              /* NaN unless asked for */
    uint32_t alternative_count; /* best first; of equal ones the lowest id first */
    struct token_logprob alternatives[LOGPROBS_MAX];
};

/* Samples the token of `position` (tokens before it), the sequence's output number `output_count` (from 0).
 * logits: [vocabulary] f32; changed during the call, and as they were when it returns. STATUS_INTERNAL: the row has
 * a NaN or +inf, or allows no token at all; STATUS_UNSUPPORTED: what is allowed and what the client wishes leave no token;
 * `out` is untouched. */
NODISCARD status sampler_sample(sampler *s, float *logits, uint32_t position, uint32_t output_count,
                                struct sample *out);

/* The sample of a token that is given, with what `logits` ([vocabulary] f32) say of it: STATUS_OK or STATUS_INTERNAL as above. */
NODISCARD status sampler_force(const sampler *s, const float *logits, int32_t token,
                               struct sample *out);

/* The token became part of the output: what looks at the text so far knows it from now on. */
void sampler_accept(sampler *s, int32_t token);

/* The output, of at least min_tokens, repeats itself as params.repetition forbids. */
bool sampler_output_loops(const sampler *s);

/* Does this token end the sequence (one of the model's, unless ignore_eos; or one of stop_tokens)? */
bool sampler_token_ends(const sampler *s, int32_t token);

#endif
