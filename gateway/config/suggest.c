#include "suggest.h"

#include <ctype.h>
#include <stdint.h>

static char lower(char c)
{
    return (char)tolower((unsigned char)c);
}

static unsigned minimum(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Three rows of the usual table are enough: a swap looks back two rows. */
static unsigned edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    unsigned rows[3][SUGGEST_WORD_BYTES_MAX + 1];

    for (size_t j = 0; j <= b_bytes; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3];
        const unsigned *before = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            bool is_same = lower(a[i - 1]) == lower(b[j - 1]);

            now[j] = minimum(minimum(last[j] + 1, now[j - 1] + 1), last[j - 1] + !is_same);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                now[j] = minimum(now[j], before[j - 2] + 1);
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

const char *suggest_nearest(struct text_slice typed, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    unsigned nearest_distance = UINT32_MAX;

    if (typed.bytes == 0 || typed.bytes > SUGGEST_WORD_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = words[i] != NULL ? strlen(words[i]) : 0;
        size_t longer = bytes > typed.bytes ? bytes : typed.bytes;
        unsigned distance;

        if (bytes == 0 || bytes > SUGGEST_WORD_BYTES_MAX)
            continue;
        distance = edit_distance(typed.data, typed.bytes, words[i], bytes);
        if (distance < nearest_distance && distance * 3 <= longer) {
            nearest = words[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
