#ifndef PENSTOCK_ENGINE_SAMPLE_TOKEN_HISTORY_H
#define PENSTOCK_ENGINE_SAMPLE_TOKEN_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "sampling.h"

/* The last tokens of one sequence: the end of its prompt, where somebody looks at that, and its outputs. */
struct token_history {
    int32_t *tokens;       /* [max], in the arena; oldest first */
    uint32_t count, max;   /* max 0: nobody looks at it */
    uint32_t output_count; /* of all outputs so far; those that are still here are the last ones */
};

/* Room for the last `max` tokens. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status token_history_init(struct token_history *h, uint32_t max, arena *memory);

void token_history_add(struct token_history *h, int32_t token, bool is_output);

/* The last outputs are these tokens, which may be none. */
bool token_history_ends_with(const struct token_history *h, const int32_t *tokens, uint32_t count);

/* The output ends in min_count copies of one run of min_pattern to max_pattern tokens. */
bool token_history_loops(const struct token_history *h, const struct repetition_params *params);

#endif
