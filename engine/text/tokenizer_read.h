#ifndef PENSTOCK_TOKENIZER_READ_H
#define PENSTOCK_TOKENIZER_READ_H

#include "tokenizer.h"

/* What the files beside tokenizer.json say about its tokens. Borrowed. */
struct tokenizer_names {
    struct text_slice bos, eos, padding; /* texts; empty: none */
    const int32_t *ends;                 /* ids that end a generation */
    uint32_t end_count;
};

/* As tokenizer_create_json. */
NODISCARD status tokenizer_read_json(struct text_slice json, const struct tokenizer_names *names,
                                     tokenizer **out, struct error_note *note);

#endif
