#include "text_slice_find.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LANES          16u
#define WORD_BYTES_MIN 4u /* below, memmem is as good */

/* Sixteen places at a time are asked for the word's second byte and its last but one. Not for the first and the last:
 * those of a word in quotes are quotes, of which a JSON text is full. */
const char *text_slice_find(struct text_slice text, const char *word, size_t bytes)
{
    size_t at = 0;
#ifdef __SSE2__
    if (bytes >= WORD_BYTES_MIN) {
        const __m128i second = _mm_set1_epi8(word[1]), late = _mm_set1_epi8(word[bytes - 2]);
        for (; at + bytes + LANES <= text.bytes; at += LANES) {
            const char *here = text.data + at;
            __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(here + 1));
            __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(here + bytes - 2));
            unsigned found = (unsigned)_mm_movemask_epi8(
                _mm_and_si128(_mm_cmpeq_epi8(a, second), _mm_cmpeq_epi8(b, late)));
            for (; found != 0; found &= found - 1) {
                const char *place = here + __builtin_ctz(found);
                if (memcmp(place, word, bytes) == 0)
                    return place;
            }
        }
    }
#endif
    return memmem(text.data + at, text.bytes - at, word, bytes);
}
