#ifndef PENSTOCK_PRE_TOKENIZER_H
#define PENSTOCK_PRE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "text_slice.h"

/* Cuts text into the words that a vocabulary's model works on. Each model family was trained with
 * its own regular expressions; they are known by the names that GGUF files use (tokenizer.ggml.pre)
 * or by their text in tokenizer.json, and matched here by hand-written code in linear time. Beside
 * them stand the splitters of the `tokenizers` library. Sources: the tokenizer.json files of the
 * models, and for the names llama.cpp's src/llama-vocab.cpp. A plain value; immutable once filled:
 * any thread. */

/* Tries a stage's expression at text[at] (at < end). Returns the match's end, or `at` when none
 * begins there; then *skip (preset to the next character) may be moved to the first place after
 * `at` where one may begin. */
typedef size_t match_fn(const char *text, size_t at, size_t end, const void *rules, size_t *skip);

enum pre_stage_kind {
    PRE_STAGE_SPLIT,   /* at matches of an expression */
    PRE_STAGE_LITERAL, /* at a text */
    PRE_STAGE_PREFIX   /* no split: puts `text` in front, and in the place of spaces */
};

/* What becomes of a match: the `tokenizers` library's SplitDelimiterBehavior. */
enum split_behaviour {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_CONTIGUOUS,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT
};

enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

#define PRE_TEXT_BYTES_MAX 32u
struct pre_stage {
    enum pre_stage_kind kind;
    match_fn *match;   /* SPLIT */
    const void *rules; /* static */
    enum split_behaviour behaviour;
    bool inverts;                  /* what lies between matches counts as the match */
    char text[PRE_TEXT_BYTES_MAX]; /* LITERAL, PREFIX */
    size_t text_bytes;
    enum prepend_scheme
        prepend; /* PREFIX; not before a piece that begins with the text or a space */
    bool replaces_spaces;
};

#define PRE_STAGES_MAX 12u
struct pre_tokenizer {
    struct pre_stage stages[PRE_STAGES_MAX];
    uint32_t stage_count;
};

/* The stages of a family. *ignores_merges: a word that is a token of its own is taken whole,
 * whatever the merges say. False when the name is unknown; NULL or "" means "default". */
bool pre_tokenizer_named(const char *name, struct pre_tokenizer *out, bool *ignores_merges);

/* Fills kind, match and rules of a stage; false: the expression is not among those known. */
bool pre_tokenizer_expression(struct text_slice expression, struct pre_stage *out);

enum pre_class {
    PRE_CLASS_GPT2,
    PRE_CLASS_DIGIT,       /* one */
    PRE_CLASS_DIGITS,      /* a run */
    PRE_CLASS_WHITESPACE,  /* one */
    PRE_CLASS_PUNCTUATION, /* one */
    PRE_CLASS_WORD_OR_SIGN /* \w+|[^\w\s]+ */
};
void pre_tokenizer_class(enum pre_class which, struct pre_stage *out);

/* Memory of PREFIX stages. One user at a time. */
struct pre_scratch {
    struct buffer texts[PRE_STAGES_MAX];
};
void pre_scratch_init(struct pre_scratch *scratch, size_t bytes_max);
void pre_scratch_deinit(struct pre_scratch *scratch);

typedef void word_fn(void *context, struct text_slice word);

/* Calls `on_word` for each word of `text`, in order; a word lies in `text`, or in `scratch` until the
 * call returns. `is_text_start`: the text begins what was to be encoded. STATUS_TOO_LARGE and
 * STATUS_NO_MEMORY from the scratch. */
NODISCARD status pre_tokenizer_split(const struct pre_tokenizer *pre, struct text_slice text,
                                     bool is_text_start, struct pre_scratch *scratch,
                                     word_fn *on_word, void *context);

#endif
