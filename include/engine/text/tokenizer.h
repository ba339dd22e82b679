#ifndef PENSTOCK_ENGINE_TOKENIZER_H
#define PENSTOCK_ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* Text <-> token ids, exactly as the model was trained. Immutable after creation: any thread may use it, no locks.
 * Byte-level BPE with the pre-tokenizer that the file names, SentencePiece BPE and Unigram, WordPiece; from GGUF here, from
 * Hugging Face folders by tokenizer_folder.h. Oracle: the `tokenizers` library. */
typedef struct tokenizer tokenizer;

enum token_attribute { /* GGUF tokenizer.ggml.token_type */
                       TOKEN_NORMAL = 1,
                       TOKEN_UNKNOWN = 2,
                       TOKEN_CONTROL = 3,
                       TOKEN_USER_DEFINED = 4,
                       TOKEN_UNUSED = 5,
                       TOKEN_BYTE = 6
};

/* What a model file says about its vocabulary. Borrowed during tokenizer_create only; the tokenizer copies. */
struct tokenizer_source {
    /* "gpt2": byte-level BPE; "llama": SentencePiece BPE by scores; "bert": WordPiece; "t5": SentencePiece Unigram */
    const char *kind;
    const char *pre; /* of "gpt2": "smollm", "gpt-2", "llama-bpe", "qwen2", ... */
    uint32_t token_count;
    const struct text_slice *tokens; /* [token_count] */
    const int32_t *attributes;       /* [token_count] enum token_attribute; NULL: all normal */
    const float *scores;             /* [token_count] or NULL */
    uint32_t merge_count;
    const struct text_slice *merges;         /* "left right" */
    int32_t bos, eos, eot, unknown, padding; /* -1: none */
    bool add_bos, add_eos, add_space_prefix;
};

/* STATUS_INVALID / STATUS_UNSUPPORTED with a note; STATUS_NO_MEMORY. */
NODISCARD status tokenizer_create(const struct tokenizer_source *source, tokenizer **out,
                                  struct error_note *note);
void tokenizer_destroy(tokenizer *t);

/* A byte range of a text. */
struct text_span {
    size_t start, end;
};

struct token_list {
    int32_t *ids; /* owned (malloc) */
    size_t count;
    size_t capacity;
    size_t count_max; /* ceiling; encode answers STATUS_TOO_LARGE past it */
};
void token_list_init(struct token_list *list, size_t count_max);
void token_list_deinit(struct token_list *list);
/* STATUS_TOO_LARGE at the ceiling, STATUS_NO_MEMORY. */
NODISCARD status token_list_append(struct token_list *list, int32_t id);

/* Appends the ids of `text`. Control tokens ("<|im_start|>") are recognised only where they lie wholly inside one of
 * `trusted` (rising, not overlapping): what the template wrote is trusted, what a user wrote stays text. Ordinary text is
 * tokenised across the borders of spans, so the ids are those of the whole text. `add_special` adds BOS/EOS where the
 * model asks for it. Broken UTF-8 is encoded byte by byte. STATUS_TOO_LARGE, STATUS_NO_MEMORY. Linear time up to a log
 * factor, whatever the text. */
NODISCARD status tokenizer_encode(const tokenizer *t, struct text_slice text,
                                  const struct text_span *trusted, size_t trusted_count,
                                  bool add_special, struct token_list *out);

/* The ids of two texts for a model that reads pairs (cross-encoders), as the model was trained: for BERT [CLS] first [SEP]
 * second [SEP]. No control tokens are recognised in either. *second_start: the index in `out` from which ids belong to the
 * second text; out->count where the model does not tell them apart. pair_max > 0: the longer text is cut until all fits.
 * STATUS_UNSUPPORTED: the tokenizer says nothing about pairs; else as tokenizer_encode. */
NODISCARD status tokenizer_encode_pair(const tokenizer *t, struct text_slice first,
                                       struct text_slice second, size_t pair_max,
                                       struct token_list *out, size_t *second_start);

/* Cuts a list that tokenizer_encode made with add_special down to `count_max`, keeping what the model has at the end. */
void tokenizer_truncate(const tokenizer *t, struct token_list *list, size_t count_max);

/* The bytes of a token (a piece may be part of a character); control tokens have their text only if `with_control`, else
 * nothing. Borrowed for the tokenizer's life. An id out of range gives an empty slice. */
struct text_slice tokenizer_piece(const tokenizer *t, int32_t id, bool with_control);

/* Appends the pieces of `ids`, a whole text: without the space that SentencePiece and WordPiece put before its first word. */
void tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t count, bool with_control,
                      struct buffer *out);

uint32_t tokenizer_token_count(const tokenizer *t);
int32_t tokenizer_bos(const tokenizer *t); /* -1: none */
int32_t tokenizer_eos(const tokenizer *t);
bool tokenizer_is_end(const tokenizer *t, int32_t id); /* EOS, EOT and their kin: ends generation */
bool tokenizer_is_control(const tokenizer *t, int32_t id);
/* -1 when no token has exactly this text. */
int32_t tokenizer_find(const tokenizer *t, struct text_slice text);

#endif
