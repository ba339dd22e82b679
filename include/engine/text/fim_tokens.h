#ifndef PENSTOCK_ENGINE_FIM_TOKENS_H
#define PENSTOCK_ENGINE_FIM_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "tokenizer.h"

/* The tokens around a text whose middle is to be filled in (Bavarian et al. 2022, "Efficient training of language models
 * to fill in the middle"): prefix-token, text before, suffix-token, text after, middle-token, and then the model writes. */
struct fim_tokens {
    int32_t prefix, suffix, middle; /* -1: none */
};

/* Finds those that are not yet set by the names that they have in the vocabularies of known models (the list is that of
 * llama.cpp, src/llama-vocab.cpp). True: all three are there. */
bool fim_tokens_complete(const tokenizer *t, struct fim_tokens *tokens);

#endif
