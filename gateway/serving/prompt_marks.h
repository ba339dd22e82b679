#ifndef PENSTOCK_SERVING_PROMPT_MARKS_H
#define PENSTOCK_SERVING_PROMPT_MARKS_H

#include "prefix_marks.h"
#include "prompt_chunks.h"
#include "tokenizer.h"

/* In which block of its prompt each chunk of a request's text ends, so that the engine can keep the chunk's name beside it.
 * The gateway cuts the body; the prompt is what the chat template made of it, in tokens. The strings of the body
 * are looked for in the rendered text, in order, and the tokens are laid along it. Where that fails (a template that
 * rewrites what it is given, a tokenizer that does) fewer marks are made, never wrong ones: a mark says only that all tokens up to
 * the end of its block come from the text up to the end of its chunk. */

/* `rendered` is the text that the `token_count` tokens are of; `out` has prompt_chunk_count. Returns how many
 * marks there are; blocks rise. Scratch is taken from the heap; without memory there are none. Any thread. */
uint32_t prompt_marks_make(const struct prompt_text *text, uint64_t root,
                           struct text_slice rendered, const tokenizer *t, const int32_t *tokens,
                           size_t token_count, struct prefix_mark *out);

/* The part of it that needs no tokens: for each chunk how many bytes of `rendered` follow from the body up to the
 * chunk's end; `ends` has prompt_chunk_count. */
void prompt_marks_align(const struct prompt_text *text, struct text_slice rendered, size_t *ends);

#endif
