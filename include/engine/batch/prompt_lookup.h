#ifndef PENSTOCK_ENGINE_BATCH_PROMPT_LOOKUP_H
#define PENSTOCK_ENGINE_BATCH_PROMPT_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"

/* Guesses what a sequence says next from what it has said before: where its last few tokens stand in its own prompt or
 * output already, it may go on as it did there. Answers that quote, summarise, translate code or edit a text do so for
 * long runs. Prompt lookup decoding (Saxena 2023), n-gram speculation in vLLM.
 *
 * A match is a place before the end where the `length_max` last tokens stood, else one fewer, down to `length_min`; of
 * several the latest. One that has just guessed right is followed on, however long it gets.
 *
 * A request may bring a prediction: what its client thinks the output will be. It is a text to look in like the prompt, but
 * comes before all others, and is where the output is taken to begin.
 *
 * Every run of length_min .. length_max tokens is in a table under its hash, with the place of its last occurrence: a
 * token costs a probe or two a length, whatever the text. The prompt's table is made once a request, on the thread that
 * submits it, and shared by its sequences; each sequence has one more for what ends in its own output.
 *
 * Memory: the arena's, at most 12 bytes a length and token. Nothing is allocated after the create functions. */

#define PROMPT_LOOKUP_LENGTH_MAX 16u /* of length_max */

/* The prompt's runs. Not changed once made; any thread. */
typedef struct prompt_index prompt_index;

struct prompt_index_options {
    const int32_t *prompt;           /* [prompt_count]; borrowed for the index's life */
    uint32_t prompt_count;           /* > 0 */
    uint32_t length_min, length_max; /* 1 <= min <= max <= PROMPT_LOOKUP_LENGTH_MAX */
    const int32_t *prediction;       /* [prediction_count]; copied */
    uint32_t prediction_count;       /* 0: none */
};
/* STATUS_OK or STATUS_NO_MEMORY; this too where prompt and prediction are beyond a billion tokens. */
NODISCARD status prompt_index_create(const struct prompt_index_options *options, arena *memory,
                                     prompt_index **out);

/* One sequence's. Thread: step, after its creation. */
typedef struct prompt_lookup prompt_lookup;

/* `index` and `outputs` ([output_count_max]) are borrowed for its life. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status prompt_lookup_create(const prompt_index *index, const int32_t *outputs,
                                      uint32_t output_count_max, arena *memory,
                                      prompt_lookup **out);

/* The sequence has one output more. True: it is the one that prompt_lookup_next said. */
bool prompt_lookup_append(prompt_lookup *l);

/* How many of the outputs the prediction has foretold, drafted or not. */
uint32_t prompt_lookup_predicted_count(const prompt_lookup *l);

/* The token that should come next; -1: no match. */
int32_t prompt_lookup_next(const prompt_lookup *l);
/* How many of the last tokens are those before the match, PROMPT_LOOKUP_RUN_MAX at most; 0: no match. */
#define PROMPT_LOOKUP_RUN_MAX 64u
uint32_t prompt_lookup_length(const prompt_lookup *l);

/* Writes the `count` tokens that should come next; there must be a match. Beyond the sequence's end they repeat what was
 * written before. */
void prompt_lookup_draft(const prompt_lookup *l, uint32_t count, int32_t *out);

#endif
