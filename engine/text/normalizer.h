#ifndef PENSTOCK_NORMALIZER_H
#define PENSTOCK_NORMALIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "text_slice.h"
#include "unicode_normal.h"

/* What a tokenizer does to a text before it cuts it: steps that each make a new text. Immutable once
 * filled: any thread. Semantics: the normalizers of the `tokenizers` library. */

enum normalizer_kind {
    NORMALIZER_FORM, /* one of Unicode's */
    NORMALIZER_LOWER,
    NORMALIZER_STRIP,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_PREPEND,     /* `to` before a text that is not empty */
    NORMALIZER_REPLACE,     /* `from` by `to`, left to right */
    NORMALIZER_REPLACE_RUN, /* two or more of `from` by one `to`: the expression " {2,}" */
    NORMALIZER_BERT
};

struct normalizer_step {
    enum normalizer_kind kind;
    enum normal_form form;
    bool strips_left, strips_right;                     /* STRIP */
    bool cleans, pads_han, strips_accents, lowers_case; /* BERT */
    char *from, *to;                                    /* owned; REPLACE, PREPEND */
    size_t from_bytes, to_bytes;
};

#define NORMALIZER_STEPS_MAX 16u
struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    uint32_t step_count;
};

/* Most bytes that a byte of text can become: U+FDFA decomposes into 33 bytes out of 3, and spaces
 * around a Han character make 5 of 3; steps follow each other. */
#define NORMALIZED_GROWTH_MAX 32u

/* Adds a step; `from` and `to` are copied. STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
NODISCARD status normalizer_add(struct normalizer *n, const struct normalizer_step *step,
                                struct text_slice from, struct text_slice to);
void normalizer_deinit(struct normalizer *n);

/* The normalized text: `text` itself where nothing is to be done, else inside `buffers`, two that
 * the caller has initialised. STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
NODISCARD status normalizer_apply(const struct normalizer *n, struct text_slice text,
                                  struct buffer buffers[2], struct text_slice *out);

#endif
