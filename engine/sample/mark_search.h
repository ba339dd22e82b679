#ifndef PENSTOCK_ENGINE_SAMPLE_MARK_SEARCH_H
#define PENSTOCK_ENGINE_SAMPLE_MARK_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

/* One step of Knuth, Morris and Pratt's search (1977): the text goes on with `c`. *matched: how many bytes of `mark`, which is
 * not empty, the text ends with; 0 before the first step. True: the mark has ended here; the search starts anew then. */
bool mark_search_step(struct text_slice mark, uint32_t *matched, char c);

#endif
