#ifndef PENSTOCK_TOKENIZER_PLAN_H
#define PENSTOCK_TOKENIZER_PLAN_H

#include "normalizer.h"
#include "pre_tokenizer.h"
#include "tokenizer.h"
#include "vocabulary.h"
#include "word_models.h"

/* A tokenizer before it is built: what a model file says, whichever kind of file it is. The readers
 * fill one; tokenizer_build checks it and makes the object. */

/* How a special token is found in text, beside its text. */
enum special_flag {
    SPECIAL_TAKES_LEFT = 1 << 0,  /* with the white space before it */
    SPECIAL_TAKES_RIGHT = 1 << 1, /* with the white space after it */
    SPECIAL_WHOLE_WORD = 1 << 2,  /* only where no word character touches it */
    SPECIAL_NORMALIZED = 1 << 3   /* in the normalized text */
};

/* What the model wants around one text, and around two. */
#define FRAME_IDS_MAX 16u
struct token_frame {
    int32_t before[FRAME_IDS_MAX], after[FRAME_IDS_MAX];
    uint32_t before_count, after_count;
    /* two texts: the ids before the first are `before`; those between, of which the first
     * `between_first_count` belong to the first text; those after the second */
    int32_t between[FRAME_IDS_MAX], last[FRAME_IDS_MAX];
    uint32_t between_count, between_first_count, last_count;
    bool has_pair, tells_texts_apart; /* by the segment ids 0 and 1 */
};

struct merge_texts {
    struct text_slice left, right;
};

/* Texts and arrays are borrowed during tokenizer_build; normalizer is taken over on success. */
struct tokenizer_plan {
    struct vocabulary_source vocabulary;
    const uint8_t *special_flags; /* [token_count] or NULL */
    struct normalizer normalizer;
    struct pre_tokenizer pre;
    enum word_model_kind model;
    const struct merge_texts *merges; /* *_PAIRS; NULL with scores: from the scores */
    uint32_t merge_count;
    const double *scores; /* [token_count]; UNIGRAM, or CHARACTER_PAIRS without merges */
    bool falls_back_to_bytes, fuses_unknown, ignores_merges;
    uint32_t characters_max;                 /* WORDPIECE */
    int32_t bos, eos, eot, unknown, padding; /* -1: none */
    struct token_frame frame;
    const int32_t *ends; /* more tokens that end a generation */
    uint32_t end_count;
    bool strips_first_space; /* decoding a whole text leaves out the space it begins with */
};

/* STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NO_MEMORY; a note with the first two. */
NODISCARD status tokenizer_build(struct tokenizer_plan *plan, tokenizer **out,
                                 struct error_note *note);

/* BOS and EOS around one text, and around each of two. */
void token_frame_simple(struct token_frame *frame, int32_t before, int32_t after);

#endif
