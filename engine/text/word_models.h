#ifndef PENSTOCK_WORD_MODELS_H
#define PENSTOCK_WORD_MODELS_H

#include "bpe.h"
#include "token_output.h"
#include "vocabulary.h"

/* How a word becomes tokens, in each of the ways that vocabularies are made for. Immutable once
 * filled: any thread. Semantics: the models of the `tokenizers` library. */
enum word_model_kind {
    WORD_MODEL_BYTE_PAIRS,      /* byte-level BPE: every byte has a token */
    WORD_MODEL_CHARACTER_PAIRS, /* BPE over characters; bytes or `unknown` for one without a token */
    WORD_MODEL_WORDPIECE, /* greedy longest match; `unknown` for a word that does not divide */
    WORD_MODEL_UNIGRAM    /* the most probable division */
};

#define WORDPIECE_CHARACTERS_DEFAULT 100u

struct word_model {
    enum word_model_kind kind;
    int32_t unknown; /* -1: none; a character without a token is left out then */
    bool falls_back_to_bytes, fuses_unknown;
    bool ignores_merges;
    struct bpe_table merges; /* owned; *_PAIRS */
    uint32_t characters_max; /* WORDPIECE: a longer word is unknown */
    struct bpe_table trie;   /* owned; UNIGRAM: (node, byte) -> node, whose rank is its token + 1 */
    double *scores;          /* owned; UNIGRAM: [token count] */
    double unknown_score;
};

void word_model_deinit(struct word_model *m);

/* Builds `trie` and takes over the scores of all tokens that a text may contain. STATUS_NO_MEMORY. */
NODISCARD status unigram_init(struct word_model *m, const struct vocabulary *v,
                              const double *scores);

/* Memory of one encode; grows to its longest word. Zero-initialised at start. */
struct word_scratch {
    struct bpe_scratch pairs;
    struct unigram_node *nodes; /* owned */
    size_t node_capacity;
};
void word_scratch_deinit(struct word_scratch *scratch);

/* Appends the word's ids. STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
NODISCARD status word_model_encode(const struct word_model *m, const struct vocabulary *v,
                                   struct text_slice word, struct word_scratch *scratch,
                                   struct token_list *out);
NODISCARD status wordpiece_encode(const struct word_model *m, const struct vocabulary *v,
                                  struct text_slice word, struct token_list *out);
NODISCARD status unigram_encode(const struct word_model *m, const struct vocabulary *v,
                                struct text_slice word, struct word_scratch *scratch,
                                struct token_list *out);

/* The ids of a character that no token stands for: its bytes', or `unknown`. *is_unknown: the latter
 * (which a list that ends with one already need not have again). */
NODISCARD status word_model_add_missing(const struct word_model *m, const struct vocabulary *v,
                                        struct text_slice character, bool *is_unknown,
                                        struct token_list *out);

#endif
