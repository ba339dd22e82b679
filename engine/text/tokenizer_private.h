#ifndef PENSTOCK_TOKENIZER_PRIVATE_H
#define PENSTOCK_TOKENIZER_PRIVATE_H

#include "special_trie.h"
#include "tokenizer_plan.h"

/* The built tokenizer: tokenizer_build.c makes it, tokenizer.c uses it. */
struct tokenizer {
    struct vocabulary vocabulary;
    struct special_trie specials;            /* found in the text as it comes */
    struct special_trie normalized_specials; /* found in the normalized text */
    uint8_t *special_flags;                  /* owned, [token_count], or NULL: all 0 */
    struct normalizer normalizer;            /* owned */
    struct pre_tokenizer pre;
    struct word_model model; /* owned */
    struct token_frame frame;
    int32_t bos, eos;
    bool strips_first_space;
    uint8_t *ends; /* owned, [token_count]: 1 when the token ends generation */
};

#endif
