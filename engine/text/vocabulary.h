#ifndef PENSTOCK_VOCABULARY_H
#define PENSTOCK_VOCABULARY_H

#include <stdint.h>

#include "hash.h"
#include "status.h"
#include "text_slice.h"
#include "tokenizer.h"

/* The tokens of a model: their texts as the file has them, the bytes they stand for, and the way
 * from a text to its id. A handful of
 * allocations whatever the count. Immutable after init. */

/* How a token's text stands for bytes. */
enum piece_kind {
    PIECE_ALPHABET,  /* GPT-2's: each byte is a printable character */
    PIECE_METASPACE, /* U+2581 is a space, <0x0A> the byte 0A */
    PIECE_WORDPIECE, /* ##ing goes on a word, anything else begins one */
    PIECE_PLAIN
};

#define VOCABULARY_TOKENS_MAX     (1u << 22)
#define VOCABULARY_TEXT_BYTES_MAX (1u << 30) /* all texts together */

struct vocabulary {
    uint32_t count;
    uint32_t longest_text;  /* bytes */
    char *texts;            /* owned; text i is [text_starts[i], text_starts[i + 1]) */
    uint32_t *text_starts;  /* owned, [count + 1] */
    char *pieces;           /* owned; the bytes that tokens stand for */
    uint32_t *piece_starts; /* owned, [count + 1] */
    uint8_t *attributes;    /* owned, [count] enum token_attribute */
    uint32_t *slots;        /* owned, [slot_mask + 1]: id + 1, 0 is free */
    uint32_t slot_mask;
    struct hash_key key;
    int32_t byte_ids[256]; /* token of a single byte (ALPHABET, METASPACE); -1: there is none */
};

/* What it is made of; borrowed during the call. */
struct vocabulary_source {
    enum piece_kind pieces;
    uint32_t token_count;
    const struct text_slice *tokens; /* [token_count] */
    const int32_t *attributes;       /* [token_count] enum token_attribute; NULL: all normal */
};

/* On failure nothing is left to deinit. STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
NODISCARD status vocabulary_init(struct vocabulary *v, const struct vocabulary_source *source,
                                 struct error_note *note);
void vocabulary_deinit(struct vocabulary *v);

struct text_slice vocabulary_text(const struct vocabulary *v, int32_t id);
struct text_slice vocabulary_piece(const struct vocabulary *v, int32_t id);

/* By the file's text; -1 when absent. The later of two equal texts wins, as in a dictionary. */
int32_t vocabulary_find(const struct vocabulary *v, struct text_slice text);

/* ALPHABET: the ordinary token that stands for exactly these bytes; -1: none, or a control token. */
int32_t vocabulary_find_word(const struct vocabulary *v, struct text_slice bytes);

static inline bool vocabulary_is_control(const struct vocabulary *v, int32_t id)
{
    return v->attributes[id] == TOKEN_CONTROL || v->attributes[id] == TOKEN_UNKNOWN;
}

#endif
