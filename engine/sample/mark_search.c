#include "mark_search.h"

#include <string.h>

/* Longest start of `mark` that is also an end of its first `length` bytes, and shorter. */
static uint32_t border(struct text_slice mark, uint32_t length)
{
    uint32_t bytes = length - 1;
    while (bytes > 0 && memcmp(mark.data, mark.data + length - bytes, bytes) != 0)
        bytes--;
    return bytes;
}

bool mark_search_step(struct text_slice mark, uint32_t *matched, char c)
{
    while (*matched > 0 && mark.data[*matched] != c)
        *matched = border(mark, *matched);
    if (mark.data[*matched] == c)
        ++*matched;
    if (*matched < mark.bytes)
        return false;
    *matched = 0;
    return true;
}
