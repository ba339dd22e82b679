#ifndef PENSTOCK_UNICODE_CLASS_H
#define PENSTOCK_UNICODE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "utf8.h"

/* What a pre-tokenizer may ask of a character. The tables are generated
 * (tools/make_unicode_tables.py) so that every answer is the one of the `tokenizers` library. */
enum unicode_flag {
    UNICODE_LETTER = 1 << 0,      /* \p{L} */
    UNICODE_NUMBER = 1 << 1,      /* \p{N} of the regex engine */
    UNICODE_PUNCTUATION = 1 << 2, /* \p{P} */
    UNICODE_SYMBOL = 1 << 3,      /* \p{S} */
    UNICODE_MARK = 1 << 4,        /* \p{M} */
    UNICODE_SPACE = 1 << 5,       /* \s */
    UNICODE_DIGIT =
        1 << 6, /* the Digits pre-tokenizer: Nd, Nl, No of a newer Unicode than NUMBER's */
    UNICODE_UPPER = 1 << 7, /* Lu Lt Lm Lo M: what may stand in the upper-case part of a word */
    UNICODE_LOWER = 1 << 8, /* Ll Lm Lo M: what may stand in the lower-case part */
    UNICODE_HAN = 1 << 9,   /* \p{Han} */
    UNICODE_WORD = 1 << 10, /* \w of the Whitespace pre-tokenizer (Rust's) */
    UNICODE_WHITESPACE = 1 << 11, /* where the WhitespaceSplit and BERT pre-tokenizers split */
    UNICODE_BERT_PUNCTUATION = 1 << 12, /* what the BERT pre-tokenizer sets apart */
    UNICODE_BERT_REMOVED = 1 << 13,     /* what the BERT normalizer's cleaning takes out */
    UNICODE_BERT_ACCENT = 1 << 14,      /* what its strip_accents takes out after NFD */
    UNICODE_ACCENT = 1 << 15,           /* what the StripAccents normalizer takes out */
};

#define UNICODE_BLOCK_CODE_POINTS 128u

extern const uint16_t unicode_class_flags[];
extern const uint16_t unicode_block_of[];      /* [0x110000 / UNICODE_BLOCK_CODE_POINTS] */
extern const uint8_t unicode_class_in_block[]; /* [block][UNICODE_BLOCK_CODE_POINTS] */

/* One character of a text that may be broken UTF-8: an invalid byte is a character of its own
 * without any flag. */
struct text_character {
    uint32_t code_point; /* UINT32_MAX for an invalid byte */
    uint16_t flags;
    uint8_t bytes; /* 1..4 */
};

static inline uint16_t unicode_flags(uint32_t code_point)
{
    uint32_t block = unicode_block_of[code_point / UNICODE_BLOCK_CODE_POINTS];
    uint32_t at = block * UNICODE_BLOCK_CODE_POINTS + code_point % UNICODE_BLOCK_CODE_POINTS;
    return unicode_class_flags[unicode_class_in_block[at]];
}

/* `at` < `end`. */
static inline struct text_character text_character_at(const char *text, size_t at, size_t end)
{
    uint8_t first = (uint8_t)text[at];
    if (first < 0x80)
        return (struct text_character){first, unicode_flags(first), 1};
    uint32_t code_point = 0;
    size_t bytes = utf8_decode(text + at, end - at, &code_point);
    if (bytes == 0)
        return (struct text_character){UINT32_MAX, 0, 1};
    return (struct text_character){code_point, unicode_flags(code_point), (uint8_t)bytes};
}

#endif
