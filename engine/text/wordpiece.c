/* BERT's WordPiece: from the left, the longest token that begins the rest; all but the first carry
 * "##". Words are bounded in characters, so the tries of one word are bounded too. Algorithm: Wu et
 * al. 2016, "Google's Neural Machine Translation System", section 4.1; as in google-research/bert,
 * tokenization.py, WordpieceTokenizer. */
#include <string.h>

#include "unicode_class.h"
#include "word_models.h"

#define PREFIX_BYTES     2u
#define WORD_BYTES_LIMIT 4096u /* characters_max is bounded so that a word fits */

/* The character borders of the word; 0: it has too many characters. */
static size_t find_borders(const struct word_model *m, struct text_slice word,
                           uint16_t borders[WORD_BYTES_LIMIT + 1])
{
    size_t count = 0, at = 0;
    if (word.bytes > WORD_BYTES_LIMIT)
        return 0;
    while (at < word.bytes) {
        if (count == m->characters_max)
            return 0;
        borders[count++] = (uint16_t)at;
        at += text_character_at(word.data, at, word.bytes).bytes;
    }
    borders[count] = (uint16_t)at;
    return count;
}

/* The longest token that begins at border `first`; *next is the border where it ends. -1: none. */
static int32_t longest_token(const struct vocabulary *v, struct text_slice word,
                             const uint16_t *borders, size_t first, size_t count, size_t *next)
{
    char text[PREFIX_BYTES + WORD_BYTES_LIMIT] = "##";
    size_t prefix = first > 0 ? PREFIX_BYTES : 0, start = borders[first];
    size_t longest = v->longest_text > prefix ? v->longest_text - prefix : 0;
    memcpy(text + prefix, word.data + start, word.bytes - start);
    for (size_t end = count; end > first; end--) {
        size_t bytes = borders[end] - start;
        if (bytes > longest)
            continue;
        int32_t id = vocabulary_find(v, (struct text_slice){text, prefix + bytes});
        if (id < 0 || vocabulary_is_control(v, id))
            continue;
        *next = end;
        return id;
    }
    return -1;
}

static status add_unknown(const struct word_model *m, size_t start, struct token_list *out)
{
    out->count = start;
    return m->unknown >= 0 ? token_list_append(out, m->unknown) : STATUS_OK;
}

status wordpiece_encode(const struct word_model *m, const struct vocabulary *v,
                        struct text_slice word, struct token_list *out)
{
    uint16_t borders[WORD_BYTES_LIMIT + 1];
    size_t start = out->count, at = 0, count = find_borders(m, word, borders);
    if (count == 0)
        return add_unknown(m, start, out);
    while (at < count) {
        int32_t id = longest_token(v, word, borders, at, count, &at);
        if (id < 0)
            return add_unknown(m, start, out);
        status s = token_list_append(out, id);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}
