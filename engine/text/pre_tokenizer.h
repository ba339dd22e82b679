#ifndef PENSTOCK_PRE_TOKENIZER_H
#define PENSTOCK_PRE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

/* Cuts text into the words inside which byte pairs are merged. Each model family was trained with
 * its own regular expressions; they are known by the names that GGUF files use (tokenizer.ggml.pre)
 * and matched here by hand-written code in linear time. Sources: the tokenizer.json files of the
 * models, and for the names llama.cpp's src/llama-vocab.cpp. Immutable, static: any thread. */
struct pre_tokenizer;

/* NULL when the name is unknown. NULL or "" means "default". */
const struct pre_tokenizer *pre_tokenizer_find(const char *name);

/* True when a word that is a token of its own is taken whole, whatever the merges say. */
bool pre_tokenizer_ignores_merges(const struct pre_tokenizer *pre);

typedef void word_fn(void *context, size_t start, size_t end);

/* Calls `on_word` for each word of text[start, end), in order, without gaps; offsets are into
 * `text`. */
void pre_tokenizer_split(const struct pre_tokenizer *pre, const char *text, size_t start,
                         size_t end, word_fn *on_word, void *context);

#endif
