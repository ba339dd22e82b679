#ifndef PENSTOCK_UNICODE_NORMAL_H
#define PENSTOCK_UNICODE_NORMAL_H

#include "buffer.h"
#include "text_slice.h"

/* Unicode normalization (Unicode Standard Annex 15) and lower-casing, as the `tokenizers` library
 * does them. Linear in the text, whatever its combining marks. Broken UTF-8 passes through, and
 * nothing combines across it. Every function appends to `out`; the buffer remembers what failed. */
enum normal_form { NORMAL_NFD, NORMAL_NFC, NORMAL_NFKD, NORMAL_NFKC };

void unicode_normalize(enum normal_form form, struct text_slice text, struct buffer *out);

/* Each character by itself, without the rules that look at its neighbours. */
void unicode_lower(struct text_slice text, struct buffer *out);

#endif
