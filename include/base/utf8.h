#ifndef PENSTOCK_BASE_UTF8_H
#define PENSTOCK_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UTF-8 after RFC 3629 and the Unicode standard's table 3-7 (no surrogates, no overlong forms, <= U+10FFFF). */

/* Decodes the code point at text[0]. Returns its length 1..4, or 0 when the bytes are not a whole valid sequence.
 * `bytes` must be > 0. */
size_t utf8_decode(const char *text, size_t bytes, uint32_t *code_point);

/* Where utf8_decode says 0: how many bytes (>= 1) one U+FFFD stands for. The longest start of a valid sequence, as the
 * Unicode standard recommends (15.0, section 3.9, "substitution of maximal subparts") and Python and Rust do. */
size_t utf8_broken_length(const char *text, size_t bytes);

/* Writes 1..4 bytes; `code_point` must be a scalar value. */
size_t utf8_encode(uint32_t code_point, char out[4]);

bool utf8_is_valid(const char *text, size_t bytes);

/* Length of the longest prefix that does not end inside a sequence which later bytes could complete: an incremental
 * detokenizer may send that prefix. Invalid bytes count as complete. */
size_t utf8_complete_prefix(const char *text, size_t bytes);

#endif
