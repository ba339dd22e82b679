#ifndef PENSTOCK_BYTE_TOKENIZER_H
#define PENSTOCK_BYTE_TOKENIZER_H

#include "check.h"
#include "tokenizer.h"
#include "utf8.h"

/* A small vocabulary for tests: token b is the byte b, then come the texts of `words`, then one control token "<end>", which ends
 * the output. */

#define BYTE_TOKENIZER_WORDS_MAX 256u

/* GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from 256 on. */
static inline size_t byte_tokenizer_character(unsigned byte, char out[4])
{
    bool is_printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
                        (byte >= 0xAE && byte <= 0xFF);
    uint32_t code_point = 256;
    if (is_printable)
        return utf8_encode(byte, out);
    for (unsigned b = 0; b < byte; b++)
        code_point += !((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
    return utf8_encode(code_point, out);
}

static inline uint32_t byte_tokenizer_end(uint32_t word_count)
{
    return 256 + word_count;
}

/* The caller destroys it. */
static inline tokenizer *byte_tokenizer_create(const struct text_slice *words, uint32_t word_count)
{
    static char texts[256 + BYTE_TOKENIZER_WORDS_MAX][256];
    static struct text_slice tokens[256 + BYTE_TOKENIZER_WORDS_MAX + 1];
    static int32_t attributes[256 + BYTE_TOKENIZER_WORDS_MAX + 1];
    CHECK(word_count <= BYTE_TOKENIZER_WORDS_MAX);
    for (uint32_t i = 0; i < 256 + word_count; i++) {
        char byte = (char)i;
        struct text_slice word = i < 256 ? (struct text_slice){&byte, 1} : words[i - 256];
        size_t used = 0;
        CHECK(word.bytes <= 60);
        for (size_t at = 0; at < word.bytes; at++)
            used += byte_tokenizer_character((uint8_t)word.data[at], texts[i] + used);
        tokens[i] = (struct text_slice){texts[i], used};
        attributes[i] = TOKEN_NORMAL;
    }
    uint32_t end = byte_tokenizer_end(word_count);
    tokens[end] = text_slice_of("<end>");
    attributes[end] = TOKEN_CONTROL;
    struct tokenizer_source source = {.kind = "gpt2",
                                      .pre = "gpt-2",
                                      .token_count = end + 1,
                                      .tokens = tokens,
                                      .attributes = attributes,
                                      .bos = -1,
                                      .eos = (int32_t)end,
                                      .eot = -1,
                                      .unknown = -1,
                                      .padding = -1};
    tokenizer *t = NULL;
    struct error_note note = {""};
    status s = tokenizer_create(&source, &t, &note);
    CHECK(s == STATUS_OK);
    return t;
}

#endif
