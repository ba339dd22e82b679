#ifndef PENSTOCK_ENGINE_SAMPLE_TOKEN_COUNTS_H
#define PENSTOCK_ENGINE_SAMPLE_TOKEN_COUNTS_H

#include <stdint.h>

#include "arena.h"
#include "status.h"

/* How often each token came in one sequence. Sparse: a list of the tokens that came, in order of
 * first appearance, and a hash index into it; a step walks the list, never the vocabulary. */
struct token_count {
    int32_t token;
    uint32_t outputs; /* 0: only in the prompt */
};

struct token_counts {
    struct token_count *entries; /* [distinct_max], in the arena */
    uint32_t count, distinct_max;
    uint32_t *index; /* [mask + 1]: entry number + 1, 0: empty; linear probing, load <= 1/2 */
    uint32_t mask;
};

/* Room for `distinct_max` (>= 1) different tokens. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status token_counts_init(struct token_counts *counts, uint32_t distinct_max,
                                   arena *memory);

/* Adds `outputs` (0 or 1) to the token's count, making its entry if it is new. */
void token_counts_add(struct token_counts *counts, int32_t token, uint32_t outputs);

#endif
