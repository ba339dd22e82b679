/* Byte pairs and character pairs; the greedy and the probable division have files of their own. The
 * ids of single bytes or characters are put straight behind the ids of the result and merged there,
 * so a word costs no copy and, once the list has grown, no allocation. */
#include "word_models.h"

#include "memory.h"
#include "unicode_class.h"

void word_model_deinit(struct word_model *m)
{
    bpe_table_deinit(&m->merges);
    bpe_table_deinit(&m->trie);
    memory_release(m->scores);
    m->scores = NULL;
}

void word_scratch_deinit(struct word_scratch *scratch)
{
    bpe_scratch_deinit(&scratch->pairs);
    memory_release(scratch->nodes);
    *scratch = (struct word_scratch){.nodes = NULL};
}

/* Merges the list's ids from `start` on. */
static status merge_from(const struct word_model *m, size_t start, struct word_scratch *scratch,
                         struct token_list *out)
{
    size_t count = out->count - start;
    status s = bpe_merge(&m->merges, out->ids + start, &count, &scratch->pairs);
    if (s != STATUS_OK)
        return s;
    out->count = start + count;
    return out->count <= out->count_max ? STATUS_OK : STATUS_TOO_LARGE;
}

static status encode_bytes(const struct word_model *m, const struct vocabulary *v,
                           struct text_slice word, struct word_scratch *scratch,
                           struct token_list *out)
{
    size_t start = out->count;
    status s = token_list_reserve(out, word.bytes);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < word.bytes; i++) {
        int32_t id = v->byte_ids[(uint8_t)word.data[i]];
        out->ids[out->count] = id;
        out->count += id >= 0;
    }
    return merge_from(m, start, scratch, out);
}

/* All bytes of `character` have tokens. */
static bool has_bytes(const struct vocabulary *v, struct text_slice character)
{
    for (size_t i = 0; i < character.bytes; i++)
        if (v->byte_ids[(uint8_t)character.data[i]] < 0)
            return false;
    return true;
}

status word_model_add_missing(const struct word_model *m, const struct vocabulary *v,
                              struct text_slice character, bool *is_unknown, struct token_list *out)
{
    bool was_unknown = *is_unknown;
    *is_unknown = false;
    if (m->falls_back_to_bytes && has_bytes(v, character)) {
        status s = token_list_reserve(out, character.bytes);
        for (size_t i = 0; s == STATUS_OK && i < character.bytes; i++)
            out->ids[out->count++] = v->byte_ids[(uint8_t)character.data[i]];
        return s;
    }
    if (m->unknown < 0)
        return STATUS_OK;
    *is_unknown = true;
    if (was_unknown && m->fuses_unknown)
        return STATUS_OK;
    status s = token_list_reserve(out, 1);
    if (s == STATUS_OK)
        out->ids[out->count++] = m->unknown;
    return s;
}

/* A single character that an ordinary token stands for. */
static int32_t find_character(const struct vocabulary *v, struct text_slice character)
{
    int32_t id = vocabulary_find(v, character);
    return id >= 0 && !vocabulary_is_control(v, id) ? id : -1;
}

static status encode_characters(const struct word_model *m, const struct vocabulary *v,
                                struct text_slice word, struct word_scratch *scratch,
                                struct token_list *out)
{
    size_t start = out->count;
    bool is_unknown = false;
    for (size_t at = 0; at < word.bytes;) {
        struct text_character c = text_character_at(word.data, at, word.bytes);
        struct text_slice character = {word.data + at, c.bytes};
        int32_t id = find_character(v, character);
        status s = id >= 0 ? token_list_reserve(out, 1)
                           : word_model_add_missing(m, v, character, &is_unknown, out);
        if (s != STATUS_OK)
            return s;
        if (id >= 0) {
            out->ids[out->count++] = id;
            is_unknown = false;
        }
        at += c.bytes;
    }
    return merge_from(m, start, scratch, out);
}

/* A word that is a token, for vocabularies that do not ask the merges about it. */
static int32_t find_whole(const struct word_model *m, const struct vocabulary *v,
                          struct text_slice word)
{
    return m->kind == WORD_MODEL_BYTE_PAIRS ? vocabulary_find_word(v, word)
                                            : find_character(v, word);
}

status word_model_encode(const struct word_model *m, const struct vocabulary *v,
                         struct text_slice word, struct word_scratch *scratch,
                         struct token_list *out)
{
    if (m->ignores_merges) {
        int32_t id = find_whole(m, v, word);
        if (id >= 0)
            return token_list_append(out, id);
    }
    switch (m->kind) {
    case WORD_MODEL_BYTE_PAIRS:
        return encode_bytes(m, v, word, scratch, out);
    case WORD_MODEL_CHARACTER_PAIRS:
        return encode_characters(m, v, word, scratch, out);
    case WORD_MODEL_WORDPIECE:
        return wordpiece_encode(m, v, word, out);
    case WORD_MODEL_UNIGRAM:
        break;
    }
    return unigram_encode(m, v, word, scratch, out);
}
