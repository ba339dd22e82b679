#ifndef PENSTOCK_GATEWAY_SUGGEST_H
#define PENSTOCK_GATEWAY_SUGGEST_H

#include <stddef.h>

#include "text_slice.h"

/* "Did you mean": the word of a list that is nearest to what somebody typed. */

#define SUGGEST_WORD_BYTES_MAX 64u /* longer words get no suggestion */

/* The nearest of `count` words by edit distance (insert, remove, replace, swap of neighbours; letters of either case
 * are equal), when it is near enough to be meant: at most a third of the letters wrong. NULL when none is. NULL words are
 * passed over. Pure: any thread. Optimal string alignment distance, Damerau 1964. */
const char *suggest_nearest(struct text_slice typed, const char *const *words, size_t count);

#endif
